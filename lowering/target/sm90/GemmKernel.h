//===- GemmKernel.h - a GEMM as a schedule of tiles -------------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_LOWERING_TARGET_SM90_GEMMKERNEL_H
#define QUANT_LOWERING_TARGET_SM90_GEMMKERNEL_H

#include "dialects/hopper/Hopper.h"
#include "dialects/machine/GemmPlan.h"
#include "lowering/target/sm90/HopperBuilder.h"

namespace quant::nvvm {

/// Emits hopper.kernel @name at the builder's insertion point. Arguments: the tensor maps of a, scale_a, b and d, the addresses
/// of scale_b, bias (with bias), workspace and counters (with splitK), and M.
hopper::KernelOp emitGemm(HopperBuilder &builder, const machine::GemmPlan &plan, mlir::StringRef name);

} // namespace quant::nvvm

#endif // QUANT_LOWERING_TARGET_SM90_GEMMKERNEL_H
