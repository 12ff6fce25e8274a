//===- cast_fp8.cpp - quant-convert cast-fp8 ------------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "models/config/names.h"
#include "runtime/support/text.h"
#include "tools/quant-convert/command.h"
#include "tools/quant-convert/run_plan.h"
#include "tools/quant-convert/schemes/cast_kernels.h"
#include "tools/quant-convert/schemes/dequantize.h"
#include "tools/quant-convert/schemes/scales.h"
#include "tools/quant-convert/schemes/side_files.h"
#include "tools/quant-convert/schemes/weight_choice.h"

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

/// Both checkpoints; the reference may be absent.
struct Inputs {
  Checkpoint input;
  std::optional<Checkpoint> reference;
};

struct CastFp8Plan {
  Plan plan;
  Scheme scheme = deepSeekFp8();
  size_t cast = 0, copied = 0;
  std::shared_ptr<ReuseCount> scales = std::make_shared<ReuseCount>();
};

} // namespace

static Result<Inputs> openInputs(const CastFp8Options &options) {
  auto input = Checkpoint::open(options.input);
  if (!input)
    return tl::unexpected(input.error());
  Inputs inputs{std::move(*input), std::nullopt};
  if (options.reference.empty())
    return inputs;
  auto reference = Checkpoint::open(options.reference);
  if (!reference)
    return tl::unexpected(reference.error());
  inputs.reference = std::move(*reference);
  return inputs;
}

//===----------------------------------------------------------------------===//
// Which weights, and how
//===----------------------------------------------------------------------===//

static Result<WeightSet> chooseWeights(const Inputs &inputs, const CastFp8Options &options) {
  auto weights = !options.weightsList.empty() ? readWeightsList(options.weightsList)
                 : inputs.reference           ? scaledWeights(*inputs.reference)
                                              : modelWeights(inputs.input);
  if (!weights)
    return weights;
  if (auto ignored = ignoreWeights(*weights, options.ignore); !ignored)
    return tl::unexpected(ignored.error());
  for (const std::string &weight : *weights)
    if (!inputs.input.find(weight))
      return fail(printable(options.input) + ": tensor " + quote(weight) + ", which is to be cast according to " +
                  (options.weightsList.empty() ? options.reference : options.weightsList) +
                  ", is in no shard; leave it out with --ignore");
  return weights;
}

/// With --reuse-scales a scale that does not fit is made in the reference's format, unless told otherwise.
static Result<ScaleFmt> chooseScaleFmt(const Inputs &inputs, const CastFp8Options &options) {
  if (!options.scaleFmt.empty())
    return parseScaleFmt(options.scaleFmt);
  if (!options.reuseScales)
    return ScaleFmt::None;
  auto config = findConfig(*inputs.reference);
  if (!config)
    return tl::unexpected(config.error());
  if (!*config || !(*config)->contains("quantization_config"))
    return ScaleFmt::None;
  const nlohmann::json &quantization = (**config)["quantization_config"];
  bool isUe8m0 = quantization.is_object() && quantization.value("scale_fmt", nlohmann::json()) == "ue8m0";
  return isUe8m0 ? ScaleFmt::UE8M0 : ScaleFmt::None;
}

static Result<void> checkWeight(const Checkpoint &input, const Tensor &weight) {
  if (!isCastable(weight.info->dtype))
    return fail(describe(weight) + ": is " + std::string(safetensorsName(weight.info->dtype)) +
                ", only BF16, F16 and F32 can be cast; is this an FP8 checkpoint already?");
  if (weight.info->shape.size() != 2)
    return fail(describe(weight) + ": has " + std::to_string(weight.info->shape.size()) +
                " dimensions, block scales need two; leave it out with --ignore");
  if (const Tensor *scale = input.find(scaleNameOf(deepSeekFp8(), weight.info->name)))
    return fail(describe(*scale) + ": is a scale of a weight that is not FP8; is the checkpoint half converted?");
  return {};
}

/// The scales of the reference for that weight, to be kept where they fit; null without --reuse-scales.
static Result<const Tensor *> findReused(const Inputs &inputs, const Tensor &weight, const CastFp8Options &options,
                                         const Block &block) {
  const Tensor *twin = options.reuseScales ? inputs.reference->find(weight.info->name) : nullptr;
  const Tensor *scale = twin ? findScale(*inputs.reference, *twin) : nullptr;
  if (!scale)
    return nullptr;
  if (twin->info->shape != weight.info->shape)
    return fail(describe(weight) + ": the reference's weight of that name has another shape");
  if (auto sound = checkScale(*twin, *scale, block); !sound)
    return tl::unexpected(sound.error());
  return scale;
}

//===----------------------------------------------------------------------===//
// The plan
//===----------------------------------------------------------------------===//

static Result<void> addShards(const Inputs &inputs, const WeightSet &weights, const CastFp8Options &options,
                              CastFp8Plan &result) {
  for (const checkpoint::SafetensorsFile &file : inputs.input.files()) {
    OutputShard shard{file.path().filename().native(), {}};
    for (const checkpoint::TensorInfo &info : file.tensors()) {
      const Tensor &tensor = *inputs.input.find(info.name);
      if (tensor.file != &file)
        continue; // an old copy
      if (!weights.contains(info.name)) {
        ++result.copied;
        shard.jobs.push_back(copyJob(tensor, info.name));
        continue;
      }
      if (auto sound = checkWeight(inputs.input, tensor); !sound)
        return sound;
      auto reused = findReused(inputs, tensor, options, result.scheme.block);
      if (!reused)
        return tl::unexpected(reused.error());
      ++result.cast;
      shard.jobs.push_back(
          quantizeJob(tensor, info.name, scaleNameOf(result.scheme, info.name), result.scheme, *reused, result.scales));
    }
    result.plan.shards.push_back(std::move(shard));
  }
  return {};
}

/// config.json and its companions from the input; what it lacks from the reference.
static Result<void> addSideFiles(const Inputs &inputs, const WeightSet &weights, CastFp8Plan &result) {
  auto config = findConfig(inputs.input);
  if (config && !*config && inputs.reference)
    config = findConfig(*inputs.reference);
  if (!config)
    return tl::unexpected(config.error());
  std::vector<SideFile> &files = result.plan.sideFiles;
  if (*config)
    files.push_back(configFile(quantizedConfig(**config, result.scheme, notConvertedModules(inputs.input, weights))));
  auto added = addCompanions(inputs.input.dir(), Companions::All, files);
  if (added && inputs.reference)
    added = addCompanions(inputs.reference->dir(), Companions::All, files);
  return added;
}

static Result<CastFp8Plan> makePlan(const Inputs &inputs, const CastFp8Options &options) {
  auto weights = chooseWeights(inputs, options);
  if (!weights)
    return tl::unexpected(weights.error());
  auto format = chooseScaleFmt(inputs, options);
  if (!format)
    return tl::unexpected(format.error());
  CastFp8Plan result;
  result.scheme = deepSeekFp8(*format);
  result.scheme.block = {options.block[0], options.block[1]};
  result.plan.command = "cast-fp8";
  result.plan.inputs = {&inputs.input};
  if (inputs.reference)
    result.plan.inputs.push_back(&*inputs.reference);
  result.plan.options = std::to_string(options.block[0]) + "x" + std::to_string(options.block[1]) + " " +
                        std::string(name(*format)) + (options.reuseScales ? " reuse" : "");
  auto added = addShards(inputs, *weights, options, result);
  if (added)
    added = addSideFiles(inputs, *weights, result);
  if (!added)
    return tl::unexpected(added.error());
  return result;
}

//===----------------------------------------------------------------------===//
// The command
//===----------------------------------------------------------------------===//

/// With the reference alone: its scaled weights, to --weights-list or to standard output.
static Result<void> writeWeightsList(const CastFp8Options &options) {
  auto reference = Checkpoint::open(options.reference);
  if (!reference)
    return tl::unexpected(reference.error());
  auto weights = scaledWeights(*reference);
  if (!weights)
    return tl::unexpected(weights.error());
  if (auto ignored = ignoreWeights(*weights, options.ignore); !ignored)
    return ignored;
  std::string text;
  for (const std::string &weight : *weights)
    text += weight + "\n";
  if (!options.weightsList.empty()) {
    if (auto written = checkpoint::writeFileAtomically(options.weightsList, text); !written)
      return written;
    text = "wrote the names of " + std::to_string(weights->size()) + " weights to " + options.weightsList + "\n";
  }
  if (options.run.json)
    text = nlohmann::json{{"weights", *weights}}.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
  std::cout << text;
  return {};
}

static Summary summarize(const CastFp8Plan &plan, const CastFp8Options &options) {
  uint64_t kept = plan.scales->kept, fresh = plan.scales->fresh;
  Summary summary;
  summary.words = std::to_string(plan.cast) + " weights cast to FP8, " + std::to_string(plan.copied) + " tensors copied";
  if (options.reuseScales && !options.run.dryRun)
    summary.words += "; " + std::to_string(kept) + " of " + std::to_string(kept + fresh) + " scales kept";
  summary.json = {{"input", options.input},
                  {"reference", options.reference},
                  {"cast", plan.cast},
                  {"copied", plan.copied},
                  {"block_size", plan.scheme.block},
                  {"scale_fmt", name(plan.scheme.scaleFmt)},
                  {"scales_kept", kept},
                  {"scales_new", fresh}};
  return summary;
}

static Result<void> runCastFp8(const CastFp8Options &options) {
  if (options.input.empty())
    return writeWeightsList(options);
  auto inputs = openInputs(options);
  if (!inputs)
    return tl::unexpected(inputs.error());
  auto plan = makePlan(*inputs, options);
  if (!plan)
    return tl::unexpected(plan.error());
  return runPlan(plan->plan, options.run, [&] { return summarize(*plan, options); });
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
      ->check(CLI::Range(int64_t(1), int64_t(1) << 30).description(""))
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
