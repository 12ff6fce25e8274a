//===- dequantize.cpp - quant-convert dequantize --------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/quant-convert/schemes/dequantize.h"

#include "runtime/support/text.h"
#include "tools/common/parallel.h"
#include "tools/quant-convert/command.h"
#include "tools/quant-convert/conversion.h"
#include "tools/quant-convert/schemes/config_json.h"

#include <CLI/CLI.hpp>
#include <fmt/core.h>

#include <map>

using namespace quant;
using namespace quant::convert;
using nlohmann::json;

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

/// Every weight can be decoded, and has its name for itself.
static Result<void> checkWeights(const Conversion &conversion, const Weights &weights, unsigned threads) {
  std::vector<const LinearWeight *> quantized;
  std::vector<const Tensor *> scales;
  for (const Weight &weight : weights.all()) {
    if (weight.fault)
      return tl::unexpected(weight.fault->error());
    if (const Weight *twin = weights.find(weight.name); twin != &weight)
      return fail(fmt::format("{}: would be called {}, as {}; remove one", describe(*weight.tensor), quote(weight.name),
                              quote(twin->tensor->info->name)));
    if (!weightOfScale(weight.tensor->info->name, conversion.input).empty())
      QUANT_TRY(checkHasWeight(conversion.input, *weight.tensor));
    if (!weight.linear)
      continue;
    quantized.push_back(&*weight.linear);
    scales.push_back(weight.linear->tensors().scale);
  }
  std::vector<std::optional<LayoutFault>> faults(quantized.size());
  tools::forScattered(scales, threads, [&](size_t i) {
    auto sound = quantized[i]->checkIndices().and_then([&] { return quantized[i]->checkScales(); });
    if (!sound)
      faults[i] = sound.error();
  });
  for (const auto &fault : faults)
    if (fault)
      return tl::unexpected(fault->error());
  return {};
}

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
  unsigned threads = options.run.engine.threads;
  json config = conversion.config.value_or(json::object());
  Weights weights = Weights::of(conversion.input, conversion.config ? schemesOf(config) : nullptr, threads);
  QUANT_TRY(checkWeights(conversion, weights, threads));
  Plan &plan = conversion.plan;
  plan.options = options.dtype + " " + quantizedPart(config).value("quantization_config", json()).dump();
  Counts counts;
  QUANT_TRY(conversion.keepFiles([&](const Tensor &tensor, std::vector<Job> &jobs) -> Result<void> {
    addTensor(weights, tensor, options.type(), counts, jobs);
    return {};
  }));
  if (conversion.config)
    plan.sideFiles.push_back(configFile(plainConfig(config, options.type())));
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
