//===- cast_bf16.cpp - quant-convert cast-bf16 ----------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/support/scheme_config.h"
#include "runtime/support/text.h"
#include "tools/common/tensor_source.h"
#include "tools/quant-convert/command.h"
#include "tools/quant-convert/run_plan.h"
#include "tools/quant-convert/schemes/dequantize.h"
#include "tools/quant-convert/schemes/scales.h"
#include "tools/quant-convert/schemes/side_files.h"

#include <CLI/CLI.hpp>

using namespace quant;
using namespace quant::convert;
using checkpoint::Checkpoint;

namespace {

struct CastBf16Options {
  std::string input;
  bool keepUnscaled = false;
  RunOptions run;
};

/// What becomes of a checkpoint's tensors.
struct CastBf16Plan {
  Plan plan;
  size_t cast = 0, copied = 0, unscaled = 0;
  std::vector<std::pair<const Tensor *, const Tensor *>> scaled;
};

} // namespace

static Result<void> addTensor(const Checkpoint &input, const Tensor &tensor, const CastBf16Options &options, const Block &block,
                              CastBf16Plan &plan, std::vector<Job> &jobs) {
  const std::string &name = tensor.info->name;
  if (!weightOfScale(name, input).empty())
    return checkHasWeight(input, tensor);
  if (!isFp8(tensor.info->dtype)) {
    ++plan.copied;
    jobs.push_back(copyJob(tensor, name));
    return {};
  }
  auto scale = findFp8Scale(input, tensor);
  if (!scale)
    return tl::unexpected(scale.error());
  if (!*scale && !options.keepUnscaled)
    return fail(missingScale(tensor).message + " --keep-unscaled leaves such weights FP8");
  if (!*scale) {
    ++plan.unscaled;
    jobs.push_back(copyJob(tensor, name));
    return {};
  }
  ++plan.cast;
  plan.scaled.emplace_back(&tensor, *scale);
  jobs.push_back(dequantizeJob(tensor, **scale, block, name));
  return {};
}

static Result<CastBf16Plan> makePlan(const Checkpoint &input, const CastBf16Options &options) {
  auto config = findConfig(input);
  if (!config)
    return tl::unexpected(config.error());
  auto scheme = *config ? readScheme(**config) : Result<Scheme>(deepSeekFp8());
  if (!scheme)
    return tl::unexpected(scheme.error().in(printable((input.dir() / "config.json").native())));
  const Block &block = scheme->block;
  CastBf16Plan result;
  result.plan.command = "cast-bf16";
  result.plan.inputs = {&input};
  result.plan.options = std::to_string(block[0]) + "x" + std::to_string(block[1]) + (options.keepUnscaled ? " unscaled" : "");
  for (const checkpoint::SafetensorsFile &file : input.files()) {
    OutputShard shard{file.path().filename().native(), {}};
    for (const checkpoint::TensorInfo &info : file.tensors())
      if (const Tensor *tensor = input.find(info.name); tensor->file == &file)
        QUANT_TRY(addTensor(input, *tensor, options, block, result, shard.jobs));
    if (!shard.jobs.empty()) // nothing but scales
      result.plan.shards.push_back(std::move(shard));
  }
  if (*config)
    result.plan.sideFiles.push_back(configFile(plainConfig(**config)));
  if (auto added = addCompanions(input.dir(), Companions::All, result.plan.sideFiles); !added)
    return tl::unexpected(added.error());
  if (auto sound = checkScales(result.scaled, block, options.run.engine.threads); !sound)
    return tl::unexpected(sound.error());
  return result;
}

static Result<void> runCastBf16(const CastBf16Options &options) {
  auto input = Checkpoint::open(options.input);
  if (!input)
    return tl::unexpected(input.error());
  auto plan = makePlan(*input, options);
  if (!plan)
    return tl::unexpected(plan.error());
  return runPlan(plan->plan, options.run, [&] {
    Summary summary;
    summary.words = std::to_string(plan->cast) + " weights cast to BF16, " + std::to_string(plan->copied) + " tensors copied" +
                    (plan->unscaled ? ", " + std::to_string(plan->unscaled) + " left FP8: they have no scale" : "");
    summary.json = {{"input", options.input}, {"cast", plan->cast}, {"copied", plan->copied}, {"unscaled", plan->unscaled}};
    return summary;
  });
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
      "copied,\nconfig.json without quantization_config. The shards keep their names. Started again after it was stopped, "
      "it goes on.\n\nExample:\n"
      "  quant-convert cast-bf16 --input-fp8-hf-path DeepSeek-V3 --output-bf16-hf-path DeepSeek-V3-bf16");
  return {app, [options] { return runCastBf16(*options); }};
}
