//===- shard.cpp - quant-convert shard ------------------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "models/config/read.h"
#include "models/experts.h"
#include "models/stored.h"
#include "models/tensors.h"
#include "runtime/checkpoint/finite.h"
#include "runtime/support/scheme_config.h"
#include "runtime/support/text.h"
#include "tools/common/tensor_source.h"
#include "tools/quant-convert/command.h"
#include "tools/quant-convert/run_plan.h"
#include "tools/quant-convert/schemes/dequantize.h"
#include "tools/quant-convert/schemes/parallel_layout.h"
#include "tools/quant-convert/schemes/scales.h"
#include "tools/quant-convert/schemes/side_files.h"

#include <CLI/CLI.hpp>

#include <cstdio>

using namespace quant;
using namespace quant::convert;
using checkpoint::Checkpoint;
using nlohmann::json;

namespace {

struct ShardOptions {
  std::string input;
  int64_t experts = 0, ranks = 0;
  bool requantize = false, keepMtp = false;
  RunOptions run;
};

struct ShardPlan {
  Plan plan;
  LayoutOptions layout;
  Scheme scheme = deepSeekFp8();
  size_t dropped = 0, ignored = 0, requantized = 0;
  std::vector<std::pair<const Tensor *, const Tensor *>> scaled;

  /// The jobs of a rank.
  std::vector<Job> &jobs(int64_t rank) { return plan.shards[static_cast<size_t>(rank)].jobs; }
};

} // namespace

//===----------------------------------------------------------------------===//
// What config.json says
//===----------------------------------------------------------------------===//

static std::optional<int64_t> integerIn(const json &config, const char *key) {
  auto found = config.find(key);
  return found != config.end() && found->is_number_integer() ? std::optional(found->get<int64_t>()) : std::nullopt;
}

/// DeepSeek's layout is for its models; deepseek_v32 is one that tensors tell of.
static Result<void> checkModelType(const Checkpoint &input, const json &config) {
  auto type = config.find("model_type");
  if (type == config.end() || !type->is_string() || type->get_ref<const std::string &>().starts_with("deepseek") ||
      *type == "kimi_k2")
    return {};
  return fail(printable((input.dir() / "config.json").native()) + ": model_type is " + quote(type->get<std::string>()) +
              ", and DeepSeek's model-parallel layout is for deepseek_v2, deepseek_v3 and kimi_k2; the models distilled from "
              "DeepSeek-R1 are Qwen2 and Llama models");
}

static Result<void> readConfig(const Checkpoint &input, const ShardOptions &options, ShardPlan &result) {
  auto config = findConfig(input);
  if (!config)
    return tl::unexpected(config.error());
  result.layout.experts = options.experts;
  result.layout.ranks = options.ranks;
  result.layout.keepMtp = options.keepMtp;
  if (!*config)
    return {};
  if (auto known = checkModelType(input, **config); !known)
    return known;
  std::string file = printable((input.dir() / "config.json").native());
  auto scheme = readScheme(**config);
  if (!scheme)
    return tl::unexpected(scheme.error().in(file));
  result.scheme = *scheme;
  result.layout.firstMtpLayer = integerIn(**config, "num_hidden_layers").value_or(result.layout.firstMtpLayer);
  auto experts = integerIn(**config, "n_routed_experts");
  if (experts && *experts != options.experts)
    return fail(file + ": n_routed_experts is " + std::to_string(*experts) + ", --n-experts says " +
                std::to_string(options.experts));
  return {};
}

//===----------------------------------------------------------------------===//
// Splits
//===----------------------------------------------------------------------===//

/// The part of a matrix that a rank gets.
static Piece pieceOf(const Tensor &tensor, int dim, int64_t rank, int64_t ranks) {
  int64_t rows = tensor.info->shape[0], columns = tensor.info->shape[1];
  return dim == 0 ? Piece{rank * (rows / ranks), rows / ranks, 0, columns}
                  : Piece{0, rows, rank * (columns / ranks), columns / ranks};
}

static Result<void> checkSplit(const Tensor &tensor, int dim, int64_t ranks) {
  if (tensor.info->shape.size() != 2 || bitWidth(tensor.info->dtype) % 8 != 0)
    return fail(describe(tensor) + ": only matrices of whole bytes can be split");
  int64_t size = tensor.info->shape[static_cast<size_t>(dim)];
  if (size % ranks != 0)
    return fail(describe(tensor) + ": has " + std::to_string(size) + (dim == 0 ? " rows" : " columns") +
                ", which --model-parallel " + std::to_string(ranks) + " does not divide");
  return {};
}

static Error cutBlock(const Tensor &weight, int dim, const ShardPlan &plan) {
  int64_t size = weight.info->shape[static_cast<size_t>(dim)], ranks = plan.layout.ranks;
  int64_t block = plan.scheme.block[static_cast<size_t>(dim)];
  char blocks[32];
  std::snprintf(blocks, sizeof(blocks), "%g", static_cast<double>(size / ranks) / static_cast<double>(block));
  return {describe(weight) + ": " + std::to_string(size) + (dim == 0 ? " rows" : " columns") + " over " + std::to_string(ranks) +
          " ranks are " + std::to_string(size / ranks) + " each, " + blocks + " blocks of " + std::to_string(block) +
          ": the split cuts through a block scale; choose a smaller --model-parallel, or --requantize"};
}

/// An FP8 weight and its scale.
static Result<void> splitScaled(const Tensor &weight, const Tensor &scale, const Placement &place, const std::string &scaleName,
                                bool requantize, ShardPlan &plan) {
  int64_t ranks = plan.layout.ranks;
  auto dim = static_cast<size_t>(*place.dim);
  bool cuts = ranks > 1 && weight.info->shape[dim] / ranks % plan.scheme.block[dim] != 0;
  if (cuts && !requantize)
    return tl::unexpected(cutBlock(weight, *place.dim, plan));
  plan.requantized += cuts;
  for (int64_t rank = 0; rank < ranks; ++rank) {
    Piece piece = pieceOf(weight, *place.dim, rank, ranks);
    if (cuts) {
      plan.jobs(rank).push_back(requantizeJob(weight, scale, place.name, scaleName, piece, plan.scheme));
      continue;
    }
    plan.jobs(rank).push_back(copyPieceJob(weight, place.name, piece));
    plan.jobs(rank).push_back(copyPieceJob(scale, scaleName, pieceOf(scale, *place.dim, rank, ranks)));
  }
  return {};
}

static Result<void> addSplit(const Checkpoint &input, const Tensor &tensor, const Placement &place, bool requantize,
                             ShardPlan &plan) {
  if (auto fits = checkSplit(tensor, *place.dim, plan.layout.ranks); !fits)
    return fits;
  if (tensor.info->dtype == DType::F8E4M3FN) {
    const Tensor *scale = findScale(input, tensor);
    auto scalePlace = convert::place(scale->info->name, plan.layout);
    return scalePlace ? splitScaled(tensor, *scale, place, (*scalePlace)->name, requantize, plan)
                      : Result<void>(tl::unexpected(scalePlace.error()));
  }
  for (int64_t rank = 0; rank < plan.layout.ranks; ++rank)
    plan.jobs(rank).push_back(copyPieceJob(tensor, place.name, pieceOf(tensor, *place.dim, rank, plan.layout.ranks)));
  return {};
}

//===----------------------------------------------------------------------===//
// The plan
//===----------------------------------------------------------------------===//

/// A weight and its scale belong together.
static Result<void> checkPair(const Checkpoint &input, const Tensor &tensor, ShardPlan &plan) {
  if (!weightOfScale(tensor.info->name, input).empty())
    return checkHasWeight(input, tensor);
  if (!isFp8(tensor.info->dtype))
    return {};
  auto scale = findFp8Scale(input, tensor);
  if (!scale)
    return tl::unexpected(scale.error());
  if (!*scale)
    return tl::unexpected(missingScale(tensor));
  plan.scaled.emplace_back(&tensor, *scale);
  return {};
}

static Result<void> addTensor(const Checkpoint &input, const Tensor &tensor, bool requantize, ShardPlan &plan) {
  if (models::harmlessTensor(tensor.info->name)) {
    ++plan.ignored;
    return {};
  }
  if (auto finite = checkpoint::checkFinite(tensor); !finite)
    return finite;
  auto placed = place(tensor.info->name, plan.layout);
  if (!placed)
    return tl::unexpected(placed.error().in(printable(tensor.file->path().native())));
  if (!*placed) {
    ++plan.dropped;
    return {};
  }
  const Placement &place = **placed;
  if (auto paired = checkPair(input, tensor, plan); !paired)
    return paired;
  if (place.dim)
    return weightOfScale(tensor.info->name, input).empty() ? addSplit(input, tensor, place, requantize, plan) : Result<void>();
  for (int64_t rank = 0; rank < plan.layout.ranks; ++rank)
    if (!place.rank || *place.rank == rank)
      plan.jobs(rank).push_back(copyJob(tensor, place.name));
  return {};
}

/// All experts are there, and every tensor of the configuration, where it is one that is known.
static Result<void> checkComplete(const Checkpoint &input, const ShardOptions &options, int64_t layers) {
  if (auto alike = models::checkExperts(input, options.experts, layers); !alike)
    return alike;
  auto config = models::loadConfig(input.dir());
  if (!config)
    return {};
  for (const models::TensorSpec &tensor : models::checkpointTensors(*config))
    if (tensor.role != models::TensorRole::Scale && tensor.layer < config->nLayers && !input.find(tensor.name))
      return fail("tensor " + quote(tensor.name) +
                  " is missing, which config.json says that the model has; is the download complete?");
  return {};
}

static Result<ShardPlan> makePlan(const Checkpoint &input, const ShardOptions &options) {
  ShardPlan result;
  if (auto read = readConfig(input, options, result); !read)
    return tl::unexpected(read.error());
  Plan &plan = result.plan;
  plan.command = "shard";
  plan.inputs = {&input};
  plan.hasIndex = false;
  plan.options = std::to_string(options.experts) + " " + std::to_string(options.ranks) +
                 (options.requantize ? " requantize" : "") + (options.keepMtp ? " mtp" : "") + " " +
                 std::string(name(result.scheme.scaleFmt)) + " " + std::to_string(result.scheme.block[0]) + "x" +
                 std::to_string(result.scheme.block[1]);
  for (int64_t rank = 0; rank < options.ranks; ++rank)
    plan.shards.push_back({"model" + std::to_string(rank) + "-mp" + std::to_string(options.ranks) + ".safetensors", {}});
  for (const checkpoint::SafetensorsFile &file : input.files())
    for (const checkpoint::TensorInfo &info : file.tensors())
      if (const Tensor *tensor = input.find(info.name); tensor->file == &file)
        QUANT_TRY(addTensor(input, *tensor, options.requantize, result));
  int64_t layers = options.keepMtp ? INT64_MAX : result.layout.firstMtpLayer;
  if (auto alike = checkComplete(input, options, layers); !alike)
    return tl::unexpected(alike.error().in(printable(input.dir().native())));
  if (auto sound = checkScales(result.scaled, result.scheme.block, options.run.engine.threads); !sound)
    return tl::unexpected(sound.error());
  if (auto added = addCompanions(input.dir(), Companions::Tokenizer, plan.sideFiles); !added)
    return tl::unexpected(added.error());
  return result;
}

static Result<void> runShard(const ShardOptions &options) {
  auto input = Checkpoint::open(options.input);
  if (!input)
    return tl::unexpected(input.error());
  auto plan = makePlan(*input, options);
  if (!plan)
    return tl::unexpected(plan.error());
  return runPlan(plan->plan, options.run, [&] {
    Summary summary;
    summary.words =
        std::to_string(plan->requantized) + " weights quantized again, " + std::to_string(plan->dropped) +
        " tensors of MTP layers left out" +
        (plan->ignored ? ", " + std::to_string(plan->ignored) + " buffers and tensors of other parts that nothing reads" : "");
    summary.json = {{"input", options.input},
                    {"model_parallel", options.ranks},
                    {"requantized", plan->requantized},
                    {"dropped", plan->dropped},
                    {"ignored", plan->ignored}};
    return summary;
  });
}

Command convert::addShardCommand(CLI::App &parent) {
  auto options = std::make_shared<ShardOptions>();
  CLI::App *app = parent.add_subcommand("shard", "Splits a checkpoint over ranks, in the layout of DeepSeek's inference code.");
  app->add_option("--hf-ckpt-path", options->input, "Folder of the checkpoint")->required();
  app->add_option("--save-path", options->run.engine.output, "Folder to write to")->required();
  options->run.engine.outputFlag = "--save-path";
  app->add_option("--n-experts", options->experts, "Routed experts of the model")
      ->check(CLI::Range(1, 1 << 20).description(""))
      ->type_name("N")
      ->required();
  app->add_option("--model-parallel", options->ranks, "Ranks; a divisor of the experts")
      ->check(CLI::Range(1, 1 << 16).description(""))
      ->type_name("MP")
      ->required();
  app->add_flag("--requantize", options->requantize, "Quantize a weight again whose split would cut through a block scale");
  app->add_flag("--keep-mtp", options->keepMtp, "Keep the MTP layers, which DeepSeek's inference code does not load");
  addRunOptions(*app, options->run);
  app->footer("Writes model{rank}-mp{MP}.safetensors and copies *token*. Started again after it was stopped, it goes on.\n\n"
              "Example:\n  quant-convert shard --hf-ckpt-path DeepSeek-V3 --save-path DeepSeek-V3-mp16 --n-experts 256 "
              "--model-parallel 16");
  app->final_callback([options] {
    if (options->experts % options->ranks != 0)
      throw CLI::ValidationError("--n-experts " + std::to_string(options->experts) + " is no multiple of --model-parallel " +
                                 std::to_string(options->ranks));
  });
  return {app, [options] { return runShard(*options); }};
}
