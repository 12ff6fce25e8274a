//===- GemmRecipe.h - how a GEMM is launched --------------------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_LOWERING_TARGET_SM90_GEMMRECIPE_H
#define QUANT_LOWERING_TARGET_SM90_GEMMRECIPE_H

#include "dialects/machine/GemmPlan.h"
#include "lowering/target/sm90/LaunchRecipe.h"

namespace quant::nvvm {

/// The launch of emitGemm's kernel: operands in the order of Gemm.h, parameters in that of the kernel's arguments.
LaunchRecipe gemmRecipe(const machine::GemmPlan &plan, const std::string &symbolName);

} // namespace quant::nvvm

#endif // QUANT_LOWERING_TARGET_SM90_GEMMRECIPE_H
