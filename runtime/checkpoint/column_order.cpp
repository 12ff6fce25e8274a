//===- column_order.cpp - columns that were quantized in another order ----===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/checkpoint/column_order.h"

#include "runtime/abi/repack.h"
#include "runtime/support/text.h"

#include <fmt/core.h>

#include <cstring>

namespace quant::checkpoint {

using Tensor = Checkpoint::Tensor;

/// "X." of "X.qweight" and "X.weight_packed"; of others, nothing.
static std::string moduleWithGroups(std::string_view codes) {
  bool hasGroups = codes.ends_with(".qweight") || codes.ends_with(".weight_packed");
  return hasGroups ? std::string(codes.substr(0, codes.rfind('.') + 1)) : "";
}

const Tensor *findColumnGroups(const Checkpoint &checkpoint, std::string_view codes) {
  std::string module = moduleWithGroups(codes);
  return module.empty() ? nullptr : checkpoint.find(module + (codes.ends_with(".qweight") ? "g_idx" : "weight_g_idx"));
}

/// How many groups the scales have along K; 0 where they are missing or no matrix.
static int64_t scaleGroups(const Checkpoint &checkpoint, std::string_view codes) {
  bool isGptq = codes.ends_with(".qweight");
  const Tensor *scales = checkpoint.find(moduleWithGroups(codes) + (isGptq ? "scales" : "weight_scale"));
  return scales && scales->info->shape.size() == 2 ? scales->info->shape[isGptq ? 0 : 1] : 0;
}

static std::string describe(const Tensor &groups) {
  return fmt::format("tensor {} in {}", quote(groups.info->name), printable(groups.file->path().native()));
}

static Result<std::vector<int32_t>> readGroups(const Tensor &tensor) {
  if (tensor.info->dtype != DType::I32 || tensor.info->shape.size() != 1)
    return fail(describe(tensor) + " is no list of I32: it says the group of each column");
  std::vector<int32_t> groups(tensor.data.size() / sizeof(int32_t));
  if (!groups.empty())
    std::memcpy(groups.data(), tensor.data.data(), tensor.data.size());
  return groups;
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

Result<bool> isInColumnOrder(const Checkpoint &checkpoint, const Tensor &tensor, std::string_view codes) {
  QUANT_TRY_ASSIGN(std::vector<int32_t> groups, readGroups(tensor));
  if (firstOutOfOrder(groups) != groups.size())
    return false;
  int64_t count = groups.empty() ? 0 : groups.back() + 1;
  if (int64_t expected = scaleGroups(checkpoint, codes); count != expected)
    return fail(fmt::format("{} names {} groups, the scales are of {}", describe(tensor), count, expected));
  return true;
}

static Error lengthError(const Tensor &groups, int64_t columns) {
  return {fmt::format("{} is of {} columns, the weight has {}", describe(groups), groups.info->shape[0], columns)};
}

Result<void> checkColumnOrder(const Checkpoint &checkpoint, std::string_view codes, int64_t columns) {
  const Tensor *tensor = findColumnGroups(checkpoint, codes);
  if (!tensor)
    return {};
  QUANT_TRY_ASSIGN(bool isInOrder, isInColumnOrder(checkpoint, *tensor, codes));
  if (tensor->info->shape[0] != columns)
    return tl::unexpected(lengthError(*tensor, columns));
  if (isInOrder)
    return {};
  QUANT_TRY_ASSIGN(std::vector<int32_t> groups, readGroups(*tensor));
  size_t column = firstOutOfOrder(groups);
  return fail(fmt::format("{}: column {} is of group {}: the module was compiled for columns in the order of their groups; "
                          "compile this checkpoint, whose columns are not (act-order, desc_act)",
                          describe(*tensor), column, groups[column]),
              ErrorKind::Unsupported);
}

Result<void> checkColumnGroups(const Tensor &tensor, int64_t columns, int64_t groupSize) {
  QUANT_TRY_ASSIGN(std::vector<int32_t> groups, readGroups(tensor));
  if (static_cast<int64_t>(groups.size()) != columns)
    return tl::unexpected(lengthError(tensor, columns));
  int64_t size = groupSize ? groupSize : columns, count = (columns + size - 1) / size;
  std::vector<int64_t> sizes(static_cast<size_t>(count));
  for (size_t column = 0; column < groups.size(); ++column) {
    if (groups[column] < 0 || groups[column] >= count)
      return fail(fmt::format("{}: column {} is of group {}, there are {}", describe(tensor), column, groups[column], count));
    ++sizes[static_cast<size_t>(groups[column])];
  }
  for (int64_t group = 0; group < count; ++group)
    if (int64_t expected = std::min(size, columns - group * size); sizes[static_cast<size_t>(group)] != expected)
      return fail(fmt::format("{}: group {} has {} columns, not {}", describe(tensor), group, sizes[static_cast<size_t>(group)],
                              expected));
  return {};
}

Result<std::vector<int32_t>> sortColumns(const Tensor &tensor, int64_t columns) {
  QUANT_TRY_ASSIGN(std::vector<int32_t> groups, readGroups(tensor));
  if (static_cast<int64_t>(groups.size()) != columns)
    return tl::unexpected(lengthError(tensor, columns));
  for (size_t column = 0; column < groups.size(); ++column)
    if (groups[column] < 0 || groups[column] >= columns)
      return fail(fmt::format("{}: column {} is of group {}", describe(tensor), column, groups[column]));
  std::vector<int32_t> order(groups.size());
  repackTensor(Repack::ColumnOrder, 1, columns, tensor.data, std::as_writable_bytes(std::span(order)));
  return order;
}

} // namespace quant::checkpoint
