//===- recode.cpp - quant-convert recode ----------------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/quant-convert/schemes/recode.h"

#include "tools/quant-convert/command.h"
#include "tools/quant-convert/conversion.h"
#include "tools/quant-convert/schemes/config_json.h"
#include "tools/quant-convert/schemes/weight_choice.h"

#include <CLI/CLI.hpp>
#include <fmt/core.h>

using namespace quant;
using namespace quant::convert;
using nlohmann::json;

namespace {

struct RecodeOptions {
  std::string input, to;
  RunOptions run;
};

struct Recode {
  const RecodeOptions &options;
  Weights weights;
  WeightSet recoded; ///< by their names without quantization
  size_t copied = 0;
};

} // namespace

static Result<void> addTensor(Recode &recode, const Tensor &tensor, std::vector<Job> &jobs) {
  const Weight &weight = recode.weights.of(tensor);
  if (recode.weights.isPart(tensor))
    return {};
  if (!weight.linear) {
    ++recode.copied;
    jobs.push_back(copyJob(tensor, weight.name));
    return {};
  }
  bool isFp8Wanted = recode.options.to == "fp8";
  if (!weight.name.ends_with(".weight") || (!isFp8Wanted && weight.linear->columns() % 2 != 0))
    return fail(fmt::format("{}: {}", describe(tensor),
                            weight.name.ends_with(".weight") ? "has an odd number of columns, and a byte holds two codes"
                                                             : "is not called X.weight, as quantized layers are"));
  recode.recoded.insert(weight.name);
  jobs.push_back(isFp8Wanted ? recodeFp8Job(*weight.linear, weight.name) : recodeMxfp4Job(*weight.linear, weight.name));
  return {};
}

static Summary summarize(const Recode &recode) {
  Summary summary;
  summary.words = fmt::format("{} weights recoded as {} without a change of value, {} tensors copied", recode.recoded.size(),
                              recode.options.to, recode.copied);
  summary.json = {
      {"input", recode.options.input}, {"to", recode.options.to}, {"recoded", recode.recoded.size()}, {"copied", recode.copied}};
  return summary;
}

static Result<void> runRecode(const RecodeOptions &options) {
  QUANT_TRY_ASSIGN(auto conversion, Conversion::open("recode", options.input));
  QUANT_TRY_ASSIGN(auto weights, conversion.readWeights(options.run.engine.threads));
  Recode recode{options, std::move(weights), {}};
  Plan &plan = conversion.plan;
  plan.options = options.to + " " + conversion.quantizationText();
  QUANT_TRY(conversion.keepFiles([&](const Tensor &tensor, std::vector<Job> &jobs) { return addTensor(recode, tensor, jobs); }));
  auto kept = notConvertedModules(conversion.input, recode.recoded);
  json config = conversion.config.value_or(json::object());
  plan.sideFiles.push_back(
      configFile(options.to == "fp8" ? quantizedConfig(config, deepSeekFp8(ScaleFmt::UE8M0), kept) : mxfp4Config(config, kept)));
  QUANT_TRY(addCompanions(conversion.input.dir(), Companions::All, plan.sideFiles));
  return conversion.run({}, options.run, [&] { return summarize(recode); });
}

Command convert::addRecodeCommand(CLI::App &parent) {
  auto options = std::make_shared<RecodeOptions>();
  CLI::App *app = parent.add_subcommand("recode", "Turns MXFP4 into FP8 and back, where no value changes.");
  app->add_option("input", options->input, "Folder of the checkpoint")->required()->type_name("IN");
  app->add_option("output", options->run.engine.output, "Folder to write to")->required()->type_name("OUT");
  options->run.engine.outputFlag = "OUT";
  app->add_option("--to", options->to, "fp8 is DeepSeek's, in blocks of 128x128 with ue8m0 scales; mxfp4 compressed-tensors'")
      ->check(CLI::IsMember({"fp8", "mxfp4"}).description(""))
      ->type_name("fp8|mxfp4")
      ->required();
  addRunOptions(*app, options->run);
  app->footer(
      "Takes quantized weights of every scheme that `dequantize` takes, and copies the others. A value that the other format\n"
      "does not hold is an error that names it. MXFP4 fits FP8 where the scales of a block are at most 2^14 apart.\n\n"
      "Example:\n  quant-convert recode --to=fp8 model-mxfp4 model-fp8");
  return {app, [options] { return runRecode(*options); }};
}
