//===- bulk.h - what bulk copies have in common ------------------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_TOOLS_QUANT_SIM_ISA_BULK_H
#define QUANT_TOOLS_QUANT_SIM_ISA_BULK_H

#include "tools/quant-sim/isa/atomic_ops.h"
#include "tools/quant-sim/isa/lanes.h"

#include <functional>

namespace quant::sim {

/// False after a finding.
bool isAligned(Warp &warp, const Instr &instr, uint64_t address, uint64_t align, int lane, const char *what);

/// In whose name a load that `barrier` counts writes shared memory.
Access loadAccess(Warp &warp, const Instr &instr, const Mbarrier &barrier);

/// In whose name a store reads shared memory: opens a bulk group for the thread, or joins the open one.
Access storeAccess(Warp &warp, const Instr &instr, int lane);

/// Calls `body` with each block that a load brings its bytes to, and the mbarrier there that counts them: the block of `target`
/// or, with multicast, those of the mask in op[5], at the same offsets. False after a finding.
bool forDestinations(Warp &warp, const Instr &instr, const Place &target, int lane,
                     const std::function<bool(Block &, Mbarrier &)> &body);

/// *to = op(*to, *from), element by element.
void reduceBytes(Warp &warp, AtomicOp op, Type type, std::byte *to, const std::byte *from, uint64_t bytes);

/// Decodes `[base+offset]`, element `element` of operand `i`, into op[to] and imm[offset].
void readAddress(Decoder &d, size_t to, size_t i, size_t element, size_t offset);

/// Decodes .multicast::cluster, whose mask is operand `i`, into op[5].
bool takeMask(Decoder &d, bool load, size_t i);

/// cp.async.bulk.tensor, cp.async.bulk.prefetch.tensor, cp.reduce.async.bulk.tensor (isa_tma.cpp).
void decodeTensorCopy(Decoder &d, bool prefetch, bool reduce);

} // namespace quant::sim

#endif // QUANT_TOOLS_QUANT_SIM_ISA_BULK_H
