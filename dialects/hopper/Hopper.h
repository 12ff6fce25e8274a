//===- Hopper.h - tile-level sm_90a kernels -----------------------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_DIALECTS_HOPPER_HOPPER_H
#define QUANT_DIALECTS_HOPPER_HOPPER_H

#include "mlir/Bytecode/BytecodeOpInterface.h"
#include "mlir/IR/BuiltinTypes.h"
#include "mlir/IR/Dialect.h"
#include "mlir/IR/OpDefinition.h"
#include "mlir/IR/OpImplementation.h"
#include "mlir/IR/SymbolTable.h"
#include "mlir/Interfaces/ControlFlowInterfaces.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"

#include "dialects/hopper/HopperDialect.h.inc"

#define GET_TYPEDEF_CLASSES
#include "dialects/hopper/HopperTypes.h.inc"

#define GET_OP_CLASSES
#include "dialects/hopper/HopperOps.h.inc"

namespace quant::hopper {

/// Shared memory that a block may use on sm_90, in bytes.
inline constexpr int64_t kSharedBytesPerBlock = 232448;
/// 32-bit registers of a multiprocessor.
inline constexpr int64_t kRegisterFile = 65536;
inline constexpr int64_t kWarpgroupThreads = 128;
inline constexpr int64_t kWarpgroupWarps = 4;
/// Rows of a wgmma.
inline constexpr int64_t kWgmmaRows = 64;

} // namespace quant::hopper

#endif // QUANT_DIALECTS_HOPPER_HOPPER_H
