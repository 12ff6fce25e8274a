//===- launch_recipe.cpp - launch recipes for given sizes --------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/abi/launch_recipe.h"

#include <nlohmann/json.hpp>

#include <algorithm>

namespace quant::abi {

/// Far from overflow, whatever two such sizes are multiplied to.
static constexpr int64_t kMaxSize = int64_t(1) << 31;
static constexpr uint64_t kMaxBytes = uint64_t(1) << 40;

Result<int64_t> SizeExpr::evaluate(const Sizes &sizes) const {
  if (symbol.empty())
    return value;
  if (operands.empty()) {
    auto size = sizes.find(symbol);
    return size == sizes.end() ? fail("the recipe needs the size '" + symbol + "'") : Result<int64_t>(size->second);
  }
  Result<int64_t> a = operands[0].evaluate(sizes), b = operands[1].evaluate(sizes);
  if (!a || !b)
    return a ? b : a;
  if (*a < 0 || *b < 0 || *a > kMaxSize || *b > kMaxSize)
    return fail("the recipe has a size beyond 2^31: " + toJson().dump());
  if (symbol == "*")
    return *a * *b;
  if (symbol == "+")
    return *a + *b;
  if (symbol == "min")
    return std::min(*a, *b);
  if (symbol == "ceildiv" && *b > 0)
    return (*a + *b - 1) / *b;
  return fail("the recipe has an unknown operator or divides by zero: " + toJson().dump());
}

Result<std::vector<int64_t>> evaluate(const std::vector<SizeExpr> &exprs, const Sizes &sizes) {
  std::vector<int64_t> values;
  for (const SizeExpr &expr : exprs) {
    Result<int64_t> value = expr.evaluate(sizes);
    if (!value)
      return tl::unexpected(value.error());
    values.push_back(*value);
  }
  return values;
}

/// 0: not known.
static uint64_t bytesOfDtype(const std::string &dtype) {
  if (dtype.starts_with("f8") || dtype == "i8" || dtype == "ui8")
    return 1;
  return dtype == "bf16" || dtype == "f16" || dtype == "i16" ? 2 : dtype == "f32" || dtype == "i32" ? 4 : dtype == "i64" ? 8 : 0;
}

Result<Extent> Operand::extent(const Sizes &sizes) const {
  uint64_t elementBytes = bytesOfDtype(dtype);
  if (elementBytes == 0)
    return fail("operand '" + name + "' has dtype " + dtype + ", which the runtime does not know");
  Result<std::vector<int64_t>> evaluated = abi::evaluate(shape, sizes);
  if (!evaluated)
    return tl::unexpected(evaluated.error());
  Extent extent{std::move(*evaluated), elementBytes};
  for (int64_t size : extent.shape) {
    if (size < 0 || size > kMaxSize || (size && extent.bytes > kMaxBytes / static_cast<uint64_t>(size)))
      return fail("operand '" + name + "' is larger than 1 TiB");
    extent.bytes *= static_cast<uint64_t>(size);
  }
  if (pitchBytes == 0 || extent.shape.empty() || extent.shape.back() == 0)
    return extent;
  uint64_t row = elementBytes * static_cast<uint64_t>(extent.shape.back());
  if (pitchBytes < 0 || pitchBytes > kMaxSize || static_cast<uint64_t>(pitchBytes) < row)
    return fail("operand '" + name + "' has a pitch of " + std::to_string(pitchBytes) + " bytes for rows of " +
                std::to_string(row));
  extent.bytes = extent.bytes / row * static_cast<uint64_t>(pitchBytes);
  return extent;
}

Result<int64_t> LaunchRecipe::blocks(const Sizes &sizes) const {
  for (const auto &[name, limit] : limits)
    if (auto size = sizes.find(name); size != sizes.end() && size->second > limit)
      return fail("the kernel is for " + name + " up to " + std::to_string(limit));
  Result<int64_t> blocks = grid.evaluate(sizes);
  if (blocks && (*blocks < 0 || *blocks >= kMaxSize))
    return fail("a grid of " + std::to_string(*blocks) + " blocks");
  return blocks;
}

} // namespace quant::abi
