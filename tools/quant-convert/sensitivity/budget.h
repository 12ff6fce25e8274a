//===- budget.h - the least loss within a size ------------------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_TOOLS_QUANT_CONVERT_SENSITIVITY_BUDGET_H
#define QUANT_TOOLS_QUANT_CONVERT_SENSITIVITY_BUDGET_H

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace quant::convert {

/// A form that something can be stored in.
struct SizedOption {
  int64_t bytes = 0;
  double loss = 0;
};

/// Takes one option of each list so that the sum of the losses is least among all choices of at most `bytes`; of equal ones that
/// of fewest bytes. Returns their indices, nothing where not even the smallest options fit. The multiple-choice knapsack, by
/// dynamic programming over the sums that no other sum beats in both bytes and loss: exact while these are no more than
/// kMostSums at a time, and else within what sums of bytes that are equal up to 1/kMostSums of their range allow.
std::optional<std::vector<size_t>> leastLoss(std::span<const std::vector<SizedOption>> items, int64_t bytes);

inline constexpr size_t kMostSums = size_t{1} << 14;

} // namespace quant::convert

#endif // QUANT_TOOLS_QUANT_CONVERT_SENSITIVITY_BUDGET_H
