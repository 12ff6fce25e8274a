//===- dequantize.cpp - quant-convert dequantize --------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/quant-convert/schemes/dequantize.h"

#include "tools/quant-convert/command.h"
#include "tools/quant-convert/conversion.h"
#include "tools/quant-convert/schemes/config_json.h"

#include <CLI/CLI.hpp>
#include <fmt/core.h>

#include <map>

using namespace quant;
using namespace quant::convert;

namespace {

struct DequantizeOptions {
  std::string input, dtype = "bf16";
  RunOptions run;

  DType type() const { return dtype == "f32" ? DType::F32 : DType::BF16; }
};

/// What becomes of a checkpoint's tensors.
struct Counts {
  std::map<std::string, size_t> schemes; ///< weights of each
  size_t copied = 0, dropped = 0;
};

} // namespace

/// FP8 as cast-bf16 does it, by vectors; everything else by its scheme.
static Job jobOf(const Weight &weight, DType out) {
  const LinearWeight &linear = *weight.linear;
  const Tensor &codes = *weight.tensor, &scale = *linear.tensors().scale;
  bool isMatrix = codes.info->shape.size() == 2;
  if (codes.info->dtype != DType::F8E4M3FN || !isMatrix || scale.info->dtype == DType::U8)
    return decodeJob(linear, weight.name, out);
  const ScaleGrid &grid = linear.grid();
  bool isOne = grid.rows * grid.cols == 1;
  return dequantizeJob(codes, scale, isOne ? Block{0, 0} : Block{grid.blockRows, grid.blockCols}, weight.name, out);
}

static void addTensor(const Weights &weights, const Tensor &tensor, DType out, Counts &counts, std::vector<Job> &jobs) {
  const Weight &weight = weights.of(tensor);
  if (weights.isPart(tensor)) {
    ++counts.dropped;
  } else if (weight.linear) {
    ++counts.schemes[std::string(weight.linear->scheme().name)];
    jobs.push_back(jobOf(weight, out));
  } else {
    ++counts.copied;
    jobs.push_back(copyJob(tensor, weight.name));
  }
}

static Summary summarize(const Counts &counts, const DequantizeOptions &options) {
  Summary summary;
  size_t weights = 0;
  std::string schemes;
  for (const auto &[scheme, count] : counts.schemes) {
    weights += count;
    schemes += fmt::format("{}{} in {}", schemes.empty() ? "" : ", ", count, scheme);
  }
  summary.words =
      fmt::format("{} weights dequantized to {}{}{}{}, {} tensors copied, {} scales and the like left out", weights,
                  options.dtype, schemes.empty() ? "" : " (", schemes, schemes.empty() ? "" : ")", counts.copied, counts.dropped);
  summary.json = {{"input", options.input},    {"dtype", options.dtype},  {"dequantized", weights},
                  {"schemes", counts.schemes}, {"copied", counts.copied}, {"dropped", counts.dropped}};
  return summary;
}

static Result<void> runDequantize(const DequantizeOptions &options) {
  QUANT_TRY_ASSIGN(auto conversion, Conversion::open("dequantize", options.input));
  QUANT_TRY_ASSIGN(auto weights, conversion.readWeights(options.run.engine.threads));
  Plan &plan = conversion.plan;
  plan.options = options.dtype + " " + conversion.quantizationText();
  Counts counts;
  QUANT_TRY(conversion.keepFiles([&](const Tensor &tensor, std::vector<Job> &jobs) -> Result<void> {
    addTensor(weights, tensor, options.type(), counts, jobs);
    return {};
  }));
  if (conversion.config)
    plan.sideFiles.push_back(configFile(plainConfig(*conversion.config, options.type())));
  QUANT_TRY(addCompanions(conversion.input.dir(), Companions::All, plan.sideFiles));
  return conversion.run({}, options.run, [&] { return summarize(counts, options); });
}

Command convert::addDequantizeCommand(CLI::App &parent) {
  auto options = std::make_shared<DequantizeOptions>();
  CLI::App *app = parent.add_subcommand("dequantize", "Turns a checkpoint of any known scheme into BF16 or F32.");
  app->add_option("input", options->input, "Folder of the checkpoint")->required()->type_name("IN");
  app->add_option("output", options->run.engine.output, "Folder to write to")->required()->type_name("OUT");
  options->run.engine.outputFlag = "OUT";
  app->add_option("--dtype", options->dtype, "Of the weights that are dequantized")
      ->check(CLI::IsMember({"bf16", "f32"}).description(""))
      ->type_name("bf16|f32")
      ->capture_default_str();
  addRunOptions(*app, options->run);
  app->footer(
      "Takes FP8 (DeepSeek's, compressed-tensors'), INT8, INT4 with and without zero points, MXFP4, MXFP8, NVFP4, GPTQ and AWQ,\n"
      "as config.json says or, where that says nothing, as the tensors look. A value is (code - zero) * scale in f32, rounded\n"
      "to the nearest BF16, ties to even. Everything else is copied, config.json without quantization_config. The shards keep\n"
      "their names. Started again after it was stopped, it goes on.\n\nExample:\n"
      "  quant-convert dequantize Kimi-K2-Thinking Kimi-K2-bf16");
  return {app, [options] { return runDequantize(*options); }};
}
