//===- NvvmSupport.h - what needs NVVMDialect.h, without it --------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_LOWERING_TARGET_SM90_NVVMSUPPORT_H
#define QUANT_LOWERING_TARGET_SM90_NVVMSUPPORT_H

#include "mlir/IR/BuiltinOps.h"

namespace mlir {
class DialectRegistry;
namespace gpu {
class GPUModuleOp;
}
} // namespace mlir

namespace quant::nvvm {

/// The NVVM dialect and its conversion interface.
void insertNvvmDialect(mlir::DialectRegistry &registry);

/// `gpu.module @sm_90a` of a module, which holds all its GPU kernels; made at the end where there is none.
mlir::gpu::GPUModuleOp getOrCreateGpuModule(mlir::ModuleOp module);

} // namespace quant::nvvm

#endif // QUANT_LOWERING_TARGET_SM90_NVVMSUPPORT_H
