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
#include "lowering/target/sm90/simt/SimtOperands.h"

namespace quant::nvvm {

struct SimtContext {
  SimtBuilder &b;
  const SimtOperands &operands;
  mlir::gpu::GPUModuleOp gpuModule;
  /// For symbols of the kernel's own.
  std::string name;
};

//===--- RowKernels.cpp: a block for each row ----------------------------------===//
Result<void> emitEmbed(SimtContext &context, deepseek::EmbedOp op);
Result<void> emitRmsNorm(SimtContext &context, deepseek::RmsNormOp op);
Result<void> emitSwiglu(SimtContext &context, deepseek::SwigluOp op);
Result<void> emitAdd(SimtContext &context, mlir::arith::AddFOp op);
Result<void> emitLastTokens(SimtContext &context, deepseek::LastTokensOp op);
Result<void> emitQuantize(SimtContext &context, qblock::QuantizeOp op);
Result<void> emitDequantize(SimtContext &context, qblock::DequantizeOp op);

/// 1 / sqrt(mean of squares + eps) of a row, in all threads of the block.
mlir::Value emitInverseNorm(SimtBuilder &b, const Rows &x, mlir::Value row, int64_t columns, double eps);

//===--- AttentionKernels.cpp --------------------------------------------------===//
/// A block for each token.
Result<void> emitRopeTable(SimtContext &context, deepseek::RopeTableOp op);
Result<void> emitLatentAppend(SimtContext &context, deepseek::LatentAppendOp op);
/// A block for each token and head.
Result<void> emitMlaAbsorb(SimtContext &context, deepseek::MlaAbsorbOp op);
Result<void> emitMlaCore(SimtContext &context, deepseek::MlaCoreOp op);

//===--- DotKernels.cpp: a warp for each row of a weight -----------------------===//
/// Rows of a weight that a block of a grouped matmul goes over.
inline constexpr int64_t kGroupedBlockRows = 32;
Result<void> emitMatmul(SimtContext &context, mlir::Value x, mlir::Value w);
Result<void> emitGroupedMatmul(SimtContext &context, qblock::GroupedMatmulAccOp op);
Result<void> emitMlaExpand(SimtContext &context, deepseek::MlaExpandOp op);

//===--- MoeKernels.cpp --------------------------------------------------------===//
/// A warp for each token.
Result<void> emitMoeGate(SimtContext &context, deepseek::MoeGateOp op);
/// One block.
Result<void> emitMoeDispatch(SimtContext &context, deepseek::MoeDispatchOp op);
/// A block for each token.
Result<void> emitMoeCombine(SimtContext &context, deepseek::MoeCombineOp op);

} // namespace quant::nvvm

#endif // QUANT_LOWERING_TARGET_SM90_SIMT_SIMTKERNELS_H
