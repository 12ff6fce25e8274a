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
#include <cstring>

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

/// A packed weight is [out, ceil(in / 8)], its scale [out, groups of in] or [out, 1].
static void checkPacked(const TensorSource::Tensor &packed, const TensorSource::Tensor &scale, Inspection &inspection) {
  const auto &weight = packed.info->shape, &groups = scale.info->shape;
  if (groups.size() == 2 && groups[0] == weight[0] && groups[1] > 0 && groups[1] <= weight[1] * 8)
    return;
  inspection.report(true, "misshaped_scale", packed.info->name,
                    fmt::format("is INT4 of shape {} and has a scale of shape {}; a row of scales for each of its rows is needed",
                                shapeText(std::array{weight[0], weight[1] * 8}), shapeText(groups)));
}

/// What an "X.weight_shape" says: how wide the packed weight was before it was padded to whole words.
static std::optional<std::array<int64_t, 2>> readPackedShape(const TensorSource::Tensor &shape) {
  std::array<int64_t, 2> said;
  if (shape.info->dtype != DType::I64 || shape.data.size() != sizeof(said))
    return std::nullopt;
  std::memcpy(said.data(), shape.data.data(), sizeof(said));
  return said;
}

static void checkPackedShape(const TensorSource::Tensor &shape, const TensorSource::Tensor &packed,
                             std::optional<std::array<int64_t, 2>> read, Inspection &inspection) {
  const auto &stored = packed.info->shape;
  auto said = read.value_or(std::array<int64_t, 2>{});
  if (said[0] == stored[0] && said[1] > 0 && ((said[1] - 1) / 8 + 1 == stored[1] || (said[1] - 1) / 4 + 1 == stored[1]))
    return; // codes of 4 bits, or of 8
  inspection.report(true, "wrong_weight_shape", shape.info->name,
                    fmt::format("does not say the shape of {}, which holds {} codes{}", quote(packed.info->name),
                                shapeText(std::array{stored[0], stored[1] * 8}), read ? ": it says " + shapeText(said) : ""));
}

/// The scale `name` of the weight `weightName`, which need not be there.
static void checkPair(const TensorSource &source, const TensorSource::Tensor &scale, const std::string &weightName,
                      Inspection &inspection) {
  const std::string &name = scale.info->name;
  const auto *weight = source.find(weightName);
  if (!weight)
    return inspection.report(true, "orphan_scale", name,
                             fmt::format("is a scale without its weight {}; was the weight renamed?", quote(weightName)));
  if (isPackedInt4(*weight->info))
    return checkPacked(*weight, scale, inspection);
  if (!isFp8(weight->info->dtype) && weight->info->dtype != DType::I8)
    return inspection.report(true, "orphan_scale", name,
                             fmt::format("is the scale of {}, which is {} and needs none; remove it", quote(weightName),
                                         safetensorsName(weight->info->dtype)));
  if (findScale(source, *weight) != &scale)
    return inspection.report(true, "orphan_scale", name, fmt::format("is a second scale of {}; remove one", quote(weightName)));
  if (auto values = TensorValues::create(*weight, &scale, inspection.block); !values)
    inspection.report(true, "misshaped_scale", weightName, values.error().message);
}

void convert::inspectScales(const TensorSource &source, Inspection &inspection, unsigned threads) {
  std::vector<const TensorSource::Tensor *> scales, shapes;
  for (const auto &tensor : source.tensors()) {
    std::string weight = weightOfScale(tensor.info->name, source);
    if (!weight.empty()) {
      scales.push_back(&tensor);
      checkPair(source, tensor, weight, inspection);
    } else if (packedWeightOf(tensor.info->name, source)) {
      if (tensor.info->name.ends_with("_shape"))
        shapes.push_back(&tensor);
    } else if ((isFp8(tensor.info->dtype) || isPackedInt4(*tensor.info)) && !findScale(source, tensor)) {
      inspection.report(true, "missing_scale", tensor.info->name,
                        "is " + std::string(isPackedInt4(*tensor.info) ? "INT4" : safetensorsName(tensor.info->dtype)) +
                            " and has no scale (weight_scale_inv or weight_scale)" +
                            (source.isSingleFile() ? "; it may be in another file of the checkpoint" : ""));
    }
  }
  std::vector<ScaleTotals> totals(scales.size());
  tools::forScattered(scales, threads, [&](size_t i) { totals[i] = countScale(*scales[i]); });
  for (size_t i = 0; i < scales.size(); ++i) {
    add(inspection.scales, totals[i]);
    reportScaleValues(scales[i]->info->name, totals[i], inspection);
  }
  std::vector<std::optional<std::array<int64_t, 2>>> said(shapes.size());
  tools::forScattered(shapes, threads, [&](size_t i) { said[i] = readPackedShape(*shapes[i]); });
  for (size_t i = 0; i < shapes.size(); ++i)
    checkPackedShape(*shapes[i], *packedWeightOf(shapes[i]->info->name, source), said[i], inspection);
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

void convert::checkInventory(const TensorSource &source, Inspection &inspection) {
  auto inventory = models::checkpointTensors(*inspection.config);
  for (const models::TensorSpec &want : inventory) {
    const auto *found = source.find(want.name);
    if (found) {
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
