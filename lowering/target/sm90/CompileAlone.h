//===- CompileAlone.h - one kernel, from a builder to a cubin ------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_LOWERING_TARGET_SM90_COMPILEALONE_H
#define QUANT_LOWERING_TARGET_SM90_COMPILEALONE_H

#include "lowering/target/sm90/LaunchRecipe.h"
#include "lowering/target/sm90/Ptx.h"

#include "llvm/ADT/STLFunctionalExtras.h"

namespace quant::nvvm {

/// A kernel ready to be stored in a module file or loaded by the driver.
struct CompiledKernel {
  LaunchRecipe recipe;
  GpuArtifact artifact;
};

/// A module of the one kernel that `build` adds to it, compiled to PTX and assembled, in a context of its own. Errors: those of
/// `build`, of compileToPtx and of assemble.
Result<CompiledKernel> compileAlone(llvm::function_ref<Result<LaunchRecipe>(mlir::gpu::GPUModuleOp)> build,
                                    const AssemblerOptions &options);

} // namespace quant::nvvm

#endif // QUANT_LOWERING_TARGET_SM90_COMPILEALONE_H
