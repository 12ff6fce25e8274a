//===- isa_store_async.cpp - st.async, red.async --------------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

//
// PTX ISA, "Data Movement and Conversion Instructions: st.async" and "Parallel Synchronization and Communication Instructions:
// red.async": stores to a block of the cluster whose bytes an mbarrier there counts.
//
//===----------------------------------------------------------------------===//

#include "tools/quant-sim/isa/bulk.h"

namespace quant::sim {

namespace {

constexpr int64_t kStoreOp = -1;

/// op[1] + imm[0]: to, op[3] + imm[3]: the mbarrier; the list: values; imm[1]: an AtomicOp or kStoreOp.
Step storeAsync(Warp &warp, const Instr &instr, uint32_t mask) {
  uint64_t width = bitsOf(instr.type) / 8, bytes = width * static_cast<uint64_t>(instr.count);
  for (; mask; mask &= mask - 1) {
    int lane = __builtin_ctz(mask);
    if (!isAligned(warp, instr, warp.address(instr, lane), bytes, lane, "the address of an asynchronous store"))
      return Step::Stop;
    Place to = warp.block.resolveShared(warp, instr, Space::SharedCluster, warp.address(instr, lane), bytes, lane);
    if (!to)
      return Step::Stop;
    auto deliver = [&](Block &block, Mbarrier &barrier) {
      Access access = loadAccess(warp, instr, barrier);
      access.generic = true;
      if (instr.imm[1] == kStoreOp)
        block.writeShared(warp, instr, to.offset, bytes, access, lane);
      for (int i = 0; i < instr.count; ++i) {
        uint64_t value = warp.row(warp.listed(instr, i))[lane];
        if (instr.imm[1] == kStoreOp)
          std::memcpy(to.host + i * width, &value, width);
        else
          reduceBytes(warp, static_cast<AtomicOp>(instr.imm[1]), instr.type, to.host, reinterpret_cast<std::byte *>(&value),
                      width);
      }
      block.receive(warp, instr, barrier, static_cast<int64_t>(bytes), lane);
      return true;
    };
    if (!forDestinations(warp, instr, to, lane, deliver))
      return Step::Stop;
  }
  return Step::Next;
}

} // namespace

/// Called by the decoders of st and red, which have taken .async.
void decodeStoreAsync(Decoder &d, bool reduce) {
  d.takeOne({"weak", "relaxed"});
  d.take("cluster");
  d.take("shared::cluster");
  d.require({"mbarrier::complete_tx::bytes"});
  d.instr.imm[1] = reduce ? static_cast<int64_t>(takeAtomicOp(d)) : kStoreOp;
  d.instr.count = reduce ? 1 : d.take("v2") ? 2 : d.take("v4") ? 4 : 1;
  Type type = d.takeType();
  d.count(3);
  readAddress(d, 1, 0, 0, 0);
  if (d.readList(d.operand(1), type) != static_cast<uint32_t>(d.instr.count))
    d.fail("a vector of another size than the instruction's");
  readAddress(d, 3, 2, 0, 3);
  bool fits = (bitsOf(type) == 32 || bitsOf(type) == 64) && bitsOf(type) * d.instr.count <= 128;
  d.exec(fits && (!reduce || hasAtomic(static_cast<AtomicOp>(d.instr.imm[1]), type)) ? storeAsync : nullptr, type);
}

} // namespace quant::sim
