//===- MlaDecodeKernel.h - attention as a schedule of tiles ---------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_LOWERING_TARGET_SM90_MLADECODEKERNEL_H
#define QUANT_LOWERING_TARGET_SM90_MLADECODEKERNEL_H

#include "dialects/hopper/Hopper.h"
#include "dialects/machine/MlaDecodePlan.h"
#include "lowering/target/sm90/HopperBuilder.h"

namespace quant::nvvm {

/// Adds the kernel at the builder's place. Its arguments are q, cache, o (tensor maps), positions, sequences, pages, with lse its
/// address, and the number of tokens; with splits there is no map of o, and behind pages come the addresses of o_parts and
/// lse_parts.
hopper::KernelOp emitMlaDecode(HopperBuilder &builder, const machine::MlaDecodeConfig &config, mlir::StringRef name);

} // namespace quant::nvvm

#endif // QUANT_LOWERING_TARGET_SM90_MLADECODEKERNEL_H
