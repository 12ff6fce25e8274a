//===- block_memory.cpp - a block's view of memory ---------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/quant-sim/machine/machine.h"

#include <fmt/core.h>

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

Place Block::resolveShared(Warp &warp, const Instr &instr, Space space, uint64_t address, uint64_t bytes, int lane) {
  uint64_t offset = address & ((uint64_t(1) << kRankShift) - 1), owner = (address & (kWindowBytes - 1)) >> kRankShift;
  auto refuse = [&](FindingKind kind, std::string message) -> Place {
    warp.report(kind, instr, std::move(message), 1u << lane);
    cluster.stopped = true;
    return {};
  };
  if (owner > cluster.blocks.size())
    return refuse(FindingKind::OutOfBounds,
                  fmt::format("shared address {}, which is in no block of the cluster", address & (kWindowBytes - 1)));
  Block &block = owner == 0 ? *this : *cluster.blocks[owner - 1];
  if (&block != this && space == Space::Shared)
    return refuse(
        FindingKind::ClusterUse,
        fmt::format("an address in the block of rank {}, but .shared::cta reaches a block's own shared memory only", block.rank));
  if (offset < kSharedBegin || offset > shared.size() || bytes > shared.size() - offset)
    return refuse(FindingKind::OutOfBounds, fmt::format("{} bytes at shared address {}, but shared memory is [{}, {})", bytes,
                                                        offset, kSharedBegin, shared.size()));
  return {block.shared.data() + offset, &block, offset};
}

Place Block::touched(Warp &warp, const Instr &instr, Place place, int lane) {
  if (!place || place.block == this || place.block->touchRemotely(warp, instr, warp.access(instr), lane))
    return place;
  return {};
}

Place Block::resolve(Warp &warp, const Instr &instr, Space space, uint64_t address, uint64_t bytes, int lane, bool write) {
  auto refuse = [&](FindingKind kind, std::string message) -> Place {
    warp.report(kind, instr, std::move(message), 1u << lane);
    cluster.stopped = true;
    return {};
  };
  if (address % bytes)
    return refuse(FindingKind::Misaligned,
                  fmt::format("address {} of an access to {} bytes is not a multiple of that", address, bytes));
  if (space == Space::Generic) {
    space = spaceOf(address);
    space = space == Space::Shared ? Space::SharedCluster : space;
  }
  if (space == Space::Shared || space == Space::SharedCluster)
    return touched(warp, instr, resolveShared(warp, instr, space, address, bytes, lane), lane);
  if (space == Space::Param) {
    if (!write && address <= launch.params.size() && bytes <= launch.params.size() - address)
      return {launch.params.data() + address};
    return refuse(FindingKind::OutOfBounds, write ? "a write to the parameters" : "a read past the parameters");
  }
  if (space == Space::Local) {
    if (address <= program.localBytes && bytes <= program.localBytes - address)
      return {warp.local.data() + lane * program.localBytes + address};
    return refuse(FindingKind::OutOfBounds, "past the end of local memory");
  }
  const Allocation *at = launch.memory.find(address, bytes);
  if (at && (at->writable || !write)) {
    warp.checkDependence(instr, *at, lane);
    return {at->host + (address - at->address)};
  }
  if (at)
    return refuse(FindingKind::OutOfBounds, "a write to '" + at->name + "', which the kernel may only read");
  const Allocation *before = launch.memory.near(address);
  return refuse(FindingKind::OutOfBounds,
                fmt::format("{} bytes of global memory that belong to no buffer{}", bytes,
                            before ? ", " + std::to_string(address - before->address) + " from the start of '" + before->name +
                                         "' of " + std::to_string(before->bytes) + " bytes"
                                   : ""));
}

static FindingKind kindOf(Conflict conflict, bool write) {
  if (conflict == Conflict::NoFence)
    return FindingKind::MissingProxyFence;
  return conflict == Conflict::AsyncUnordered && write ? FindingKind::StageInUse : FindingKind::Race;
}

static std::string describe(const Block &block, Conflict conflict, const Access &earlier, bool earlierWrites, uint64_t address,
                            bool write) {
  std::string text =
      fmt::format("{}{}, which {}{}{}", write ? "writes " : "reads ", block.sharedName(address), block.siteName(earlier.pc),
                  earlierWrites ? " writes" : " reads", earlier.async ? " asynchronously" : "");
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
    if (warp.reportAgain(kindOf(conflict, false), instr))
      return;
    warp.report(kindOf(conflict, false), instr, describe(*this, conflict, earlier, writes, at, false), 1u << lane);
  });
}

void Block::writeShared(Warp &warp, const Instr &instr, uint64_t address, uint64_t bytes, const Access &access, int lane,
                        bool changesNothing) {
  progress();
  if (!launch.check)
    return;
  auto barrier = mbarriers.upper_bound(address - std::min<uint64_t>(address, 8));
  if (barrier != mbarriers.end() && barrier->first < address + bytes)
    warp.report(FindingKind::MbarrierUse, instr, "writes over the mbarrier at " + sharedName(barrier->first), 1u << lane);
  for (uint64_t chunk = address / 16; chunk < (address + bytes + 15) / 16; ++chunk)
    layouts[chunk] = kNoLayout;
  shadow.write(address, bytes, access, warp.known, [&](Conflict conflict, const Access &earlier, bool writes, uint64_t at) {
    bool isSameStore = writes && !earlier.async && earlier.pc == access.pc && changesNothing && !launch.strict;
    if (isSameStore || warp.reportAgain(kindOf(conflict, true), instr))
      return;
    warp.report(kindOf(conflict, true), instr, describe(*this, conflict, earlier, writes, at, true), 1u << lane);
  });
}

//===----------------------------------------------------------------------===//
// mbarriers
//===----------------------------------------------------------------------===//

Mbarrier *Block::mbarrier(Warp &warp, const Instr &instr, Space space, uint64_t address, int lane) {
  if (space == Space::Generic) {
    space = Space::SharedCluster;
    spaceOf(address);
  }
  Place place = touched(warp, instr, resolveShared(warp, instr, space, address, 0, lane), lane);
  return place ? place.block->mbarrierAt(warp, instr, place.offset, lane) : nullptr;
}

Mbarrier *Block::mbarrierAt(Warp &warp, const Instr &instr, uint64_t offset, int lane) {
  auto at = mbarriers.find(offset);
  if (at == mbarriers.end()) {
    warp.report(FindingKind::MbarrierUse, instr, "there is no initialised mbarrier at " + sharedName(offset), 1u << lane);
    cluster.stopped = true;
    return nullptr;
  }
  Mbarrier &barrier = at->second;
  uint32_t known = std::max(warp.known.seen.get(barrier.initChannel), warp.known.inits.get(barrier.initChannel));
  if (launch.check && barrier.initChannel != warp.channel && known < barrier.initClock)
    warp.report(FindingKind::MbarrierUse, instr,
                fmt::format("the mbarrier at {} is used before a barrier makes its initialisation in {} visible to this thread",
                            sharedName(offset), siteName(barrier.initPc)),
                1u << lane);
  return &barrier;
}

void Block::arrive(Warp &warp, const Instr &instr, Mbarrier &barrier, uint32_t count, int lane, bool relaxed) {
  progress();
  barrier.arriving.merge(relaxed ? warp.released : warp.known);
  if (count > barrier.pending) {
    warp.report(FindingKind::ArrivalCount, instr,
                fmt::format("an arrival at the mbarrier at {} in phase {} beyond the {} it expects",
                            barrier.block->sharedName(barrier.address), barrier.phase, barrier.expected),
                1u << lane);
    count = barrier.pending;
  }
  barrier.pending -= count;
  if (launch.traceBarriers)
    std::fprintf(stderr, "block %u thread %u arrives at %s phase %u: %u missing, %lld bytes missing\n", id[0],
                 warp.index * kWarpLanes + lane, barrier.block->sharedName(barrier.address).c_str(), barrier.phase,
                 barrier.pending, static_cast<long long>(barrier.txCount));
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
                fmt::format("the mbarrier at {} has received {} bytes in phase {}, but expect_tx announced {}",
                            barrier.block->sharedName(barrier.address), barrier.received, barrier.phase,
                            barrier.received + barrier.txCount),
                1u << lane);
  completePhaseIfDone(barrier);
}

} // namespace quant::sim
