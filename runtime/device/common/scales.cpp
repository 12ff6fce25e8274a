//===- scales.cpp - are block scales numbers to scale by? -----------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/device/common/scales.h"

#include "runtime/checkpoint/mapped_pages.h"
#include "runtime/support/block_scale.h"
#include "runtime/support/text.h"

#include <fmt/core.h>

#include <atomic>
#include <cmath>
#include <optional>

namespace quant::runtime {

using checkpoint::Checkpoint;

static constexpr size_t kNone = SIZE_MAX;

/// Powers of two may be stored as U8. Other dtypes were refused with the module.
static DType scaleType(const Checkpoint::Tensor &tensor) {
  return tensor.info->dtype == DType::U8 ? DType::F8E8M0FNU : tensor.info->dtype;
}

/// The first element that is no scale.
static std::optional<size_t> firstBroken(const Checkpoint::Tensor &tensor) {
  return firstBrokenScale(scaleType(tensor), tensor.data);
}

/// Where the element stands in a row-major tensor.
static std::vector<int64_t> positionOf(size_t index, const std::vector<int64_t> &shape) {
  std::vector<int64_t> position;
  for (auto extent = shape.rbegin(); extent != shape.rend(); ++extent) {
    position.insert(position.begin(), static_cast<int64_t>(index % static_cast<size_t>(*extent)));
    index /= static_cast<size_t>(*extent);
  }
  return position;
}

static Error brokenScale(const Checkpoint::Tensor &tensor) {
  std::string file = printable(tensor.file->path().native());
  std::optional<size_t> index = firstBroken(tensor);
  if (!index)
    return {file + ": was written to while its scales were checked"};
  float value = scaleAt(scaleType(tensor), tensor.data, *index);
  return {fmt::format("tensor {} in {}: the scale of block {} is {}, {}", quote(tensor.info->name), file,
                      shapeList(positionOf(*index, tensor.info->shape)), std::isnan(value) ? "NaN" : fmt::format("{:.9g}", value),
                      kScaleRule)};
}

Result<void> checkScales(std::span<const Checkpoint::Tensor *const> tensors, ThreadPool &pool) {
  pool.run(static_cast<int64_t>(tensors.size()), [&](int /*worker*/, int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i)
      checkpoint::willRead(tensors[static_cast<size_t>(i)]->data);
  });
  std::atomic<size_t> worst = kNone;
  pool.run(static_cast<int64_t>(tensors.size()), [&](int /*worker*/, int64_t begin, int64_t end) {
    for (auto i = static_cast<size_t>(begin); i < static_cast<size_t>(end); ++i)
      if (firstBroken(*tensors[i])) {
        size_t known = worst.load();
        while (i < known && !worst.compare_exchange_weak(known, i)) {
        }
      }
  });
  if (worst.load() != kNone)
    return tl::unexpected(brokenScale(*tensors[worst.load()]));
  return {};
}

} // namespace quant::runtime
