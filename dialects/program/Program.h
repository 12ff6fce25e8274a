//===- Program.h - the compiled model -----------------------------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_DIALECTS_PROGRAM_PROGRAM_H
#define QUANT_DIALECTS_PROGRAM_PROGRAM_H

#include "mlir/Bytecode/BytecodeOpInterface.h"
#include "mlir/IR/BuiltinTypes.h"
#include "mlir/IR/Dialect.h"
#include "mlir/IR/OpDefinition.h"
#include "mlir/IR/OpImplementation.h"
#include "mlir/IR/SymbolTable.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"

#include "dialects/program/ProgramDialect.h.inc"

#define GET_OP_CLASSES
#include "dialects/program/ProgramOps.h.inc"

namespace quant::program {

/// Discardable attributes of functions; the dialect's description says what they mean.
inline constexpr llvm::StringLiteral kGridAttr = "program.grid";
inline constexpr llvm::StringLiteral kDimAttr = "program.dim";
inline constexpr llvm::StringLiteral kWorkspaceBytesAttr = "program.workspace_bytes";
inline constexpr llvm::StringLiteral kMaxTokensAttr = "program.max_tokens";
inline constexpr llvm::StringLiteral kMaxContextAttr = "program.max_context";
inline constexpr llvm::StringLiteral kUnsupportedAttr = "program.unsupported";
inline constexpr llvm::StringLiteral kLaunchAttr = "program.launch";
inline constexpr llvm::StringLiteral kScratchBytesAttr = "program.scratch_bytes";
inline constexpr llvm::StringLiteral kStageAttr = "program.stage";

} // namespace quant::program

#endif // QUANT_DIALECTS_PROGRAM_PROGRAM_H
