//===- isa_bulk.cpp - bulk asynchronous copies -------------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

//
// PTX ISA, "Data Movement and Conversion Instructions: Bulk copy" (cp.async.bulk, cp.reduce.async.bulk, cp.async.bulk.prefetch)
// and "cp.async.bulk.commit_group, cp.async.bulk.wait_group". A copy is done when it is issued; the shadow knows it as running
// until it is waited for.
//
//===----------------------------------------------------------------------===//

#include "tools/quant-sim/isa/bulk.h"

#include <fmt/core.h>

namespace quant::sim {

void decodeCopyAsync(Decoder &d); // isa_copy_async.cpp

constexpr uint64_t kChunk = 16;

//===----------------------------------------------------------------------===//
// For tensor copies too
//===----------------------------------------------------------------------===//

bool isAligned(Warp &warp, const Instr &instr, uint64_t address, uint64_t align, int lane, const char *what) {
  if (address % align == 0)
    return true;
  warp.report(FindingKind::Misaligned, instr, fmt::format("{} {} is not a multiple of {}", what, address, align), 1u << lane);
  return false;
}

/// The mbarrier at that offset of `block`, for the async proxy to count on. That it sees an initialisation which a barrier alone
/// stands behind is no manual's word, but Triton's kernels rely on it.
static Mbarrier *barrierOf(Warp &warp, const Instr &instr, Block &block, uint64_t offset, int lane) {
  if (!isAligned(warp, instr, offset, 8, lane, "the mbarrier's address"))
    return nullptr;
  Mbarrier *barrier = block.mbarrierAt(warp, instr, offset, lane);
  if (barrier && block.launch.strict && !barrier->initFenced && warp.known.fenced.get(barrier->initChannel) < barrier->initClock)
    warp.report(FindingKind::MissingProxyFence, instr,
                fmt::format("the async proxy may not see the initialisation of the mbarrier at {} in {}: neither "
                            "fence.mbarrier_init nor fence.proxy.async lies between",
                            block.sharedName(offset), block.siteName(barrier->initPc)),
                1u << lane);
  return barrier;
}

Access loadAccess(Warp &warp, const Instr &instr, const Mbarrier &barrier) {
  return {.clock = barrier.phase + 1, .pc = warp.pcOf(instr), .channel = barrier.channel, .async = true, .bytes = 0};
}

Access storeAccess(Warp &warp, const Instr &instr, int lane) {
  auto [at, isNew] = warp.bulk.try_emplace(lane);
  if (isNew)
    at->second.channel = warp.block.cluster.newChannel();
  ++at->second.open;
  at->second.lastPc = warp.pcOf(instr);
  return {.clock = at->second.committed + 1, .pc = warp.pcOf(instr), .channel = at->second.channel, .async = true, .bytes = 0};
}

bool forDestinations(Warp &warp, const Instr &instr, const Place &target, int lane,
                     const std::function<bool(Block &, Mbarrier &)> &body) {
  uint64_t address = warp.row(instr.op[3])[lane] + static_cast<uint64_t>(instr.imm[3]);
  Place at = warp.block.resolveShared(warp, instr, Space::SharedCluster, address, 8, lane);
  if (!at)
    return false;
  auto refuse = [&](std::string message) {
    warp.report(FindingKind::ClusterUse, instr, std::move(message), 1u << lane);
    return false;
  };
  auto &blocks = warp.block.cluster.blocks;
  bool multicast = instr.op[5] >= 0;
  uint64_t mask = multicast ? warp.row(instr.op[5])[lane] & 0xffff : uint64_t(1) << target.block->rank;
  if (!multicast && at.block != target.block)
    return refuse("the mbarrier is in another block than the memory it counts the bytes of");
  if (mask == 0 || mask >> blocks.size())
    return refuse(fmt::format("a multicast to the blocks of mask {} in a cluster of {}", mask, blocks.size()));
  for (; mask; mask &= mask - 1) {
    Block &block = *blocks[__builtin_ctzll(mask)];
    Mbarrier *barrier = barrierOf(warp, instr, block, at.offset, lane);
    if (!barrier || (&block != &warp.block && !block.touchRemotely(warp, instr, loadAccess(warp, instr, *barrier), lane)) ||
        !body(block, *barrier))
      return false;
  }
  return true;
}

void reduceBytes(Warp &warp, AtomicOp op, Type type, std::byte *to, const std::byte *from, uint64_t bytes) {
  std::lock_guard lock(warp.block.launch.atomics);
  uint64_t width = bitsOf(type) / 8;
  for (uint64_t i = 0; i + width <= bytes; i += width) {
    uint64_t old = 0, value = 0;
    std::memcpy(&old, to + i, width);
    std::memcpy(&value, from + i, width);
    uint64_t result = applyAtomic(op, type, old, value);
    std::memcpy(to + i, &result, width);
  }
}

//===----------------------------------------------------------------------===//
// Plain bytes
//===----------------------------------------------------------------------===//

namespace {

/// cp.async.bulk and cp.reduce.async.bulk of plain bytes. op[1] + imm[0]: shared, op[2] + imm[2]: global, op[4]: bytes; type and
/// count: element type and AtomicOp of a reduction.
Step copyBytes(Warp &warp, const Instr &instr, uint32_t mask) {
  for (; mask; mask &= mask - 1) {
    int lane = __builtin_ctz(mask);
    bool load = instr.imm[1];
    uint64_t address = warp.address(instr, lane), bytes = warp.row(instr.op[4])[lane] & 0xffffffff;
    uint64_t global = warp.row(instr.op[2])[lane] + static_cast<uint64_t>(instr.imm[2]);
    if (!isAligned(warp, instr, address | global | bytes, kChunk, lane, "an address or the size of a bulk copy"))
      return Step::Stop;
    Place place = warp.block.resolveShared(warp, instr, load ? Space::SharedCluster : Space::Shared, address, bytes, lane);
    const Allocation *allocation = warp.block.launch.memory.find(global, bytes);
    if (!allocation || (!load && !allocation->writable))
      warp.report(FindingKind::OutOfBounds, instr, "a bulk copy beyond a buffer of global memory", 1u << lane);
    if (!allocation || !place)
      return Step::Stop;
    warp.checkDependence(instr, *allocation, lane);
    std::byte *inGlobal = allocation->host + (global - allocation->address);
    auto deliver = [&](Block &block, Mbarrier &barrier) {
      block.writeShared(warp, instr, place.offset, bytes, loadAccess(warp, instr, barrier), lane);
      std::memcpy(block.shared.data() + place.offset, inGlobal, bytes);
      block.receive(warp, instr, barrier, static_cast<int64_t>(bytes), lane);
      return true;
    };
    if (load && !forDestinations(warp, instr, place, lane, deliver))
      return Step::Stop;
    if (load)
      continue;
    warp.block.readShared(warp, instr, place.offset, bytes, storeAccess(warp, instr, lane), lane);
    if (instr.type == Type::None)
      std::memcpy(inGlobal, place.host, bytes);
    else
      reduceBytes(warp, static_cast<AtomicOp>(instr.count), instr.type, inGlobal, place.host, bytes);
  }
  return Step::Next;
}

/// From this block's shared memory to another's. op[1] + imm[0]: to, op[2] + imm[2]: from, op[4]: bytes.
Step copyToBlock(Warp &warp, const Instr &instr, uint32_t mask) {
  for (; mask; mask &= mask - 1) {
    int lane = __builtin_ctz(mask);
    uint64_t from = warp.row(instr.op[2])[lane] + static_cast<uint64_t>(instr.imm[2]), to = warp.address(instr, lane);
    uint64_t bytes = warp.row(instr.op[4])[lane] & 0xffffffff;
    if (!isAligned(warp, instr, from | to | bytes, kChunk, lane, "an address or the size of a bulk copy"))
      return Step::Stop;
    Place source = warp.block.resolveShared(warp, instr, Space::Shared, from, bytes, lane);
    Place target = warp.block.resolveShared(warp, instr, Space::SharedCluster, to, bytes, lane);
    if (!source || !target)
      return Step::Stop;
    auto deliver = [&](Block &block, Mbarrier &barrier) {
      Access access = loadAccess(warp, instr, barrier);
      warp.block.readShared(warp, instr, source.offset, bytes, access, lane);
      block.writeShared(warp, instr, target.offset, bytes, access, lane);
      std::memmove(target.host, source.host, bytes);
      block.receive(warp, instr, barrier, static_cast<int64_t>(bytes), lane);
      return true;
    };
    if (!forDestinations(warp, instr, target, lane, deliver))
      return Step::Stop;
  }
  return Step::Next;
}

Step commit(Warp &warp, const Instr &, uint32_t mask) {
  forLanes(mask, [&](int lane) {
    auto at = warp.bulk.find(lane);
    if (at == warp.bulk.end())
      return;
    ++at->second.committed;
    at->second.open = 0;
  });
  return Step::Next;
}

/// imm[0]: groups that may still run.
Step waitGroup(Warp &warp, const Instr &instr, uint32_t mask) {
  forLanes(mask, [&](int lane) {
    auto at = warp.bulk.find(lane);
    if (at == warp.bulk.end() || at->second.committed < instr.imm[0])
      return;
    uint32_t over = at->second.committed - static_cast<uint32_t>(instr.imm[0]);
    at->second.readWaited = std::max(at->second.readWaited, over);
    warp.known.seen.raise(at->second.channel, over);
  });
  return Step::Next;
}

//===----------------------------------------------------------------------===//
// Decoding
//===----------------------------------------------------------------------===//

} // namespace

void readAddress(Decoder &d, size_t to, size_t i, size_t element, size_t offset) {
  int64_t kept = d.instr.imm[0];
  d.instr.imm[0] = 0;
  d.address(to, i, element);
  int64_t found = d.instr.imm[0];
  d.instr.imm[0] = kept;
  d.instr.imm[offset] = found;
}

bool takeMask(Decoder &d, bool load, size_t i) {
  if (!load || !d.take("multicast::cluster"))
    return false;
  d.read(5, i, Type::B16);
  return true;
}

namespace {

/// .shared::cluster.shared::cta, which comes with an mbarrier there.
void decodeBlockCopy(Decoder &d) {
  d.require({"mbarrier::complete_tx::bytes"});
  d.count(4);
  readAddress(d, 1, 0, 0, 0);
  readAddress(d, 2, 1, 0, 2);
  d.read(4, 2, Type::B32);
  readAddress(d, 3, 3, 0, 3);
  d.exec(copyToBlock);
}

void decodePlain(Decoder &d, bool reduce) {
  bool toCluster = d.take("shared::cluster"), own = d.take("shared::cta");
  if (toCluster && own && !reduce)
    return decodeBlockCopy(d);
  d.require({"global"});
  bool load = !d.take("bulk_group"), hinted = d.take("L2::cache_hint");
  if (load && (reduce || !d.take("mbarrier::complete_tx::bytes")))
    d.fail(reduce ? "expected .bulk_group" : "expected .mbarrier::complete_tx::bytes or .bulk_group");
  bool multicast = takeMask(d, load, 4);
  d.count((load ? 4 : 3) + multicast + hinted);
  readAddress(d, 1, load ? 0 : 1, 0, 0);
  readAddress(d, 2, load ? 1 : 0, 0, 2);
  d.read(4, 2, Type::B32);
  if (load)
    readAddress(d, 3, 3, 0, 3);
  d.instr.imm[1] = load;
  if (!reduce)
    return d.exec(copyBytes);
  AtomicOp op = takeAtomicOp(d);
  d.take("noftz");
  Type type = d.takeType();
  d.exec(hasAtomic(op, type) && op < kExch ? copyBytes : nullptr, type);
  d.instr.count = static_cast<int32_t>(op);
}

/// A hint.
void decodePrefetch(Decoder &d) {
  bool hinted = d.take("L2::cache_hint");
  d.require({"L2"});
  d.require({"global"});
  d.count(2 + hinted);
  readAddress(d, 2, 0, 0, 2);
  d.read(4, 1, Type::B32);
  d.exec([](Warp &, const Instr &, uint32_t) { return Step::Next; });
}

void decodeCopy(Decoder &d) {
  bool reduce = d.take("reduce");
  d.require({"async"});
  if (!d.take("bulk"))
    return decodeCopyAsync(d);
  bool prefetch = d.take("prefetch");
  if (d.take("commit_group")) {
    d.count(0);
    return d.exec(commit);
  }
  if (d.take("wait_group")) {
    d.take("read");
    d.count(1);
    d.instr.imm[0] = d.literal(0);
    return d.exec(waitGroup);
  }
  if (d.take("tensor"))
    return decodeTensorCopy(d, prefetch, reduce);
  prefetch ? decodePrefetch(d) : decodePlain(d, reduce);
}

} // namespace

void addBulkInstructions(DecodeTable &table) { table["cp"] = decodeCopy; }

} // namespace quant::sim
