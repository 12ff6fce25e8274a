//===- inspect_checks.cpp - scales and inventory of a checkpoint ----------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "models/stored.h"
#include "runtime/support/text.h"
#include "tools/quant-convert/check/inspect.h"
#include "tools/quant-convert/schemes/dequantize.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>

using namespace quant;
using namespace quant::convert;

//===----------------------------------------------------------------------===//
// Scales
//===----------------------------------------------------------------------===//

/// Counts one scale tensor's values.
static ScaleTotals countScale(const TensorSource::Tensor &scale) {
  ScaleTotals totals;
  totals.tensors = 1;
  for (double value : decodeScale(scale)) {
    ++totals.blocks;
    totals.nan += std::isnan(value);
    totals.inf += std::isinf(value);
    totals.zero += value == 0;
    totals.negative += value < 0;
    if (!(value > 0) || std::isinf(value))
      continue;
    totals.min = std::min(totals.min.value_or(value), value);
    totals.max = std::max(totals.max.value_or(value), value);
  }
  return totals;
}

static void add(ScaleTotals &sum, const ScaleTotals &one) {
  sum.tensors += one.tensors;
  sum.blocks += one.blocks;
  sum.nan += one.nan;
  sum.inf += one.inf;
  sum.zero += one.zero;
  sum.negative += one.negative;
  if (one.min)
    sum.min = std::min(sum.min.value_or(*one.min), *one.min);
  if (one.max)
    sum.max = std::max(sum.max.value_or(*one.max), *one.max);
}

static std::string countOf(uint64_t count, const ScaleTotals &totals, const char *what) {
  return fmt::format("{} of {} scales {}{}", count, totals.blocks, count == 1 ? "is " : "are ", what);
}

static void reportScaleValues(const std::string &name, const ScaleTotals &totals, Inspection &inspection) {
  if (totals.nan)
    inspection.report(true, "nan_scale", name, "has NaN: " + countOf(totals.nan, totals, "NaN"));
  if (totals.inf)
    inspection.report(true, "inf_scale", name, "has Inf: " + countOf(totals.inf, totals, "infinite"));
  if (totals.negative)
    inspection.report(true, "negative_scale", name, "is negative: " + countOf(totals.negative, totals, "below zero"));
  if (totals.zero)
    inspection.report(false, "zero_scale", name,
                      "has zeros: " + countOf(totals.zero, totals, "zero, so that their blocks are zero whatever the codes"));
}

/// A tensor that is called as the scale of `weightName` is and belongs to no weight.
static void reportOrphan(const TensorSource &source, const TensorSource::Tensor &scale, const std::string &weightName,
                         Inspection &inspection) {
  const std::string &name = scale.info->name;
  const auto *weight = source.find(weightName);
  if (!weight)
    return inspection.report(true, "orphan_scale", name,
                             fmt::format("is a scale without its weight {}; was the weight renamed?", quote(weightName)));
  if (!holdsCodes(weight->info->dtype) && !isPacked(weightName))
    return inspection.report(true, "orphan_scale", name,
                             fmt::format("is the scale of {}, which is {} and needs none; remove it", quote(weightName),
                                         safetensorsName(weight->info->dtype)));
  inspection.report(true, "orphan_scale", name, fmt::format("is a second scale of {}; remove one", quote(weightName)));
}

static void reportFault(const TensorSource &source, const LayoutFault &fault, Inspection &inspection) {
  bool isElsewhere = fault.kind.starts_with("missing_") && source.isSingleFile();
  inspection.report(true, fault.kind, fault.tensor->info->name,
                    fault.message + (isElsewhere ? "; it may be in another file of the checkpoint" : ""));
}

/// Group indices and global scales.
static void checkIndices(const TensorSource &source, Inspection &inspection, unsigned threads) {
  std::vector<const Weight *> weights;
  std::vector<const TensorSource::Tensor *> small;
  for (const Weight &weight : inspection.weights->all()) {
    if (!weight.linear)
      continue;
    const LinearTensors &parts = weight.linear->tensors();
    if (!parts.groupIndex && !parts.globalScale)
      continue;
    weights.push_back(&weight);
    small.push_back(parts.groupIndex ? parts.groupIndex : parts.globalScale);
  }
  std::vector<std::optional<LayoutFault>> faults(weights.size());
  tools::forScattered(small, threads, [&](size_t i) {
    if (auto sound = weights[i]->linear->checkIndices(); !sound)
      faults[i] = sound.error();
  });
  for (const auto &fault : faults)
    if (fault)
      reportFault(source, *fault, inspection);
}

void convert::inspectScales(const TensorSource &source, Inspection &inspection, unsigned threads) {
  for (const Weight &weight : inspection.weights->all())
    if (weight.fault)
      reportFault(source, *weight.fault, inspection);
  std::vector<const TensorSource::Tensor *> scales;
  for (const auto &tensor : source.tensors()) {
    std::string weight = weightOfScale(tensor.info->name, source);
    if (weight.empty())
      continue;
    scales.push_back(&tensor);
    if (!inspection.weights->isPart(tensor))
      reportOrphan(source, tensor, weight, inspection);
  }
  std::vector<ScaleTotals> totals(scales.size());
  tools::forScattered(scales, threads, [&](size_t i) { totals[i] = countScale(*scales[i]); });
  for (size_t i = 0; i < scales.size(); ++i) {
    add(inspection.scales, totals[i]);
    reportScaleValues(scales[i]->info->name, totals[i], inspection);
  }
  checkIndices(source, inspection, threads);
}

//===----------------------------------------------------------------------===//
// Inventory
//===----------------------------------------------------------------------===//

static void checkTensor(const models::TensorSpec &want, const checkpoint::TensorInfo &found, Inspection &inspection) {
  if (found.shape != want.shape && want.role != models::TensorRole::Scale)
    inspection.report(true, "wrong_shape", found.name,
                      fmt::format("has shape {}; config.json needs {}", shapeText(found.shape), shapeText(want.shape)));
  bool isExponent = want.role == models::TensorRole::Scale && want.dtype == DType::F8E8M0FNU && found.dtype == DType::U8;
  if (found.dtype == want.dtype || isExponent)
    return;
  // Another float type holds the same weights; FP8 or not is another checkpoint than the config describes.
  bool error = isFp8(found.dtype) != isFp8(want.dtype);
  inspection.report(error, "wrong_dtype", found.name,
                    fmt::format("is {}; config.json says {}{}", safetensorsName(found.dtype), safetensorsName(want.dtype),
                                error ? "; correct its quantization_config" : ""));
}

/// Whether a weight is one of DeepSeek-V4's routed experts, which stand in MXFP4 under a configuration of FP8.
static bool isMxfp4Expert(const models::TensorSpec &want, const Weight &weight) {
  bool isMatrix = want.role == models::TensorRole::Linear && isFp8(want.dtype) && want.shape.size() == 2;
  return isMatrix && weight.linear && weight.linear->scheme().name == "deepseek-v4-mxfp4" &&
         weight.tensor->info->shape == storedCodes(weight.linear->scheme(), want.shape[0], want.shape[1]).shape;
}

void convert::checkInventory(const TensorSource &source, Inspection &inspection) {
  auto inventory = models::checkpointTensors(*inspection.config);
  for (const models::TensorSpec &want : inventory) {
    const auto *found = source.find(want.name);
    if (found) {
      if (!isMxfp4Expert(want, inspection.weights->of(*found)))
        checkTensor(want, *found->info, inspection);
      continue;
    }
    // A weight without its scale has been reported, and one that is not FP8 has another problem.
    bool scale = want.role == models::TensorRole::Scale;
    bool mtp = inspection.config->nMtpLayers > 0 && want.layer >= inspection.config->nLayers;
    if (mtp && (want.name.ends_with(".embed_tokens.weight") || want.name.ends_with(".shared_head.head.weight"))) {
      inspection.report(false, "shared_tensor", want.name, "is not stored; the MTP layer shares the model's own");
      continue;
    }
    if (!scale)
      inspection.report(
          !mtp || !inspection.layers.mtp.empty(), "missing_tensor", want.name,
          fmt::format("is missing; config.json needs it as {} {}", safetensorsName(want.dtype), shapeText(want.shape)));
  }
  std::vector<std::string_view> names;
  for (const auto &tensor : source.tensors())
    names.push_back(tensor.info->name);
  models::StoredTensors stored(*inspection.config, names);
  for (std::string_view name : names)
    if (auto unread = stored.unread(name))
      inspection.report(unread->refused, "unknown_tensor", std::string(name), unread->why);
}
