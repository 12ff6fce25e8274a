//===- Kernels.h - one function for each op that becomes a kernel -*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Each emits the body for one block of the grid (or for a range of them) at the builder's place.
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_LOWERING_TARGET_X86_KERNELS_H
#define QUANT_LOWERING_TARGET_X86_KERNELS_H

#include "dialects/deepseek/DeepSeek.h"
#include "lowering/target/x86/KernelOperands.h"

#include "mlir/Dialect/Arith/IR/Arith.h"

namespace quant::host {

/// What every emitter gets.
struct KernelContext {
  HostBuilder &b;
  const KernelOperands &operands;
  Value scratch;
  /// Bytes of scratch that the kernel needs; emitters raise it.
  int64_t scratchBytes = 0;

  /// The address of `bytes` more bytes of scratch, 64-byte aligned.
  Value allocate(int64_t bytes) {
    Value address = b.at(scratch, scratchBytes, 1);
    scratchBytes += (bytes + 63) / 64 * 64;
    return address;
  }
};

//===--- MatmulKernels.cpp; `block` counts blocks of 128 weight rows ---===//
mlir::LogicalResult emitMatmul(KernelContext &context, Value x, Value w, Value block);
/// The whole operands of a tiled grouped matmul; `rows` is null where x is not gathered.
struct GroupedOperands {
  Value x, w, offsets, rows;
  int64_t topK;
};
mlir::LogicalResult emitGroupedMatmul(KernelContext &context, const GroupedOperands &operands, Value block);
mlir::LogicalResult emitMlaExpand(KernelContext &context, deepseek::MlaExpandOp op, Value head);
mlir::LogicalResult emitMlaAbsorb(KernelContext &context, deepseek::MlaAbsorbOp op, Value head);

//===--- RowKernels.cpp; one row, or one token, a block ---===//
mlir::LogicalResult emitEmbed(KernelContext &context, deepseek::EmbedOp op, Value token);
mlir::LogicalResult emitRmsNorm(KernelContext &context, deepseek::RmsNormOp op, Value token);
mlir::LogicalResult emitSwiglu(KernelContext &context, deepseek::SwigluOp op, Value token);
mlir::LogicalResult emitAdd(KernelContext &context, mlir::arith::AddFOp op, Value token);
mlir::LogicalResult emitLastTokens(KernelContext &context, deepseek::LastTokensOp op, Value output);
mlir::LogicalResult emitQuantize(KernelContext &context, qblock::QuantizeOp op, Value token);
mlir::LogicalResult emitDequantize(KernelContext &context, qblock::DequantizeOp op, Value token);
/// dst[0 .. columns) = gamma * src / rms(src).
void emitNormRow(HostBuilder &b, const Rows &source, Value sourceRow, const Rows &gamma, int64_t columns, double eps, Value target);

//===--- AttentionKernels.cpp ---===//
mlir::LogicalResult emitRopeTable(KernelContext &context, deepseek::RopeTableOp op, Value token);
mlir::LogicalResult emitLatentAppend(KernelContext &context, deepseek::LatentAppendOp op, Value token);
mlir::LogicalResult emitMlaCore(KernelContext &context, deepseek::MlaCoreOp op, Value tokenAndHead);

//===--- MoeKernels.cpp ---===//
mlir::LogicalResult emitMoeGate(KernelContext &context, deepseek::MoeGateOp op, Value token);
mlir::LogicalResult emitMoeDispatch(KernelContext &context, deepseek::MoeDispatchOp op, Value block);
mlir::LogicalResult emitMoeCombine(KernelContext &context, deepseek::MoeCombineOp op, Value token);

} // namespace quant::host

#endif // QUANT_LOWERING_TARGET_X86_KERNELS_H
