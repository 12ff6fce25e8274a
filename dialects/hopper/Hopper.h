//===- Hopper.h - tile-level sm_90a kernels -----------------------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_DIALECTS_HOPPER_HOPPER_H
#define QUANT_DIALECTS_HOPPER_HOPPER_H

#include "dialects/machine/Gpu.h"

#include "mlir/Bytecode/BytecodeOpInterface.h"
#include "mlir/IR/BuiltinTypes.h"
#include "mlir/IR/Dialect.h"
#include "mlir/IR/OpDefinition.h"
#include "mlir/IR/OpImplementation.h"
#include "mlir/IR/SymbolTable.h"
#include "mlir/Interfaces/ControlFlowInterfaces.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"

namespace quant::hopper {

/// The machine that the dialect's kernels are for.
using machine::kSm90a;

} // namespace quant::hopper

#include "dialects/hopper/HopperDialect.h.inc"

#define GET_TYPEDEF_CLASSES
#include "dialects/hopper/HopperTypes.h.inc"

#define GET_OP_CLASSES
#include "dialects/hopper/HopperOps.h.inc"

#endif // QUANT_DIALECTS_HOPPER_HOPPER_H
