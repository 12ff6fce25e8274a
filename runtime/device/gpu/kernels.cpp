//===- kernels.cpp - a module's GPU kernels and their recipes ------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/device/gpu/kernels.h"

#include "runtime/support/text.h"

#include <fmt/core.h>

#include <algorithm>

namespace quant::runtime {

Result<const abi::LaunchRecipe *> chooseRecipe(const Kernel &kernel, abi::Sizes &sizes) {
  for (const KernelVariant &variant : kernel.variants) {
    if (std::optional<abi::Dim> rows = variant.recipe.rows) {
      if (sizes[*rows] < variant.lowRows || sizes[*rows] > variant.highRows)
        continue;
      sizes[abi::Dim::M] = sizes[*rows];
    }
    return &variant.recipe;
  }
  return fail("the module has no variant of it for so many rows");
}

Result<std::vector<int>> valuesOf(const abi::Operand &operand, const Dispatch &dispatch) {
  auto count = static_cast<int>(dispatch.operands.size());
  if (operand.from.empty() || std::ranges::any_of(operand.from, [&](int from) { return from < 0 || from >= count; }))
    return fail("the launch recipe does not say which operand of the dispatch its " + quote(operand.name) + " is");
  std::vector<int> values;
  values.reserve(operand.from.size());
  for (int from : operand.from)
    values.push_back(dispatch.operands[static_cast<size_t>(from)]);
  return values;
}

} // namespace quant::runtime
