//===- isa_copy_async.cpp - cp.async ------------------------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

//
// PTX ISA, "Data Movement and Conversion Instructions: Non-bulk copy" (cp.async and what waits for it).
//
//===----------------------------------------------------------------------===//

#include "tools/quant-sim/isa/lanes.h"

namespace quant::sim {

namespace {

/// cp.async.ca.shared.global [dst], [src], bytes{, srcBytes}. Done at once; known to be done when its group is waited for.
Step copyAsync(Warp &warp, const Instr &instr, uint32_t mask) {
  for (; mask; mask &= mask - 1) {
    int lane = __builtin_ctz(mask);
    uint64_t to = warp.row(instr.op[0])[lane] + static_cast<uint64_t>(instr.imm[2]), from = warp.address(instr, lane);
    uint64_t bytes = static_cast<uint64_t>(instr.imm[1]);
    uint64_t taken = instr.op[2] >= 0 ? std::min(bytes, warp.row(instr.op[2])[lane] & 0xffffffff) : bytes;
    Place target = warp.block.resolve(warp, instr, Space::Shared, to, bytes, lane, true);
    Place source = taken ? warp.block.resolve(warp, instr, Space::Global, from, taken, lane, false) : target;
    if (!target || !source)
      return Step::Stop;
    Access access{.clock = warp.copiesCommitted + 1, .pc = warp.pcOf(instr), .channel = warp.copyChannel, .async = true};
    access.generic = true;
    warp.block.writeShared(warp, instr, target.offset, bytes, access, lane);
    std::memmove(target.host, source.host, taken);
    std::memset(target.host + taken, 0, bytes - taken);
  }
  return Step::Next;
}

Step commitCopies(Warp &warp, const Instr &, uint32_t) {
  ++warp.copiesCommitted;
  return Step::Next;
}

/// imm[0]: groups that may still run.
Step waitForCopies(Warp &warp, const Instr &instr, uint32_t) {
  if (warp.copiesCommitted > static_cast<uint64_t>(instr.imm[0]))
    warp.known.seen.raise(warp.copyChannel, warp.copiesCommitted - static_cast<uint32_t>(instr.imm[0]));
  return Step::Next;
}

/// Those of no group yet, too.
Step waitForAllCopies(Warp &warp, const Instr &, uint32_t) {
  warp.known.seen.raise(warp.copyChannel, ++warp.copiesCommitted);
  return Step::Next;
}

/// cp.async.mbarrier.arrive: an arrival when the copies so far are done; one that was expected beforehand with .noinc (imm[1]).
Step arriveAfterCopies(Warp &warp, const Instr &instr, uint32_t mask) {
  ++warp.copiesCommitted;
  for (; mask; mask &= mask - 1) {
    int lane = __builtin_ctz(mask);
    Mbarrier *barrier = warp.block.mbarrier(warp, instr, Space::Shared, warp.address(instr, lane), lane);
    if (!barrier)
      return Step::Stop;
    if (!instr.imm[1])
      ++barrier->pending;
    barrier->arriving.seen.raise(warp.copyChannel, warp.copiesCommitted);
    warp.block.arrive(warp, instr, *barrier, 1, lane);
  }
  return Step::Next;
}

} // namespace

/// cp.async, without .bulk. Called by the decoder of cp (isa_bulk.cpp).
void decodeCopyAsync(Decoder &d) {
  if (d.take("commit_group")) {
    d.count(0);
    return d.exec(commitCopies);
  }
  if (d.take("wait_all")) {
    d.count(0);
    return d.exec(waitForAllCopies);
  }
  if (d.take("wait_group")) {
    d.count(1);
    d.instr.imm[0] = d.literal(0);
    return d.exec(waitForCopies);
  }
  if (d.take("mbarrier")) {
    d.require({"arrive"});
    d.instr.imm[1] = d.take("noinc");
    d.takeOne({"shared", "shared::cta"});
    d.require({"b64"});
    d.count(1);
    d.address(1, 0);
    return d.exec(arriveAfterCopies);
  }
  d.takeOne({"ca", "cg"});
  bool hinted = d.take("L2::cache_hint");
  d.dropCacheHints();
  d.takeOne({"shared", "shared::cta"});
  d.take("global");
  size_t last = d.operandCount() - (hinted ? 1 : 0);
  d.count(3, 5);
  d.address(0, 0);
  d.instr.imm[2] = d.instr.imm[0];
  d.instr.imm[0] = 0;
  d.address(1, 1);
  d.instr.imm[1] = d.literal(2);
  if (d.instr.imm[1] != 4 && d.instr.imm[1] != 8 && d.instr.imm[1] != 16)
    d.fail("copies 4, 8 or 16 bytes");
  if (last > 3)
    d.read(2, 3, Type::B32);
  d.exec(copyAsync);
}

} // namespace quant::sim
