//===- column_order.h - columns that were quantized in another order -*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// GPTQ may quantize the columns of a weight in another order than they stand in (act-order, desc_act); "X.g_idx" of "X.qweight",
// "X.weight_g_idx" of "X.weight_packed", then says each column's group. Many write the tensor also where groups stand one after
// the other.
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_RUNTIME_CHECKPOINT_COLUMN_ORDER_H
#define QUANT_RUNTIME_CHECKPOINT_COLUMN_ORDER_H

#include "runtime/checkpoint/checkpoint.h"

namespace quant::checkpoint {

/// The tensor that says the group of each column of `codes`; null where there is none.
const Checkpoint::Tensor *findColumnGroups(const Checkpoint &checkpoint, std::string_view codes);

/// Whether such a tensor's groups stand one after the other, all but the last equally long. Errors: it is no list of I32, or it
/// names another number of groups than `codes` has scales for.
Result<bool> isInColumnOrder(const Checkpoint &checkpoint, const Checkpoint::Tensor &groups, std::string_view codes);

/// Error: the `columns` columns of the codes stand in another order than their groups.
Result<void> checkColumnOrder(const Checkpoint &checkpoint, std::string_view codes, int64_t columns);

/// Error: the tensor is not the groups of `columns` columns, of `groupSize` each but the last, in any order. 0: one group.
Result<void> checkColumnGroups(const Checkpoint::Tensor &groups, int64_t columns, int64_t groupSize);

/// The columns, sorted by their groups. Errors: the tensor is no list of I32, or a group is negative, or beyond `columns`.
Result<std::vector<int32_t>> sortColumns(const Checkpoint::Tensor &groups, int64_t columns);

} // namespace quant::checkpoint

#endif // QUANT_RUNTIME_CHECKPOINT_COLUMN_ORDER_H
