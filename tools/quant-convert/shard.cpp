//===- shard.cpp - quant-convert shard ------------------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "models/config/read.h"
#include "models/experts.h"
#include "models/tensors.h"
#include "runtime/checkpoint/finite.h"
#include "runtime/support/tensor_names.h"
#include "runtime/support/text.h"
#include "tools/quant-convert/command.h"
#include "tools/quant-convert/conversion.h"
#include "tools/quant-convert/schemes/dequantize.h"
#include "tools/quant-convert/schemes/parallel_layout.h"

#include <fmt/core.h>

#include <CLI/CLI.hpp>

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

struct Shard {
  const ShardOptions &options;
  Conversion conversion;
  LayoutOptions layout;
  Scheme scheme = deepSeekFp8();
  size_t dropped = 0, ignored = 0, requantized = 0;

  /// The jobs of a rank.
  std::vector<Job> &jobs(int64_t rank) { return conversion.plan.shards[static_cast<size_t>(rank)].jobs; }
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
static Result<void> checkModelType(const Conversion &conversion) {
  auto type = conversion.config->find("model_type");
  if (type == conversion.config->end() || !type->is_string() || type->get_ref<const std::string &>().starts_with("deepseek") ||
      *type == "kimi_k2")
    return {};
  return fail(fmt::format("{}: model_type is {}, and DeepSeek's model-parallel layout is for deepseek_v2, deepseek_v3 and "
                          "kimi_k2; the models distilled from DeepSeek-R1 are Qwen2 and Llama models",
                          conversion.configPath(), quote(type->get<std::string>())));
}

static Result<void> readConfig(Shard &shard) {
  const Conversion &conversion = shard.conversion;
  shard.layout.experts = shard.options.experts;
  shard.layout.ranks = shard.options.ranks;
  shard.layout.keepMtp = shard.options.keepMtp;
  QUANT_TRY_ASSIGN(shard.scheme, conversion.inputScheme());
  if (shard.scheme.block[0] == 0 || shard.scheme.block[1] == 0)
    return fail(fmt::format("{}: the weights are {} ({}), and DeepSeek's inference code takes FP8 in blocks; cast them to BF16 "
                            "before (cast-bf16)",
                            conversion.configPath(), shard.scheme.name, shard.scheme.describe));
  if (!conversion.config)
    return {};
  QUANT_TRY(checkModelType(conversion));
  shard.layout.firstMtpLayer = integerIn(*conversion.config, "num_hidden_layers").value_or(shard.layout.firstMtpLayer);
  auto experts = integerIn(*conversion.config, "n_routed_experts");
  if (experts && *experts != shard.options.experts)
    return fail(
        fmt::format("{}: n_routed_experts is {}, --n-experts says {}", conversion.configPath(), *experts, shard.options.experts));
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
    return fail(fmt::format("{}: has {}{}, which --model-parallel {} does not divide", describe(tensor), size,
                            dim == 0 ? " rows" : " columns", ranks));
  return {};
}

static Error cutBlock(const Tensor &weight, int dim, const Shard &shard) {
  int64_t size = weight.info->shape[static_cast<size_t>(dim)], ranks = shard.layout.ranks;
  int64_t block = shard.scheme.block[static_cast<size_t>(dim)];
  return {fmt::format("{}: {}{} over {} ranks are {} each, {:g} blocks of {}: the split cuts through a block scale; choose a "
                      "smaller --model-parallel, or --requantize",
                      describe(weight), size, dim == 0 ? " rows" : " columns", ranks, size / ranks,
                      static_cast<double>(size / ranks) / static_cast<double>(block), block)};
}

/// An FP8 weight and its scale.
static Result<void> splitScaled(const Tensor &weight, const Tensor &scale, const Placement &place, const std::string &scaleName,
                                Shard &shard) {
  int64_t ranks = shard.layout.ranks;
  auto dim = static_cast<size_t>(*place.dim);
  bool cuts = ranks > 1 && weight.info->shape[dim] / ranks % shard.scheme.block[dim] != 0;
  if (cuts && !shard.options.requantize)
    return tl::unexpected(cutBlock(weight, *place.dim, shard));
  shard.requantized += cuts;
  for (int64_t rank = 0; rank < ranks; ++rank) {
    Piece piece = pieceOf(weight, *place.dim, rank, ranks);
    if (cuts) {
      shard.jobs(rank).push_back(requantizeJob(weight, scale, place.name, scaleName, piece, shard.scheme));
      continue;
    }
    shard.jobs(rank).push_back(copyPieceJob(weight, place.name, piece));
    shard.jobs(rank).push_back(copyPieceJob(scale, scaleName, pieceOf(scale, *place.dim, rank, ranks)));
  }
  return {};
}

/// `scale` is the tensor's, null where it has none.
static Result<void> addSplit(const Tensor &tensor, const Tensor *scale, const Placement &place, Shard &shard) {
  QUANT_TRY(checkSplit(tensor, *place.dim, shard.layout.ranks));
  if (scale) {
    QUANT_TRY_ASSIGN(auto scalePlace, convert::place(scale->info->name, shard.layout));
    return splitScaled(tensor, *scale, place, scalePlace->name, shard);
  }
  for (int64_t rank = 0; rank < shard.layout.ranks; ++rank)
    shard.jobs(rank).push_back(copyPieceJob(tensor, place.name, pieceOf(tensor, *place.dim, rank, shard.layout.ranks)));
  return {};
}

//===----------------------------------------------------------------------===//
// The plan
//===----------------------------------------------------------------------===//

/// A weight and its scale belong together: the scale of an FP8 weight, null for another.
static Result<const Tensor *> findPair(const Tensor &tensor, Shard &shard) {
  if (!isFp8(tensor.info->dtype))
    return nullptr;
  QUANT_TRY_ASSIGN(const auto *scale, shard.conversion.scaleOf(tensor));
  if (!scale)
    return tl::unexpected(missingScale(tensor));
  return scale;
}

static Result<void> addTensor(const Tensor &tensor, Shard &shard) {
  const std::string &name = tensor.info->name;
  if (harmlessTensor(name)) {
    ++shard.ignored;
    return {};
  }
  QUANT_TRY(checkpoint::checkFinite(tensor));
  auto placed = place(name, shard.layout);
  if (!placed)
    return tl::unexpected(placed.error().in(printable(tensor.file->path().native())));
  if (!*placed) {
    ++shard.dropped;
    return {};
  }
  const Placement &place = **placed;
  bool isScale = !weightOfScale(name, shard.conversion.input).empty();
  if (isScale)
    QUANT_TRY(checkHasWeight(shard.conversion.input, tensor));
  QUANT_TRY_ASSIGN(const auto *scale, findPair(tensor, shard));
  if (place.dim) // a scale goes with its weight
    return isScale ? Result<void>() : addSplit(tensor, scale, place, shard);
  for (int64_t rank = 0; rank < shard.layout.ranks; ++rank)
    if (!place.rank || *place.rank == rank)
      shard.jobs(rank).push_back(copyJob(tensor, place.name));
  return {};
}

/// All experts are there, and every tensor of the configuration, where it is one that is known.
static Result<void> checkComplete(const Shard &shard) {
  const Checkpoint &input = shard.conversion.input;
  int64_t layers = shard.options.keepMtp ? INT64_MAX : shard.layout.firstMtpLayer;
  QUANT_TRY(models::checkExperts(input, shard.options.experts, layers));
  auto config = models::loadConfig(input.dir());
  if (!config)
    return {};
  for (const models::TensorSpec &tensor : models::checkpointTensors(*config))
    if (tensor.role != models::TensorRole::Scale && tensor.layer < config->nLayers && !input.find(tensor.name))
      return fail(fmt::format("tensor {} is missing, which config.json says that the model has; is the download complete?",
                              quote(tensor.name)));
  return {};
}

static Result<void> makePlan(Shard &shard) {
  const ShardOptions &options = shard.options;
  Conversion &conversion = shard.conversion;
  Plan &plan = conversion.plan;
  plan.hasIndex = false;
  plan.options =
      fmt::format("{} {}{}{} {} {}x{}", options.experts, options.ranks, options.requantize ? " requantize" : "",
                  options.keepMtp ? " mtp" : "", name(shard.scheme.scaleFmt), shard.scheme.block[0], shard.scheme.block[1]);
  for (int64_t rank = 0; rank < options.ranks; ++rank)
    plan.shards.push_back({fmt::format("model{}-mp{}.safetensors", rank, options.ranks), {}});
  QUANT_TRY(conversion.forTensors([&](const Tensor &tensor) { return addTensor(tensor, shard); }));
  if (auto complete = checkComplete(shard); !complete)
    return tl::unexpected(complete.error().in(printable(conversion.input.dir().native())));
  return addCompanions(conversion.input.dir(), Companions::Tokenizer, plan.sideFiles);
}

static Summary summarize(const Shard &shard) {
  Summary summary;
  summary.words = fmt::format("{} weights quantized again, {} tensors of MTP layers left out", shard.requantized, shard.dropped);
  if (shard.ignored)
    summary.words += fmt::format(", {} buffers and tensors of other parts that nothing reads", shard.ignored);
  summary.json = {{"input", shard.options.input},
                  {"model_parallel", shard.options.ranks},
                  {"requantized", shard.requantized},
                  {"dropped", shard.dropped},
                  {"ignored", shard.ignored}};
  return summary;
}

static Result<void> runShard(const ShardOptions &options) {
  QUANT_TRY_ASSIGN(auto conversion, Conversion::open("shard", options.input));
  Shard shard{options, std::move(conversion), {}};
  QUANT_TRY(readConfig(shard));
  QUANT_TRY(makePlan(shard));
  return shard.conversion.run(shard.scheme.block, options.run, [&] { return summarize(shard); });
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
      throw CLI::ValidationError(
          fmt::format("--n-experts {} is no multiple of --model-parallel {}", options->experts, options->ranks));
  });
  return {app, [options] { return runShard(*options); }};
}
