//===- cast_bf16.cpp - quant-convert cast-bf16 ----------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/quant-convert/command.h"
#include "tools/quant-convert/conversion.h"
#include "tools/quant-convert/schemes/config_json.h"
#include "tools/quant-convert/schemes/dequantize.h"

#include <CLI/CLI.hpp>
#include <fmt/core.h>

using namespace quant;
using namespace quant::convert;

namespace {

struct CastBf16Options {
  std::string input;
  bool keepUnscaled = false;
  RunOptions run;
};

/// What becomes of a checkpoint's tensors.
struct Counts {
  size_t cast = 0, copied = 0, unscaled = 0, dropped = 0;
};

} // namespace

/// Whether the name is that of the scale that the inputs of an FP8 weight are quantized with: of a BF16 weight they are not.
static bool isInputScale(const checkpoint::Checkpoint &input, std::string_view name, const Scheme &scheme) {
  const TensorSuffixes &suffixes = scheme.suffixes;
  if (suffixes.inputScale.empty() || !name.ends_with(suffixes.inputScale))
    return false;
  name.remove_suffix(suffixes.inputScale.size());
  const Tensor *weight = input.find(std::string(name) + std::string(suffixes.data));
  return weight && isFp8(weight->info->dtype);
}

static Result<void> addTensor(Conversion &conversion, const Tensor &tensor, const CastBf16Options &options, const Scheme &scheme,
                              Counts &counts, std::vector<Job> &jobs) {
  const std::string &name = tensor.info->name;
  if (!weightOfScale(name, conversion.input).empty())
    return checkHasWeight(conversion.input, tensor);
  if (isInputScale(conversion.input, name, scheme)) {
    ++counts.dropped;
    return {};
  }
  const Tensor *scale = nullptr;
  if (isFp8(tensor.info->dtype)) {
    QUANT_TRY_ASSIGN(scale, conversion.scaleOf(tensor));
    if (!scale && !options.keepUnscaled)
      return fail(missingScale(tensor).message + " --keep-unscaled leaves such weights FP8");
    ++(scale ? counts.cast : counts.unscaled);
  } else {
    ++counts.copied;
  }
  jobs.push_back(scale ? dequantizeJob(tensor, *scale, scheme.block, name) : copyJob(tensor, name));
  return {};
}

static Summary summarize(const Counts &counts, const CastBf16Options &options) {
  Summary summary;
  summary.words = fmt::format("{} weights cast to BF16, {} tensors copied", counts.cast, counts.copied);
  if (counts.unscaled)
    summary.words += fmt::format(", {} left FP8: they have no scale", counts.unscaled);
  if (counts.dropped)
    summary.words += fmt::format(", {} scales of inputs left out", counts.dropped);
  summary.json = {{"input", options.input}, {"cast", counts.cast}, {"copied", counts.copied}, {"unscaled", counts.unscaled}};
  return summary;
}

static Result<void> runCastBf16(const CastBf16Options &options) {
  QUANT_TRY_ASSIGN(auto conversion, Conversion::open("cast-bf16", options.input));
  QUANT_TRY_ASSIGN(auto scheme, conversion.inputScheme());
  const Block &block = scheme.block;
  Plan &plan = conversion.plan;
  plan.options = fmt::format("{}x{}{}", block[0], block[1], options.keepUnscaled ? " unscaled" : "");
  Counts counts;
  QUANT_TRY(conversion.keepFiles([&](const Tensor &tensor, std::vector<Job> &jobs) {
    return addTensor(conversion, tensor, options, scheme, counts, jobs);
  }));
  if (conversion.config)
    plan.sideFiles.push_back(configFile(plainConfig(*conversion.config)));
  QUANT_TRY(addCompanions(conversion.input.dir(), Companions::All, plan.sideFiles));
  return conversion.run(block, options.run, [&] { return summarize(counts, options); });
}

Command convert::addCastBf16Command(CLI::App &parent) {
  auto options = std::make_shared<CastBf16Options>();
  CLI::App *app = parent.add_subcommand("cast-bf16", "Casts an FP8 checkpoint with block scales to BF16.");
  app->add_option("--input-fp8-hf-path", options->input, "Folder of the FP8 checkpoint")->required();
  app->add_option("--output-bf16-hf-path", options->run.engine.output, "Folder to write to")->required();
  options->run.engine.outputFlag = "--output-bf16-hf-path";
  app->add_flag("--keep-unscaled", options->keepUnscaled, "Leave FP8 weights without a scale as they are");
  addRunOptions(*app, options->run);
  app->footer(
      "A weight is its codes times the block's scale in f32, rounded to the nearest BF16, ties to even. Everything else is "
      "copied,\nconfig.json without quantization_config, nested ones included. The shards keep their names. Started again after "
      "it was stopped, "
      "it goes on.\n\nExample:\n"
      "  quant-convert cast-bf16 --input-fp8-hf-path DeepSeek-V3 --output-bf16-hf-path DeepSeek-V3-bf16");
  return {app, [options] { return runCastBf16(*options); }};
}
