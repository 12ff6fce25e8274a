//===- conversion.cpp - from one checkpoint to another --------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/quant-convert/conversion.h"

#include "models/config/scheme_config.h"
#include "runtime/support/text.h"
#include "tools/quant-convert/schemes/config_json.h"
#include "tools/quant-convert/schemes/dequantize.h"

#include <fmt/core.h>

using namespace quant;
using namespace quant::convert;
using checkpoint::Checkpoint;

Result<Conversion> Conversion::open(std::string command, const std::string &folder) {
  QUANT_TRY_ASSIGN(auto input, Checkpoint::open(folder));
  QUANT_TRY_ASSIGN(auto config, findConfig(input));
  Conversion conversion{std::move(input), std::move(config), {}, {}};
  conversion.plan.command = std::move(command);
  return conversion;
}

std::string Conversion::configPath() const { return printable((input.dir() / "config.json").native()); }

Result<Scheme> Conversion::inputScheme() const {
  if (!config)
    return deepSeekFp8();
  auto scheme = readScheme(quantizedPart(*config));
  return scheme ? scheme : tl::unexpected(scheme.error().in(configPath()));
}

/// Every weight can be decoded, and has its name for itself.
static Result<void> checkWeights(const Checkpoint &input, const Weights &weights, unsigned threads) {
  std::vector<const LinearWeight *> quantized;
  std::vector<const Tensor *> scales;
  for (const Weight &weight : weights.all()) {
    if (weight.fault)
      return tl::unexpected(weight.fault->error());
    if (const Weight *twin = weights.find(weight.name); twin != &weight)
      return fail(fmt::format("{}: would be called {}, as {}; remove one", describe(*weight.tensor), quote(weight.name),
                              quote(twin->tensor->info->name)));
    if (!weightOfScale(weight.tensor->info->name, input).empty())
      QUANT_TRY(checkHasWeight(input, *weight.tensor));
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

Result<Weights> Conversion::readWeights(unsigned threads) const {
  Weights weights = Weights::of(input, config ? schemesOf(*config) : nullptr, threads);
  QUANT_TRY(checkWeights(input, weights, threads));
  return weights;
}

std::string Conversion::quantizationText() const {
  return config ? quantizedPart(*config).value("quantization_config", nlohmann::json()).dump() : "";
}

Result<void> Conversion::forTensors(const std::function<Result<void>(const Tensor &)> &take) const {
  for (const checkpoint::SafetensorsFile &file : input.files())
    for (const checkpoint::TensorInfo &info : file.tensors())
      if (const Tensor *tensor = input.find(info.name); tensor->file == &file)
        QUANT_TRY(take(*tensor));
  return {};
}

Result<void> Conversion::keepFiles(const std::function<Result<void>(const Tensor &, std::vector<Job> &)> &take) {
  for (const checkpoint::SafetensorsFile &file : input.files())
    plan.shards.push_back({file.path().filename().native(), {}});
  QUANT_TRY(forTensors([&](const Tensor &tensor) {
    return take(tensor, plan.shards[static_cast<size_t>(tensor.file - input.files().data())].jobs);
  }));
  std::erase_if(plan.shards, [](const OutputShard &shard) { return shard.jobs.empty(); });
  return {};
}

Result<const Tensor *> Conversion::scaleOf(const Tensor &weight) {
  QUANT_TRY_ASSIGN(const auto *scale, findFp8Scale(input, weight));
  if (scale)
    scaled.emplace_back(&weight, scale);
  return scale;
}

Result<void> Conversion::run(const Block &block, const RunOptions &options, const std::function<Summary()> &summary) {
  QUANT_TRY(checkScales(scaled, block, options.engine.threads));
  plan.inputs.insert(plan.inputs.begin(), &input);
  return runPlan(plan, options, summary);
}
