//===- cast_fp8.cpp - quant-convert cast-fp8 ------------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "models/config/scheme_config.h"
#include "runtime/support/text.h"
#include "tools/quant-convert/command.h"
#include "tools/quant-convert/conversion.h"
#include "tools/quant-convert/schemes/cast_kernels.h"
#include "tools/quant-convert/schemes/config_json.h"
#include "tools/quant-convert/schemes/dequantize.h"
#include "tools/quant-convert/schemes/weight_choice.h"

#include <fmt/core.h>

#include <CLI/CLI.hpp>

#include <iostream>
#include <optional>

using namespace quant;
using namespace quant::convert;
using checkpoint::Checkpoint;

namespace {

struct CastFp8Options {
  std::string input, reference, weightsList, scaleFmt;
  std::vector<std::string> ignore = {".*lm_head"};
  std::vector<int64_t> block = {128, 128};
  bool reuseScales = false;
  RunOptions run;
};

/// The checkpoint to cast, and the one to follow, if any.
struct CastFp8 {
  const CastFp8Options &options;
  Conversion conversion;
  std::optional<Checkpoint> reference;
  Scheme scheme = deepSeekFp8();
  size_t cast = 0, copied = 0;
  std::shared_ptr<ReuseCount> scales = std::make_shared<ReuseCount>();
};

} // namespace

//===----------------------------------------------------------------------===//
// Which weights, and how
//===----------------------------------------------------------------------===//

static Result<WeightSet> chooseWeights(const CastFp8 &cast) {
  const CastFp8Options &options = cast.options;
  const Checkpoint &input = cast.conversion.input;
  QUANT_TRY_ASSIGN(auto weights, !options.weightsList.empty() ? readWeightsList(options.weightsList)
                                 : cast.reference             ? scaledWeights(*cast.reference)
                                                              : modelWeights(input));
  QUANT_TRY(ignoreWeights(weights, options.ignore));
  for (const std::string &weight : weights)
    if (!input.find(weight))
      return fail(fmt::format("{}: tensor {}, which is to be cast according to {}, is in no shard; leave it out with --ignore",
                              printable(options.input), quote(weight),
                              options.weightsList.empty() ? options.reference : options.weightsList));
  return weights;
}

/// With --reuse-scales a scale that does not fit is made in the reference's format, unless told otherwise.
static Result<ScaleFmt> chooseScaleFmt(const CastFp8 &cast) {
  const CastFp8Options &options = cast.options;
  if (!options.scaleFmt.empty())
    return parseScaleFmt(options.scaleFmt);
  if (!options.reuseScales)
    return ScaleFmt::None;
  QUANT_TRY_ASSIGN(auto config, findConfig(*cast.reference));
  auto quantization = config ? quantizedPart(*config).value("quantization_config", nlohmann::json()) : nlohmann::json();
  bool isUe8m0 = quantization.is_object() && quantization.value("scale_fmt", nlohmann::json()) == "ue8m0";
  return isUe8m0 ? ScaleFmt::UE8M0 : ScaleFmt::None;
}

static Result<void> checkWeight(const Checkpoint &input, const Tensor &weight) {
  if (!isCastable(weight.info->dtype))
    return fail(fmt::format("{}: is {}, only BF16, F16 and F32 can be cast; is this an FP8 checkpoint already?", describe(weight),
                            safetensorsName(weight.info->dtype)));
  if (weight.info->shape.size() != 2)
    return fail(fmt::format("{}: has {} dimensions, block scales need two; leave it out with --ignore", describe(weight),
                            weight.info->shape.size()));
  if (const Tensor *scale = input.find(scaleNameOf(deepSeekFp8(), weight.info->name)))
    return fail(describe(*scale) + ": is a scale of a weight that is not FP8; is the checkpoint half converted?");
  return {};
}

/// The scales of the reference for that weight, to be kept where they fit; null without --reuse-scales.
static Result<const Tensor *> findReused(const CastFp8 &cast, const Tensor &weight) {
  const Tensor *twin = cast.options.reuseScales ? cast.reference->find(weight.info->name) : nullptr;
  const Tensor *scale = twin ? findScale(*cast.reference, *twin) : nullptr;
  if (!scale)
    return nullptr;
  if (twin->info->shape != weight.info->shape)
    return fail(describe(weight) + ": the reference's weight of that name has another shape");
  QUANT_TRY(checkScale(*twin, *scale, cast.scheme.block));
  return scale;
}

//===----------------------------------------------------------------------===//
// The plan
//===----------------------------------------------------------------------===//

static Result<void> addTensor(CastFp8 &cast, const Tensor &tensor, const WeightSet &weights, std::vector<Job> &jobs) {
  const std::string &name = tensor.info->name;
  if (!weights.contains(name)) {
    ++cast.copied;
    jobs.push_back(copyJob(tensor, name));
    return {};
  }
  QUANT_TRY(checkWeight(cast.conversion.input, tensor));
  QUANT_TRY_ASSIGN(const auto *reused, findReused(cast, tensor));
  ++cast.cast;
  jobs.push_back(quantizeJob(tensor, name, scaleNameOf(cast.scheme, name), cast.scheme, reused, cast.scales));
  return {};
}

/// config.json and its companions from the input; what it lacks from the reference.
static Result<void> addSideFiles(CastFp8 &cast, const WeightSet &weights) {
  const Checkpoint &input = cast.conversion.input;
  std::optional<nlohmann::json> config = cast.conversion.config;
  if (!config && cast.reference) {
    QUANT_TRY_ASSIGN(config, findConfig(*cast.reference));
  }
  if (!config && cast.scheme.block != deepSeekFp8().block)
    config = nlohmann::json::object(); // nothing else says what the blocks are
  std::vector<SideFile> &files = cast.conversion.plan.sideFiles;
  if (config)
    files.push_back(configFile(quantizedConfig(*config, cast.scheme, notConvertedModules(input, weights))));
  QUANT_TRY(addCompanions(input.dir(), Companions::All, files));
  return cast.reference ? addCompanions(cast.reference->dir(), Companions::All, files) : Result<void>();
}

//===----------------------------------------------------------------------===//
// The command
//===----------------------------------------------------------------------===//

/// With the reference alone: its scaled weights, to --weights-list or to standard output.
static Result<void> writeWeightsList(const CastFp8Options &options) {
  QUANT_TRY_ASSIGN(auto reference, Checkpoint::open(options.reference));
  QUANT_TRY_ASSIGN(auto weights, scaledWeights(reference));
  QUANT_TRY(ignoreWeights(weights, options.ignore));
  std::string text;
  for (const std::string &weight : weights)
    text += weight + "\n";
  if (!options.weightsList.empty()) {
    QUANT_TRY(checkpoint::writeFileAtomically(options.weightsList, text));
    text = fmt::format("wrote the names of {} weights to {}\n", weights.size(), options.weightsList);
  }
  if (options.run.json)
    text = nlohmann::json{{"weights", weights}}.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
  std::cout << text;
  return {};
}

static Summary summarize(const CastFp8 &cast) {
  uint64_t kept = cast.scales->kept, fresh = cast.scales->fresh;
  Summary summary;
  summary.words = fmt::format("{} weights cast to FP8, {} tensors copied", cast.cast, cast.copied);
  if (cast.options.reuseScales && !cast.options.run.dryRun)
    summary.words += fmt::format("; {} of {} scales kept", kept, kept + fresh);
  summary.json = {{"input", cast.options.input},
                  {"reference", cast.options.reference},
                  {"cast", cast.cast},
                  {"copied", cast.copied},
                  {"block_size", cast.scheme.block},
                  {"scale_fmt", name(cast.scheme.scaleFmt)},
                  {"scales_kept", kept},
                  {"scales_new", fresh}};
  return summary;
}

static Result<void> runCastFp8(const CastFp8Options &options) {
  if (options.input.empty())
    return writeWeightsList(options);
  QUANT_TRY_ASSIGN(auto conversion, Conversion::open("cast-fp8", options.input));
  CastFp8 cast{options, std::move(conversion), std::nullopt};
  Plan &plan = cast.conversion.plan;
  if (!options.reference.empty()) {
    QUANT_TRY_ASSIGN(cast.reference, Checkpoint::open(options.reference));
    plan.inputs = {&*cast.reference};
  }
  QUANT_TRY_ASSIGN(auto weights, chooseWeights(cast));
  QUANT_TRY_ASSIGN(auto format, chooseScaleFmt(cast));
  cast.scheme = deepSeekFp8(format);
  cast.scheme.block = {options.block[0], options.block[1]};
  plan.options = fmt::format("{}x{} {}{}", options.block[0], options.block[1], name(format), options.reuseScales ? " reuse" : "");
  QUANT_TRY(cast.conversion.keepFiles(
      [&](const Tensor &tensor, std::vector<Job> &jobs) { return addTensor(cast, tensor, weights, jobs); }));
  QUANT_TRY(addSideFiles(cast, weights));
  return cast.conversion.run(cast.scheme.block, options.run, [&] { return summarize(cast); });
}

/// Which options go together.
static void checkOptions(const CastFp8Options &options) {
  auto wrong = [](const char *what) { throw CLI::ValidationError(what); };
  if (options.input.empty() != options.run.engine.output.empty())
    wrong("--input-bf16-hf-path and --output-fp8-hf-path go together");
  if (options.input.empty() && options.reference.empty())
    wrong("--input-bf16-hf-path and --output-fp8-hf-path are required, or --input-fp8-hf-path alone for the list of weights");
  if (options.reuseScales && (options.reference.empty() || options.input.empty()))
    wrong("--reuse-scales needs --input-fp8-hf-path and --input-bf16-hf-path");
}

Command convert::addCastFp8Command(CLI::App &parent) {
  auto options = std::make_shared<CastFp8Options>();
  CLI::App *app = parent.add_subcommand("cast-fp8", "Casts a BF16, F16 or F32 checkpoint to FP8 with block scales.");
  app->add_option("--input-bf16-hf-path", options->input, "Folder of the checkpoint to cast");
  app->add_option("--output-fp8-hf-path", options->run.engine.output, "Folder to write to");
  options->run.engine.outputFlag = "--output-fp8-hf-path";
  app->add_option("--input-fp8-hf-path", options->reference,
                  "An FP8 checkpoint of the same model: weights that have scales in it are cast. Alone: lists them");
  app->add_option("--weights-list", options->weightsList,
                  "File with the names of the weights to cast, one a line; with --input-fp8-hf-path alone it is written");
  app->add_option("--ignore", options->ignore, "Weights to leave as they are, a regular expression from the name's beginning")
      ->type_name("REGEX")
      ->default_str(".*lm_head");
  app->add_option("--scale-fmt", options->scaleFmt, "ue8m0 rounds scales up to powers of two")
      ->check(CLI::IsMember({"none", "ue8m0"}).description(""))
      ->type_name("none|ue8m0");
  app->add_option("--block-size", options->block, "Rows,columns that share a scale")
      ->delimiter(',')
      ->expected(2)
      ->check(CLI::Range(int64_t(1), kMaxBlockSide).description(""))
      ->type_name("ROWS,COLUMNS")
      ->default_str("128,128");
  app->add_flag("--reuse-scales", options->reuseScales, "Keep the scales of --input-fp8-hf-path where they still fit");
  addRunOptions(*app, options->run);
  app->footer(
      "A scale is amax / 448 of its block, a code weight / scale rounded to the nearest e4m3, as DeepSeek does it; a block "
      "of zeros has\nscale 1. Without a reference or a list, the weights that DeepSeek-V3 stores as FP8 are cast. The "
      "shards keep their names.\nStarted again after it was stopped, it goes on.\n\nExamples:\n"
      "  quant-convert cast-fp8 --input-bf16-hf-path tuned-bf16 --output-fp8-hf-path tuned-fp8 --input-fp8-hf-path "
      "DeepSeek-V3\n"
      "  quant-convert cast-fp8 --input-fp8-hf-path DeepSeek-V3 --weights-list weights.txt");
  app->final_callback([options] { checkOptions(*options); });
  return {app, [options] { return runCastFp8(*options); }};
}
