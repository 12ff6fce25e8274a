//===- SimtKernel.h - the frame of a kernel without tensor cores ---*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_LOWERING_TARGET_SM90_SIMT_SIMTKERNEL_H
#define QUANT_LOWERING_TARGET_SM90_SIMT_SIMTKERNEL_H

#include "lowering/target/sm90/LaunchRecipe.h"
#include "lowering/target/sm90/simt/SimtBuilder.h"
#include "runtime/support/result.h"

#include "mlir/Dialect/GPU/IR/GPUDialect.h"

namespace quant::nvvm {

/// Emits the body at the builder's place: `pointers` are the operands in global memory.
using SimtBody =
    mlir::function_ref<Result<void>(SimtBuilder &b, mlir::ArrayRef<mlir::Value> pointers, mlir::ArrayRef<mlir::Value> sizes)>;

/// Adds a kernel to the module and completes its recipe, which says name, block, grid and operands. The kernel's parameters are a
/// pointer for each operand, then an i32 for each of `sizes`, which are below 2^31. Errors: a name that is taken, or the body's;
/// then nothing is added.
Result<LaunchRecipe> buildSimtKernel(mlir::gpu::GPUModuleOp gpuModule, LaunchRecipe recipe, mlir::ArrayRef<Dim> sizes,
                                     SimtBody body);

} // namespace quant::nvvm

#endif // QUANT_LOWERING_TARGET_SM90_SIMT_SIMTKERNEL_H
