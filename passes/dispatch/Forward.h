//===- Forward.h - the function that becomes the program ----------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_PASSES_DISPATCH_FORWARD_H
#define QUANT_PASSES_DISPATCH_FORWARD_H

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/BuiltinOps.h"

namespace quant {

/// @forward, which must be a straight line: a body of one block. `who` begins the error.
inline mlir::FailureOr<mlir::func::FuncOp> lookupForward(mlir::ModuleOp module, llvm::StringRef who) {
  auto forward = module.lookupSymbol<mlir::func::FuncOp>("forward");
  if (!forward)
    return module.emitError() << who << ": there must be a function @forward";
  if (!forward.getBody().hasOneBlock())
    return forward.emitError() << who << ": @forward must have one block, not " << forward.getBody().getBlocks().size();
  return forward;
}

} // namespace quant

#endif // QUANT_PASSES_DISPATCH_FORWARD_H
