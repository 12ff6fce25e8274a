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
#include "mlir/Interfaces/FunctionInterfaces.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"

#include <optional>

#include "dialects/program/ProgramDialect.h.inc"
#include "dialects/program/ProgramEnums.h.inc"

#define GET_ATTRDEF_CLASSES
#include "dialects/program/ProgramAttrs.h.inc"

#define GET_OP_CLASSES
#include "dialects/program/ProgramOps.h.inc"

namespace quant::program {

/// Discardable attributes of functions; the dialect's description says what they mean.
inline constexpr llvm::StringLiteral kGridAttr = "program.grid";
inline constexpr llvm::StringLiteral kDimAttr = "program.dim";
inline constexpr llvm::StringLiteral kNameAttr = "program.name";
inline constexpr llvm::StringLiteral kWorkspaceBytesAttr = "program.workspace_bytes";
inline constexpr llvm::StringLiteral kMaxTokensAttr = "program.max_tokens";
inline constexpr llvm::StringLiteral kMaxContextAttr = "program.max_context";
inline constexpr llvm::StringLiteral kUnsupportedAttr = "program.unsupported";
inline constexpr llvm::StringLiteral kScheduleAttr = "program.schedule";
inline constexpr llvm::StringLiteral kLaunchAttr = "program.launch";
inline constexpr llvm::StringLiteral kScratchBytesAttr = "program.scratch_bytes";
inline constexpr llvm::StringLiteral kStageAttr = "program.stage";

/// The functions that become programs: what a model computes, and its draft (MTP layer), which a module may lack.
inline constexpr llvm::StringLiteral kForwardName = "forward";
inline constexpr llvm::StringLiteral kDraftName = "draft";

/// Run-time sizes that kernels and grids know, in the order of `Dim`.
inline constexpr unsigned kNumDims = getMaxEnumValForDim() + 1;

/// The run-time size that an argument or a result of a function is or has as its leading dimension, if it says one.
std::optional<Dim> getArgumentDim(mlir::FunctionOpInterface function, unsigned index);
std::optional<Dim> getResultDim(mlir::FunctionOpInterface function, unsigned index);

/// The run-time size that counts a kernel's rows: that of its first result, without results of its first argument; tokens where
/// these say nothing.
Dim getRowDim(mlir::FunctionOpInterface kernel);

/// The schedules of a kernel in the order of their M; none before the stage `scheduled`.
llvm::SmallVector<ScheduleAttr> getSchedules(mlir::Operation *kernel);

} // namespace quant::program

#endif // QUANT_DIALECTS_PROGRAM_PROGRAM_H
