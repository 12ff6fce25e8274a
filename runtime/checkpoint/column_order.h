//===- column_order.h - columns that were quantized in another order -*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_RUNTIME_CHECKPOINT_COLUMN_ORDER_H
#define QUANT_RUNTIME_CHECKPOINT_COLUMN_ORDER_H

#include "runtime/checkpoint/checkpoint.h"

namespace quant::checkpoint {

/// GPTQ may quantize the columns of a weight in another order than they stand in (act-order, desc_act); "X.g_idx" of "X.qweight",
/// "X.weight_g_idx" of "X.weight_packed", then says each column's group. Nothing is wrong where there is no such tensor, or where
/// its groups stand one after the other, all but the last equally long. Error: another order, which is not compiled.
Result<void> checkColumnOrder(const Checkpoint &checkpoint, std::string_view codes);

} // namespace quant::checkpoint

#endif // QUANT_RUNTIME_CHECKPOINT_COLUMN_ORDER_H
