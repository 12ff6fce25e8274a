//===- atomic_ops.h - what atomics and reductions compute --------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_TOOLS_QUANT_SIM_ISA_ATOMIC_OPS_H
#define QUANT_TOOLS_QUANT_SIM_ISA_ATOMIC_OPS_H

#include "tools/quant-sim/isa/decoder.h"

namespace quant::sim {

enum AtomicOp : int64_t { kAdd, kMin, kMax, kAnd, kOr, kXor, kInc, kDec, kExch, kCas };

/// The op among the instruction's modifiers; an error if there is none.
AtomicOp takeAtomicOp(Decoder &d);

/// PTX has this op for values of this type, here.
bool hasAtomic(AtomicOp op, Type type);

/// What memory holds after `op` with `value`; kCas puts `swap` where it finds `value`.
uint64_t applyAtomic(AtomicOp op, Type type, uint64_t old, uint64_t value, uint64_t swap = 0);

} // namespace quant::sim

#endif // QUANT_TOOLS_QUANT_SIM_ISA_ATOMIC_OPS_H
