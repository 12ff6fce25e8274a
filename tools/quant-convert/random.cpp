//===- random.cpp - quant-convert random ----------------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "models/config.h"
#include "models/tensors.h"
#include "runtime/checkpoint/writer.h"
#include "tools/common/output_dir.h"
#include "tools/common/progress.h"
#include "tools/common/units.h"
#include "tools/quant-convert/command.h"
#include "tools/quant-convert/random_values.h"
#include "tools/quant-convert/shard_plan.h"

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <atomic>
#include <iostream>
#include <mutex>
#include <thread>

using namespace quant;
using namespace quant::convert;
using namespace quant::tools;
using nlohmann::json;

namespace {

struct RandomOptions {
  std::string config, output, dtype;
  uint64_t seed = 0, shardSize = 5'000'000'000;
  unsigned threads = 0;
  bool force = false, dryRun = false, json = false;
};

/// What is going to be written.
struct RandomPlan {
  models::ModelConfig config;
  std::vector<models::TensorSpec> tensors;
  std::vector<Shard> shards;
  uint64_t bytes = 0;
};

} // namespace

/// Elements that a worker makes at a time: at most a MiB.
static constexpr int64_t kChunk = 1 << 18;
static_assert(kChunk % kValueGroup == 0);

static Result<RandomPlan> makePlan(const RandomOptions &options) {
  auto config = models::loadConfig(options.config);
  if (!config)
    return tl::unexpected(config.error());
  if (!options.dtype.empty())
    config->dtype = options.dtype == "fp8"   ? models::WeightDType::FP8
                    : options.dtype == "f32" ? models::WeightDType::F32
                                             : models::WeightDType::BF16;
  RandomPlan plan{*config, models::checkpointTensors(*config), {}, 0};
  plan.shards = planShards(plan.tensors, options.shardSize);
  for (const Shard &shard : plan.shards)
    plan.bytes += shard.bytes;
  return plan;
}

//===----------------------------------------------------------------------===//
// Writing
//===----------------------------------------------------------------------===//

/// The columns of the weight that tensor `index` is, or whose scale it is: the weight stands right before it.
static int64_t columns(const RandomPlan &plan, size_t index) {
  bool scale = plan.tensors[index].role == models::TensorRole::Scale;
  return plan.tensors[scale ? index - 1 : index].shape.back();
}

static Result<void> writeTensor(const RandomPlan &plan, size_t index, uint64_t seed, checkpoint::SafetensorsWriter &writer,
                                Progress &progress) {
  const models::TensorSpec &tensor = plan.tensors[index];
  RandomValues values(tensor, columns(plan, index), plan.config.scaleFmt, seed);
  int64_t elements = tensor.elements(), elementBytes = tensor.bytes() / elements;
  std::vector<std::byte> chunk(static_cast<size_t>(std::min(kChunk, elements) * elementBytes));
  for (int64_t begin = 0; begin < elements; begin += kChunk) {
    auto bytes = std::span(chunk).first(static_cast<size_t>(std::min(kChunk, elements - begin) * elementBytes));
    values.fill(begin, bytes);
    if (auto written = writer.append(tensor.name, bytes); !written)
      return written;
    progress.add(bytes.size());
  }
  return {};
}

/// One file: workers take the next tensor each.
static Result<void> writeShard(const RandomPlan &plan, const Shard &shard, const RandomOptions &options, Progress &progress) {
  std::vector<checkpoint::TensorSpec> specs;
  for (size_t i = shard.begin; i < shard.end; ++i)
    specs.push_back({plan.tensors[i].name, plan.tensors[i].dtype, plan.tensors[i].shape});
  auto writer = checkpoint::SafetensorsWriter::create(std::filesystem::path(options.output) / shard.file, specs);
  if (!writer)
    return tl::unexpected(writer.error());

  std::atomic<size_t> next = shard.begin;
  std::mutex lock;
  Result<void> result;
  auto work = [&] {
    for (size_t i = next++; i < shard.end; i = next++)
      if (auto written = writeTensor(plan, i, options.seed, *writer, progress); !written) {
        std::lock_guard guard(lock);
        result = written;
        next = shard.end;
      }
  };
  std::vector<std::thread> workers(std::min<size_t>(options.threads, shard.end - shard.begin));
  for (std::thread &worker : workers)
    worker = std::thread(work);
  for (std::thread &worker : workers)
    worker.join();
  return result ? writer->finish() : result;
}

static Result<void> writeJson(const std::filesystem::path &path, const json &value) {
  return checkpoint::writeFileAtomically(path, value.dump(2) + "\n");
}

/// The index comes last: a checkpoint without it is not taken for whole.
static Result<void> writeDescription(const RandomPlan &plan, const std::filesystem::path &dir) {
  if (auto written = writeJson(dir / "config.json", models::toHuggingFaceJson(plan.config)); !written)
    return written;
  json generation = {{"_from_model_config", true}};
  if (plan.config.bosTokenId)
    generation["bos_token_id"] = *plan.config.bosTokenId;
  if (plan.config.eosTokenId)
    generation["eos_token_id"] = *plan.config.eosTokenId;
  if (auto written = writeJson(dir / "generation_config.json", generation); !written)
    return written;
  checkpoint::WeightMap weights;
  for (const Shard &shard : plan.shards)
    for (size_t i = shard.begin; i < shard.end; ++i)
      weights[plan.tensors[i].name] = shard.file;
  return checkpoint::writeIndex(dir, weights, plan.bytes);
}

static Result<void> writeCheckpoint(const RandomPlan &plan, const RandomOptions &options, double &seconds) {
  // Headers and the index: about 200 bytes a tensor.
  if (auto ready = prepareOutputDir(options.output, plan.bytes + plan.tensors.size() * 512 + (1 << 20), options.force); !ready)
    return ready;
  Progress progress("writing", plan.bytes);
  for (const Shard &shard : plan.shards)
    if (auto written = writeShard(plan, shard, options, progress); !written)
      return written;
  seconds = progress.seconds();
  return writeDescription(plan, options.output);
}

//===----------------------------------------------------------------------===//
// Telling
//===----------------------------------------------------------------------===//

static json describe(const RandomPlan &plan, const RandomOptions &options, double seconds) {
  json shards = json::array();
  for (const Shard &shard : plan.shards)
    shards.push_back({{"file", shard.file}, {"tensors", shard.end - shard.begin}, {"bytes", shard.bytes}});
  models::ModelTotals totals = models::totals(plan.config);
  return {{"output", options.output},
          {"dry_run", options.dryRun},
          {"seed", options.seed},
          {"dtype", models::name(plan.config.dtype)},
          {"tensors", plan.tensors.size()},
          {"bytes", plan.bytes},
          {"parameters", totals.parameters},
          {"mtp_parameters", totals.mtpParameters},
          {"active_parameters", totals.activeParameters},
          {"seconds", seconds},
          {"shards", shards}};
}

static void tell(const RandomPlan &plan, const RandomOptions &options, double seconds) {
  if (options.json) {
    std::cout << describe(plan, options, seconds).dump(2, ' ', false, json::error_handler_t::replace) << "\n";
    return;
  }
  std::cout << (options.dryRun ? "would write " : "wrote ") << plan.tensors.size() << " tensors, " << humanBytes(plan.bytes)
            << ", in " << plan.shards.size() << (plan.shards.size() == 1 ? " shard" : " shards") << " to " << options.output;
  if (!options.dryRun && seconds > 0)
    std::cout << " at " << humanBytes(static_cast<uint64_t>(static_cast<double>(plan.bytes) / seconds)) << "/s";
  std::cout << "\n";
  if (!options.dryRun)
    return;
  for (const Shard &shard : plan.shards)
    std::cout << "  " << shard.file << "  " << shard.end - shard.begin << " tensors  " << humanBytes(shard.bytes) << "\n";
  if (auto room = freeBytes(options.output))
    std::cout << humanBytes(*room) << " are free there\n";
}

static Result<void> runRandom(RandomOptions options) {
  if (options.threads == 0)
    options.threads = std::max(1u, std::thread::hardware_concurrency());
  auto plan = makePlan(options);
  if (!plan)
    return tl::unexpected(plan.error());
  double seconds = 0;
  if (!options.dryRun)
    if (auto written = writeCheckpoint(*plan, options, seconds); !written)
      return written;
  tell(*plan, options, seconds);
  return {};
}

Command convert::addRandomCommand(CLI::App &parent) {
  auto options = std::make_shared<RandomOptions>();
  CLI::App *app = parent.add_subcommand(
      "random", "Writes a checkpoint of random weights in the exact layout of the real one, to try and to measure with.");
  app->add_option("--config", options->config,
                  "Hugging Face's config.json, DeepSeek's config_*.json, or a folder with config.json")
      ->required();
  app->add_option("--output", options->output, "Folder to write to")->required();
  app->add_option("--seed", options->seed, "The same seed gives the same bytes, on any number of threads")
      ->check(CLI::NonNegativeNumber.description(""))
      ->capture_default_str();
  app->add_option("--dtype", options->dtype, "How linear layers are stored, instead of what the configuration says")
      ->check(CLI::IsMember({"fp8", "bf16", "f32"}).description(""))
      ->type_name("fp8|bf16|f32");
  app->add_option("--shard-size", options->shardSize, "Most bytes in a file, such as 500MB, 5GB or 4GiB")
      ->transform(CLI::AsSizeValue(true).description(""))
      ->check(CLI::PositiveNumber.description(""))
      ->type_name("BYTES")
      ->default_str("5GB");
  app->add_option("--threads", options->threads, "Workers; 0 is one per core")
      ->check(CLI::Range(0, 1024).description(""))
      ->type_name("N")
      ->capture_default_str();
  app->add_flag("--force", options->force, "Replace the checkpoint in a folder that is not empty");
  app->add_flag("--dry-run", options->dryRun, "Say what would be written, and write nothing");
  app->add_flag("--json", options->json, "Say it as JSON");
  app->footer("Writes shards, model.safetensors.index.json, config.json and generation_config.json. A shard is there whole or "
              "not at all.\nThe weights are normal, sized so that activations keep their size from layer to layer.\n\n"
              "Examples:\n"
              "  quant-convert random --config models/configs/toy_v3.json --output /tmp/toy\n"
              "  quant-convert random --config models/configs/16B.json --dtype fp8 --output /data/16B --dry-run");
  return {app, [options] { return runRandom(*options); }};
}
