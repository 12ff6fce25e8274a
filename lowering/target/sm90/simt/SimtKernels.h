//===- SimtKernels.h - the kernels, one function for each op -------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Each emits one block of a grid, whose size LowerSimt.cpp says. What the ops mean stands in DeepSeekOps.td and QBlockOps.td.
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_LOWERING_TARGET_SM90_SIMT_SIMTKERNELS_H
#define QUANT_LOWERING_TARGET_SM90_SIMT_SIMTKERNELS_H

#include "dialects/deepseek/DeepSeek.h"
#include "lowering/common/KernelOperands.h"
#include "lowering/target/sm90/simt/SimtKernel.h"

namespace quant::nvvm {

struct SimtContext {
  SimtBuilder &b;
  const KernelOperands &operands;
};

/// Threads of a block, and the number of blocks.
struct SimtGrid {
  int64_t threads;
  SizeExpr blocks;
};

} // namespace quant::nvvm

#include "lowering/target/sm90/simt/SimtKernels.h.inc"

namespace quant::nvvm {

//===--- RowMapping.cpp: LowerSimt.cpp says which of its layouts ---------------===//
Result<void> emitRowOp(SimtContext &context, rows::RowOpInterface op);
/// Error: activations that are not quantized as the kernels know.
Result<void> checkQuantized(qblock::BlockTensorType type);
/// Threads and blocks of a row op with so many rows for each unit of `rows`.
SimtGrid rowGrid(rows::RowOpInterface op, const SizeExpr &rows);

//===--- AttentionKernels.cpp: a block for each token and head -----------------===//
Result<void> emitMlaAbsorb(SimtContext &context, deepseek::MlaAbsorbOp op);
Result<void> emitMlaCore(SimtContext &context, deepseek::MlaCoreOp op);

//===--- DotKernels.cpp: a warp for each row of a weight's tile ----------------===//
Result<void> emitMatmul(SimtContext &context, mlir::DestinationStyleOpInterface op);
Result<void> emitMlaExpand(SimtContext &context, deepseek::MlaExpandOp op);

} // namespace quant::nvvm

#endif // QUANT_LOWERING_TARGET_SM90_SIMT_SIMTKERNELS_H
