//===- Passes.h - lowering to H100/H200 -----------------------------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_LOWERING_TARGET_SM90_PASSES_H
#define QUANT_LOWERING_TARGET_SM90_PASSES_H

#include "dialects/machine/Gpu.h"

#include "mlir/Pass/Pass.h"

namespace quant {

#define GEN_PASS_DECL
#include "lowering/target/sm90/Passes.h.inc"

#define GEN_PASS_REGISTRATION
#include "lowering/target/sm90/Passes.h.inc"

} // namespace quant

#endif // QUANT_LOWERING_TARGET_SM90_PASSES_H
