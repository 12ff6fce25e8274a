//===- column_order.cpp - columns that were quantized in another order ----===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/checkpoint/column_order.h"

#include "runtime/support/text.h"

#include <fmt/core.h>

#include <cstring>

namespace quant::checkpoint {

namespace {
/// The tensor that says each column's group, and how many groups the scales have; nothing where there is none.
struct Order {
  const Checkpoint::Tensor *tensor;
  int64_t groups;
};
} // namespace

static Order findOrder(const Checkpoint &checkpoint, std::string_view codes) {
  std::string module(codes.substr(0, codes.rfind('.') + 1));
  bool isGptq = codes.ends_with(".qweight");
  if (!isGptq && !codes.ends_with(".weight_packed"))
    return {nullptr, 0};
  const auto *scales = checkpoint.find(module + (isGptq ? "scales" : "weight_scale"));
  bool isMatrix = scales && scales->info->shape.size() == 2;
  return {checkpoint.find(module + (isGptq ? "g_idx" : "weight_g_idx")), isMatrix ? scales->info->shape[isGptq ? 0 : 1] : 0};
}

/// The first column that is not in the group that it would be in without another order; the number of columns if all are.
static size_t firstOutOfOrder(std::span<const int32_t> groups) {
  size_t length = 0, begin = 0;
  for (size_t column = 0; column < groups.size(); ++column) {
    int32_t expected = column == 0 ? 0 : groups[column - 1];
    if (column > 0 && groups[column] == expected + 1 && (length == 0 || column - begin == length)) {
      length = column - begin;
      begin = column;
      continue;
    }
    if (groups[column] != expected || (length > 0 && column - begin >= length))
      return column;
  }
  return groups.size();
}

Result<void> checkColumnOrder(const Checkpoint &checkpoint, std::string_view codes) {
  auto [order, groupCount] = findOrder(checkpoint, codes);
  if (!order)
    return {};
  std::string where = fmt::format("tensor {} in {}", quote(order->info->name), printable(order->file->path().native()));
  if (order->info->dtype != DType::I32 || order->info->shape.size() != 1)
    return fail(where + " is no list of I32: it says the group of each column");
  std::vector<int32_t> groups(order->data.size() / sizeof(int32_t));
  if (!groups.empty())
    std::memcpy(groups.data(), order->data.data(), order->data.size());
  size_t column = firstOutOfOrder(groups);
  if (column == groups.size() && !groups.empty() && groups.back() + 1 == groupCount)
    return {};
  if (column == groups.size())
    return fail(
        fmt::format("{} names {} groups, the scales are of {}", where, groups.empty() ? 0 : groups.back() + 1, groupCount));
  return fail(
      fmt::format("{}: column {} is of group {}: columns in another order than their groups (act-order, desc_act) are not "
                  "compiled; quantize without it, or make a BF16 checkpoint of it: quant-convert dequantize",
                  where, column, groups[column]),
      ErrorKind::Unsupported);
}

} // namespace quant::checkpoint
