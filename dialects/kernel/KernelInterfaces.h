//===- KernelInterfaces.h - ops that become kernels ---------------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_DIALECTS_KERNEL_KERNELINTERFACES_H
#define QUANT_DIALECTS_KERNEL_KERNELINTERFACES_H

#include "mlir/IR/AffineExpr.h"
#include "mlir/IR/BuiltinAttributes.h"
#include "mlir/IR/OpDefinition.h"

#include <optional>

#include "dialects/kernel/KernelInterfaces.h.inc"

namespace quant {

/// Weight rows of a matmul's block where no schedule says otherwise.
inline constexpr int64_t kDefaultTileRows = 128;

/// The op that becomes a kernel, or null: an op of KernelOpInterface that works on tensors. (`arith.addf` has the interface, too,
/// and adds scalars elsewhere.)
KernelOpInterface getKernelOp(mlir::Operation *op);

/// The op that a kernel computes, of a tiled one that inside the loops; all others only look at its operands. An op that cannot
/// be a kernel where there is no other, so that an error can name it; null if there is none at all.
mlir::Operation *getComputedOp(mlir::Operation *kernel);

/// Gives the upstream ops that become kernels or views (`arith.addf`, slices, casts, constants) their interfaces.
void registerKernelInterfaces(mlir::DialectRegistry &registry);

} // namespace quant

#endif // QUANT_DIALECTS_KERNEL_KERNELINTERFACES_H
