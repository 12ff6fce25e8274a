//===- scales.cpp - block scales: the rule, and reading them --------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/quant-convert/schemes/scales.h"

#include "runtime/support/block_scale.h"
#include "runtime/support/narrow.h"
#include "runtime/support/text.h"
#include "tools/common/tensor_source.h"
#include "tools/quant-convert/schemes/cast_kernels.h"
#include "tools/quant-convert/schemes/dequantize.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <mutex>

using namespace quant;
using namespace quant::convert;

Block convert::sidesOf(const Block &block, std::span<const int64_t> matrix) {
  auto side = [&](size_t i) { return block[i] > 0 ? block[i] : std::max<int64_t>(1, matrix[i]); };
  return {side(0), side(1)};
}

std::string convert::describe(const Tensor &tensor) {
  return fmt::format("{}: tensor {}", printable(tensor.file->path().native()), quote(tensor.info->name));
}

//===----------------------------------------------------------------------===//
// The rule
//===----------------------------------------------------------------------===//

static float powerOfTwoAbove(float value) { return decodeE8M0(encodeE8M0Up(value)); }

float convert::blockScale(float amax, ScaleFmt format) {
  if (amax == 0)
    return 1;
  float scale = std::max(amax / 448.0f, std::numeric_limits<float>::denorm_min());
  return format == ScaleFmt::UE8M0 ? powerOfTwoAbove(scale) : scale;
}

bool convert::scaleFits(float scale, float amax, ScaleFmt format) {
  if (!std::isfinite(scale) || scale < 0)
    return false;
  if (scale == 0)
    return amax == 0 && format != ScaleFmt::UE8M0;
  if (format == ScaleFmt::UE8M0 && powerOfTwoAbove(scale) != scale)
    return false;
  return amax / scale <= 464.0f;
}

//===----------------------------------------------------------------------===//
// Scales of a checkpoint
//===----------------------------------------------------------------------===//

Result<const Tensor *> convert::findFp8Scale(const checkpoint::Checkpoint &input, const Tensor &weight) {
  const Tensor *scale = findScale(input, weight);
  if (scale && weight.info->dtype != DType::F8E4M3FN)
    return fail(fmt::format("{}: is {}, only F8_E4M3 can be converted", describe(weight), safetensorsName(weight.info->dtype)));
  return scale;
}

Error convert::missingScale(const Tensor &weight) {
  return {describe(weight) + ": is FP8 and its scale " + quote(scaleNameOf(deepSeekFp8(), weight.info->name)) +
          " is in no shard; is the download complete?"};
}

Result<void> convert::checkHasWeight(const checkpoint::Checkpoint &input, const Tensor &scale) {
  std::string name = weightOfScale(scale.info->name, input);
  const Tensor *weight = input.find(name);
  if (weight && isFp8(weight->info->dtype))
    return {};
  return fail(fmt::format("{}: is a scale, and its weight {}{}", describe(scale), quote(name),
                          weight ? " is not FP8" : " is in no shard; is the download complete?"));
}

void convert::readScales(const Tensor &scale, int64_t begin, std::span<float> out) {
  for (size_t i = 0; i < out.size(); ++i)
    out[i] = scaleAt(scale.info->dtype, scale.data, static_cast<size_t>(begin) + i);
}

static Result<void> checkLayout(const Tensor &weight, const Tensor &scale, const Block &block) {
  DType dtype = scale.info->dtype;
  if (!holdsScales(dtype))
    return fail(fmt::format("{}: is {}, scales are F32, BF16, F16 or F8_E8M0", describe(scale), safetensorsName(dtype)));
  if (weight.info->shape.size() != 2)
    return fail(
        fmt::format("{}: has shape {}, block scales need two dimensions", describe(weight), shapeList(weight.info->shape)));
  auto expected = scaleShape(block, weight.info->shape[0], weight.info->shape[1]);
  bool isOne = block == Block{0, 0} && std::ranges::all_of(scale.info->shape, [](int64_t size) { return size == 1; });
  if (scale.info->shape != expected && !isOne)
    return fail(fmt::format(
        "{}: has shape {}, the weight's {} in blocks of {}x{} needs {}; is weight_block_size in config.json right?",
        describe(scale), shapeList(scale.info->shape), shapeList(weight.info->shape), block[0], block[1], shapeList(expected)));
  return {};
}

Result<void> convert::checkScale(const Tensor &weight, const Tensor &scale, const Block &block) {
  QUANT_TRY(checkLayout(weight, scale, block));
  std::optional<size_t> broken = firstBrokenScale(scale.info->dtype, scale.data);
  if (!broken)
    return {};
  auto columns = static_cast<size_t>(scale.info->shape.empty() ? 1 : scale.info->shape.back());
  return fail(fmt::format("{}: block [{}, {}] has scale {:g}, {}", describe(scale), *broken / columns, *broken % columns,
                          scaleAt(scale.info->dtype, scale.data, *broken), kScaleRule));
}

Result<void> convert::checkScales(std::span<const std::pair<const Tensor *, const Tensor *>> pairs, const Block &block,
                                  unsigned threads) {
  std::mutex lock;
  size_t failed = pairs.size();
  Result<void> result;
  std::vector<const Tensor *> scales;
  for (const auto &[weight, scale] : pairs)
    scales.push_back(scale);
  tools::forScattered(scales, threads, [&](size_t i) {
    auto sound = checkScale(*pairs[i].first, *scales[i], block);
    std::lock_guard guard(lock);
    if (!sound && i < failed) {
      failed = i;
      result = std::move(sound);
    }
  });
  return result;
}
