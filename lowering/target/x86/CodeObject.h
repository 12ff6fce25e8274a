//===- CodeObject.h - from lowered kernels to machine code --------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_LOWERING_TARGET_X86_CODEOBJECT_H
#define QUANT_LOWERING_TARGET_X86_CODEOBJECT_H

#include "lowering/target/x86/FlatImage.h"

#include "mlir/IR/BuiltinOps.h"

namespace quant::host {

/// Compiles the kernels of a module that lower-to-host has lowered for `isa`, a unit of dialects/machine/X86.h. The module is
/// consumed: it ends as LLVM dialect. `assembly`, if given, receives the kernels as text.
mlir::FailureOr<FlatImage> compileKernels(mlir::ModuleOp module, llvm::StringRef isa, std::string *assembly = nullptr);

} // namespace quant::host

#endif // QUANT_LOWERING_TARGET_X86_CODEOBJECT_H
