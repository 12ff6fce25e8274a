//===- random.cpp - quant-convert random ----------------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "models/config/names.h"
#include "models/config/print.h"
#include "models/config/read.h"
#include "models/config/tokens.h"
#include "models/tensors.h"
#include "tools/common/units.h"
#include "tools/quant-convert/command.h"
#include "tools/quant-convert/run_plan.h"
#include "tools/quant-convert/schemes/random_values.h"
#include "tools/quant-convert/schemes/shard_plan.h"
#include "tools/quant-convert/schemes/side_files.h"

#include <CLI/CLI.hpp>
#include <fmt/core.h>

#include <algorithm>

using namespace quant;
using namespace quant::convert;
using nlohmann::json;

namespace {

struct RandomOptions {
  std::string config, dtype;
  uint64_t seed = 0, shardSize = 5'000'000'000;
  RunOptions run;
};

} // namespace

/// Elements that a step makes: enough bytes to be worth a system call.
static constexpr int64_t kChunk = 1 << 20;
static_assert(kChunk % kValueGroup == 0);

/// "fp8", "bf16" or "f32".
static void setDType(models::ModelConfig &config, std::string_view dtype) {
  if (dtype != "fp8")
    config.quantization.groups.clear();
  else if (!config.isQuantized())
    config.quantization.groups = everyLinear(deepSeekFp8());
  config.plain = dtype == "f32" ? DType::F32 : DType::BF16;
}

static Result<models::ModelConfig> readConfig(const RandomOptions &options) {
  auto config = models::loadConfig(options.config);
  if (config && !options.dtype.empty())
    setDType(*config, options.dtype);
  return config;
}

//===----------------------------------------------------------------------===//
// The plan
//===----------------------------------------------------------------------===//

static Job randomJob(const models::TensorSpec &tensor, const RandomValues &values) {
  int64_t elements = tensor.elements(), elementBytes = tensor.bytes() / elements;
  auto run = [=, name = tensor.name](int64_t step, Sink &sink) {
    thread_local std::vector<std::byte> chunk;
    int64_t begin = step * kChunk, count = std::min(kChunk, elements - begin);
    chunk.resize(static_cast<size_t>(count * elementBytes));
    values.fill(begin, chunk);
    return sink.put(name, static_cast<uint64_t>(begin * elementBytes), chunk);
  };
  return {{{tensor.name, tensor.dtype, tensor.shape}}, (elements + kChunk - 1) / kChunk, run};
}

static SideFile generationConfig(const models::ModelConfig &config) {
  json generation = {{"_from_model_config", true}};
  if (config.bosTokenId)
    generation["bos_token_id"] = *config.bosTokenId;
  if (!config.eosTokenIds.empty())
    generation["eos_token_id"] = models::tokenIdsJson(config.eosTokenIds);
  return {"generation_config.json", generation.dump(2) + "\n", {}};
}

static Plan makePlan(const models::ModelConfig &config, const RandomOptions &options) {
  Plan plan;
  plan.command = "random";
  json description = models::toHuggingFaceJson(config);
  plan.options = fmt::format("{} {}", options.seed, description.dump());
  auto tensors = models::checkpointTensors(config);
  for (const Shard &shard : planShards(tensors, options.shardSize)) {
    OutputShard output{shard.file, {}};
    for (size_t i = shard.begin; i < shard.end; ++i) {
      // A weight stands right before its scale.
      int64_t columns = tensors[tensors[i].role == models::TensorRole::Scale ? i - 1 : i].shape.back();
      output.jobs.push_back(randomJob(tensors[i], {tensors[i], columns, config.quantization.mainScheme(), options.seed}));
    }
    plan.shards.push_back(std::move(output));
  }
  plan.sideFiles = {configFile(description), generationConfig(config)};
  return plan;
}

//===----------------------------------------------------------------------===//
// The command
//===----------------------------------------------------------------------===//

static Summary summarize(const models::ModelConfig &config, const RandomOptions &options) {
  models::ModelTotals totals = models::totals(config);
  Summary summary;
  summary.words = fmt::format("{} parameters, {} of them active per token; seed {}",
                              tools::humanCount(static_cast<uint64_t>(totals.parameters)),
                              tools::humanCount(static_cast<uint64_t>(totals.activeParameters)), options.seed);
  summary.json = {{"seed", options.seed},
                  {"dtype", models::storageName(config)},
                  {"parameters", totals.parameters},
                  {"mtp_parameters", totals.mtpParameters},
                  {"active_parameters", totals.activeParameters}};
  return summary;
}

static Result<void> runRandom(const RandomOptions &options) {
  QUANT_TRY_ASSIGN(auto config, readConfig(options));
  return runPlan(makePlan(config, options), options.run, [&] { return summarize(config, options); });
}

Command convert::addRandomCommand(CLI::App &parent) {
  auto options = std::make_shared<RandomOptions>();
  CLI::App *app = parent.add_subcommand(
      "random", "Writes a checkpoint of random weights in the exact layout of the real one, to try and to measure with.");
  app->add_option("--config", options->config,
                  "Hugging Face's config.json, DeepSeek's config_*.json, or a folder with config.json")
      ->required();
  app->add_option("--output", options->run.engine.output, "Folder to write to")->required();
  options->run.engine.outputFlag = "--output";
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
  addRunOptions(*app, options->run);
  app->footer("Writes shards, model.safetensors.index.json, config.json and generation_config.json. Started again "
              "after it was stopped, it\ngoes on. The weights are normal, sized so that activations keep their size from layer "
              "to layer.\n\n"
              "Examples:\n"
              "  quant-convert random --config models/configs/toy_v3.json --output /tmp/toy\n"
              "  quant-convert random --config models/configs/16B.json --dtype fp8 --output /data/16B --dry-run");
  return {app, [options] { return runRandom(*options); }};
}
