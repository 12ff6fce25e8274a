//===- CodeObject.h - from lowered kernels to machine code --------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_LOWERING_TARGET_X86_CODEOBJECT_H
#define QUANT_LOWERING_TARGET_X86_CODEOBJECT_H

#include "mlir/IR/BuiltinOps.h"

#include <map>
#include <string>
#include <vector>

namespace quant::host {

/// A flat, position-independent image: read-only data, then the code. docs/module-format.md.
struct CodeObject {
  std::string isa;
  std::vector<std::string> requires_; // CPU features, as the runtime names them
  std::vector<char> image;
  uint64_t textOffset = 0, textBytes = 0;
  std::map<std::string, uint64_t> entries;
};

/// Compiles the kernels of a module that lower-to-host has lowered for `isa`. The module is consumed: it ends as LLVM dialect.
/// `assembly`, if given, receives the kernels as text.
mlir::FailureOr<CodeObject> compileKernels(mlir::ModuleOp module, llvm::StringRef isa, std::string *assembly = nullptr);

} // namespace quant::host

#endif // QUANT_LOWERING_TARGET_X86_CODEOBJECT_H
