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
#include "dialects/x86/MatmulSchedule.h"
#include "lowering/common/KernelOperands.h"
#include "lowering/target/x86/HostBuilder.h"

#include "mlir/Dialect/Arith/IR/Arith.h"

namespace quant::host {

/// Of operands, by address.
using qblock::Weight, qblock::WeightPart, rows::Rows;

/// What every emitter gets.
struct KernelContext {
  HostBuilder &b;
  const KernelOperands &operands;
  Value scratch;
  x86::MatmulSchedule schedule;
  /// The blocks of one step of the kernel's loop end here: HostKernelInterface::getStep() of them, or fewer.
  Value endBlock = {};
  /// Bytes of scratch that the kernel needs; emitters raise it.
  int64_t scratchBytes = 0;

  /// The address of `bytes` more bytes of scratch, 64-byte aligned.
  Value allocate(int64_t bytes) {
    Value address = b.at(scratch, scratchBytes, 1);
    scratchBytes += (bytes + 63) / 64 * 64;
    return address;
  }
};

} // namespace quant::host

#include "lowering/target/x86/HostKernels.h.inc"

namespace quant::host {

/// Gives the ops that have an emitter below their HostKernelInterface.
void registerHostKernels(mlir::DialectRegistry &registry);

//===--- MatmulKernels.cpp; `block` counts tiles ---===//
/// Tiles that a matmul computes at a time, of those that a call of the kernel is to compute.
Value tilesOfStep(KernelContext &context, qblock::MatmulAccOp matmul);
mlir::LogicalResult emitMatmul(KernelContext &context, mlir::DestinationStyleOpInterface op, Value block);
mlir::LogicalResult emitMlaExpand(KernelContext &context, deepseek::MlaExpandOp op, Value head);
mlir::LogicalResult emitMlaAbsorb(KernelContext &context, deepseek::MlaAbsorbOp op, Value head);

/// The error for an operand whose address KernelOperands cannot tell.
mlir::LogicalResult unsupportedOperand(mlir::Operation *op);

//===--- RowMapping.cpp; one row, or one token, a block ---===//
mlir::LogicalResult emitRowOp(KernelContext &context, rows::RowOpInterface op, Value token);

//===--- AttentionKernels.cpp ---===//
/// Heads of a token that are one block, and blocks of a step.
int64_t headsOfBlock(deepseek::MlaCoreOp op);
int64_t blocksOfStep(deepseek::MlaCoreOp op);
mlir::LogicalResult emitMlaCore(KernelContext &context, deepseek::MlaCoreOp op, Value block);

} // namespace quant::host

#endif // QUANT_LOWERING_TARGET_X86_KERNELS_H
