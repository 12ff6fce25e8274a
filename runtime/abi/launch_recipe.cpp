//===- launch_recipe.cpp - launch recipes for given sizes --------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/abi/launch_recipe.h"

#include "runtime/support/dtype.h"

#include <fmt/core.h>

#include <algorithm>

namespace quant::abi {

/// Far from overflow, whatever two such sizes are multiplied to.
static constexpr int64_t kMaxSize = int64_t(1) << 31;
static constexpr uint64_t kMaxBytes = uint64_t(1) << 40;

Result<Extent> Operand::extent(const Sizes &sizes) const {
  std::optional<DType> known = fromMlirName(dtype);
  if (!known || (bitWidth(*known) % 8 != 0 && bitWidth(*known) != 4))
    return fail(fmt::format("operand '{}' has dtype {}, which the runtime does not know", name, dtype));
  bool isNibble = bitWidth(*known) == 4;
  uint64_t elementBytes = isNibble ? 1 : static_cast<uint64_t>(bitWidth(*known)) / 8;
  QUANT_TRY_ASSIGN(std::vector<int64_t> evaluated, abi::evaluate(shape, sizes));
  Extent extent{std::move(evaluated), elementBytes};
  for (int64_t size : extent.shape) {
    if (size < 0 || size > kMaxSize || (size && extent.bytes > kMaxBytes / static_cast<uint64_t>(size)))
      return fail("operand '" + name + "' is larger than 1 TiB");
    extent.bytes *= static_cast<uint64_t>(size);
  }
  if (isNibble && (extent.shape.empty() || extent.shape.back() % 2 != 0))
    return fail(fmt::format("operand '{}' has rows of half bytes, in {}", name, dtype));
  if (isNibble)
    extent.bytes /= 2;
  if (pitchBytes == 0 || extent.shape.empty() || extent.shape.back() == 0)
    return extent;
  uint64_t row = elementBytes * static_cast<uint64_t>(extent.shape.back());
  if (pitchBytes < 0 || pitchBytes > kMaxSize || static_cast<uint64_t>(pitchBytes) < row)
    return fail(fmt::format("operand '{}' has a pitch of {} bytes for rows of {}", name, pitchBytes, row));
  extent.bytes = extent.bytes / row * static_cast<uint64_t>(pitchBytes);
  return extent;
}

Result<int64_t> I32Parameter::evaluate(const Sizes &sizes) const {
  Result<int64_t> size = value.evaluate(sizes);
  if (size && *size > INT32_MAX)
    return fail(fmt::format("the kernel takes {} as 32 bits, and it is {}", value.text(), *size));
  return size;
}

Result<int64_t> LaunchRecipe::blocks(const Sizes &sizes) const {
  for (int i = 0; i < kNumSizes; ++i)
    if (auto dim = static_cast<Dim>(i); limits[dim] && sizes[dim] && *sizes[dim] > *limits[dim])
      return fail(fmt::format("the kernel is for {} up to {}", nameOf(dim), *limits[dim]));
  Result<int64_t> blocks = grid.evaluate(sizes);
  if (blocks && (*blocks < 0 || *blocks >= kMaxSize))
    return fail(fmt::format("a grid of {} blocks", *blocks));
  return blocks;
}

} // namespace quant::abi
