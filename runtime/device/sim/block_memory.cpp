//===- block_memory.cpp - a block's view of memory ---------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/device/sim/machine.h"

namespace quant::sim {

Space Block::spaceOf(uint64_t &address) {
  constexpr std::pair<uint64_t, Space> kWindows[] = {
      {kSharedWindow, Space::Shared}, {kLocalWindow, Space::Local}, {kParamWindow, Space::Param}};
  for (const auto &[base, space] : kWindows)
    if (address >= base && address - base < kWindowBytes) {
      address -= base;
      return space;
    }
  return Space::Global;
}

std::byte *Block::resolveShared(Warp &warp, const Instr &instr, uint64_t address, uint64_t bytes, int lane) {
  address &= 0xffffffff;
  if (address >= kSharedBegin && address <= shared.size() && bytes <= shared.size() - address)
    return shared.data() + address;
  warp.report(FindingKind::OutOfBounds, instr,
              std::to_string(bytes) + " bytes at shared address " + std::to_string(address) + ", but shared memory is [" +
                  std::to_string(kSharedBegin) + ", " + std::to_string(shared.size()) + ")",
              1u << lane);
  stopped = true;
  return nullptr;
}

std::byte *Block::resolve(Warp &warp, const Instr &instr, Space space, uint64_t address, uint64_t bytes, int lane, bool write) {
  auto refuse = [&](FindingKind kind, std::string message) -> std::byte * {
    warp.report(kind, instr, std::move(message), 1u << lane);
    stopped = true;
    return nullptr;
  };
  if (address % bytes)
    return refuse(FindingKind::Misaligned, "address " + std::to_string(address) + " of an access to " + std::to_string(bytes) +
                                               " bytes is not a multiple of that");
  if (space == Space::Generic)
    space = spaceOf(address);
  if (space == Space::Shared)
    return resolveShared(warp, instr, address, bytes, lane);
  if (space == Space::Param) {
    if (!write && address <= launch.params.size() && bytes <= launch.params.size() - address)
      return launch.params.data() + address;
    return refuse(FindingKind::OutOfBounds, write ? "a write to the parameters" : "a read past the parameters");
  }
  if (space == Space::Local) {
    if (address <= program.localBytes && bytes <= program.localBytes - address)
      return warp.local.data() + lane * program.localBytes + address;
    return refuse(FindingKind::OutOfBounds, "past the end of local memory");
  }
  const Allocation *at = launch.memory.find(address, bytes);
  if (at && (at->writable || !write))
    return at->host + (address - at->address);
  if (at)
    return refuse(FindingKind::OutOfBounds, "a write to '" + at->name + "', which the kernel may only read");
  const Allocation *before = launch.memory.near(address);
  return refuse(FindingKind::OutOfBounds,
                std::to_string(bytes) + " bytes of global memory that belong to no buffer" +
                    (before ? ", " + std::to_string(address - before->address) + " from the start of '" + before->name + "' of " +
                                  std::to_string(before->bytes) + " bytes"
                            : ""));
}

static FindingKind kindOf(Conflict conflict, bool write) {
  if (conflict == Conflict::NoFence)
    return FindingKind::MissingProxyFence;
  return conflict == Conflict::AsyncUnordered && write ? FindingKind::StageInUse : FindingKind::Race;
}

static std::string describe(const Block &block, Conflict conflict, const Access &earlier, bool earlierWrites, uint64_t address,
                            bool write) {
  std::string text = std::string(write ? "writes " : "reads ") + block.sharedName(address) + ", which " +
                     block.siteName(earlier.pc) + (earlierWrites ? " writes" : " reads") +
                     (earlier.async ? " asynchronously" : "");
  if (conflict == Conflict::NoFence)
    return text + " through the generic proxy: no fence.proxy.async lies between";
  if (earlier.async)
    return text + ": nothing has waited for that";
  return text + ": no barrier orders the two";
}

void Block::readShared(Warp &warp, const Instr &instr, uint64_t address, uint64_t bytes, const Access &access, int lane) {
  if (!launch.check)
    return;
  uint64_t unwritten = shadow.firstUnwritten(address, bytes);
  if (unwritten != address + bytes) {
    warp.report(FindingKind::UninitializedShared, instr, "reads " + sharedName(unwritten) + ", which nothing has written",
                1u << lane);
    shadow.markWritten(address, bytes);
  }
  shadow.read(address, bytes, access, warp.known, [&](Conflict conflict, const Access &earlier, bool writes, uint64_t at) {
    warp.report(kindOf(conflict, false), instr, describe(*this, conflict, earlier, writes, at, false), 1u << lane);
  });
}

void Block::writeShared(Warp &warp, const Instr &instr, uint64_t address, uint64_t bytes, const Access &access, int lane) {
  progress();
  if (!launch.check)
    return;
  auto barrier = mbarriers.upper_bound(address - std::min<uint64_t>(address, 8));
  if (barrier != mbarriers.end() && barrier->first < address + bytes)
    warp.report(FindingKind::MbarrierUse, instr, "writes over the mbarrier at " + sharedName(barrier->first), 1u << lane);
  for (uint64_t chunk = address / 16; chunk < (address + bytes + 15) / 16; ++chunk)
    layouts[chunk] = kNoLayout;
  shadow.write(address, bytes, access, warp.known, [&](Conflict conflict, const Access &earlier, bool writes, uint64_t at) {
    warp.report(kindOf(conflict, true), instr, describe(*this, conflict, earlier, writes, at, true), 1u << lane);
  });
}

//===----------------------------------------------------------------------===//
// mbarriers
//===----------------------------------------------------------------------===//

Mbarrier *Block::mbarrier(Warp &warp, const Instr &instr, uint64_t address, int lane) {
  if (spaceOf(address) == Space::Global)
    address &= 0xffffffff;
  auto at = mbarriers.find(address);
  if (at == mbarriers.end()) {
    warp.report(FindingKind::MbarrierUse, instr, "there is no initialised mbarrier at " + sharedName(address), 1u << lane);
    stopped = true;
    return nullptr;
  }
  Mbarrier &barrier = at->second;
  if (launch.check && barrier.initWarp != warp.index && warp.known.seen.get(barrier.initWarp) < barrier.initClock)
    warp.report(FindingKind::MbarrierUse, instr,
                "the mbarrier at " + sharedName(address) + " is used before a barrier makes its initialisation in " +
                    siteName(barrier.initPc) + " visible to this thread",
                1u << lane);
  return &barrier;
}

void Block::arrive(Warp &warp, const Instr &instr, Mbarrier &barrier, uint32_t count, int lane) {
  progress();
  barrier.arriving.merge(warp.known);
  if (count > barrier.pending) {
    warp.report(FindingKind::ArrivalCount, instr,
                "an arrival at the mbarrier at " + sharedName(barrier.address) + " in phase " + std::to_string(barrier.phase) +
                    " beyond the " + std::to_string(barrier.expected) + " it expects",
                1u << lane);
    count = barrier.pending;
  }
  barrier.pending -= count;
  if (launch.traceBarriers)
    std::fprintf(stderr, "block %u thread %u arrives at %s phase %u: %u missing, %lld bytes missing\n", id[0],
                 warp.index * kWarpLanes + lane, sharedName(barrier.address).c_str(), barrier.phase, barrier.pending,
                 static_cast<long long>(barrier.txCount));
  completePhaseIfDone(barrier);
  warp.release();
}

void Block::completePhaseIfDone(Mbarrier &barrier) {
  if (barrier.pending != 0 || barrier.txCount != 0)
    return;
  ++barrier.phase;
  barrier.pending = barrier.expected;
  barrier.received = 0;
  barrier.published.merge(barrier.arriving);
  barrier.arriving = {};
}

/// Bytes that an asynchronous copy has brought. More than expected, with all arrivals in, can never be put right.
void Block::receive(Warp &warp, const Instr &instr, Mbarrier &barrier, int64_t bytes, int lane) {
  progress();
  barrier.txCount -= bytes;
  barrier.received += bytes;
  if (barrier.txCount < 0 && barrier.pending == 0)
    warp.report(FindingKind::ByteCount, instr,
                "the mbarrier at " + sharedName(barrier.address) + " has received " + std::to_string(barrier.received) +
                    " bytes in phase " + std::to_string(barrier.phase) + ", but expect_tx announced " +
                    std::to_string(barrier.received + barrier.txCount),
                1u << lane);
  completePhaseIfDone(barrier);
}

} // namespace quant::sim
