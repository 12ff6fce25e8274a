//===- Programs.h - the functions that become programs ------------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_PASSES_DISPATCH_PROGRAMS_H
#define QUANT_PASSES_DISPATCH_PROGRAMS_H

#include "dialects/program/Program.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/BuiltinOps.h"

namespace quant {

/// @forward and, if there is one, @draft. Each must be a straight line: a body of one block. `who` begins the error.
inline mlir::FailureOr<llvm::SmallVector<mlir::func::FuncOp>> lookupPrograms(mlir::ModuleOp module, llvm::StringRef who) {
  llvm::SmallVector<mlir::func::FuncOp> programs;
  for (llvm::StringRef name : {program::kForwardName, program::kDraftName})
    if (auto function = module.lookupSymbol<mlir::func::FuncOp>(name))
      programs.push_back(function);
  if (programs.empty() || programs.front().getSymName() != program::kForwardName)
    return module.emitError() << who << ": there must be a function @forward";
  for (mlir::func::FuncOp function : programs)
    if (!function.getBody().hasOneBlock())
      return function.emitError() << who << ": @" << function.getSymName() << " must have one block, not "
                                  << function.getBody().getBlocks().size();
  return programs;
}

} // namespace quant

#endif // QUANT_PASSES_DISPATCH_PROGRAMS_H
