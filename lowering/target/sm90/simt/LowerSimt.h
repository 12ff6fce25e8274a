//===- LowerSimt.h - from an outlined kernel to a SIMT kernel ------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_LOWERING_TARGET_SM90_SIMT_LOWERSIMT_H
#define QUANT_LOWERING_TARGET_SM90_SIMT_LOWERSIMT_H

#include "dialects/qblock/QBlock.h"
#include "lowering/target/sm90/LaunchRecipe.h"
#include "runtime/support/result.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/GPU/IR/GPUDialect.h"

namespace quant::nvvm {

/// Adds a kernel without tensor cores that does what `kernel` (of stage tiled) does, under its name. Sizes are called as in the
/// program: tokens, sequences, outputs, context. Errors: an op, a type or a weight's scheme that there is no such kernel for.
Result<LaunchRecipe> buildSimt(mlir::gpu::GPUModuleOp gpuModule, mlir::func::FuncOp kernel);

/// Gives the ops that are no row programs their SimtKernelInterface.
void registerSimtKernels(mlir::DialectRegistry &registry);

} // namespace quant::nvvm

#endif // QUANT_LOWERING_TARGET_SM90_SIMT_LOWERSIMT_H
