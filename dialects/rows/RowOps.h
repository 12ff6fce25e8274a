//===- RowOps.h - the interface of ops that go row by row ---------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_DIALECTS_ROWS_ROWOPS_H
#define QUANT_DIALECTS_ROWS_ROWOPS_H

#include "mlir/IR/OpDefinition.h"

namespace quant::rows {
class RowBuilder;
} // namespace quant::rows

#include "dialects/rows/RowOps.h.inc"

namespace quant::rows {

/// Gives `arith.addf` of tensors the interface; of numbers it is no row op.
void registerArithRows(mlir::DialectRegistry &registry);
/// The row op that `op` is, or null.
RowOpInterface rowOpOf(mlir::Operation *op);
/// Rows for each unit of the dynamic leading dimension.
int64_t rowsPerToken(RowOpInterface op);
/// The widest row of the op's operands and results.
int64_t widestRow(RowOpInterface op);

} // namespace quant::rows

#endif // QUANT_DIALECTS_ROWS_ROWOPS_H
