//===- isa_barrier.cpp - named barriers ------------------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

//
// PTX ISA, "Parallel Synchronization and Communication Instructions: bar, barrier, barrier.cluster".
//
//===----------------------------------------------------------------------===//

#include "tools/quant-sim/isa/lanes.h"

#include <fmt/core.h>

namespace quant::sim {

void decodeWarpSync(Decoder &d); // isa_warp.cpp

namespace {

constexpr uint32_t kNamedBarriers = 16;

uint32_t expectedOf(const NamedBarrier &barrier, const Block &block) {
  if (!barrier.wholeBlock)
    return barrier.expected;
  uint32_t warps = 0;
  for (const Warp &warp : block.warps)
    warps += !warp.done();
  return warps * kWarpLanes;
}

void completeIfDone(NamedBarrier &barrier, Block &block) {
  if (barrier.arrived == 0 || barrier.arrived < expectedOf(barrier, block))
    return;
  ++barrier.generation;
  barrier.arrived = barrier.expected = 0;
  barrier.published.merge(barrier.arriving);
  barrier.arriving = {};
  block.progress();
}

/// A warp arrives. `count` 0: the barrier is for the whole block. False after a finding that ends the block.
bool arriveAt(Warp &warp, const Instr &instr, uint32_t id, uint32_t count, bool wholeBlock) {
  Block &block = warp.block;
  auto refuse = [&](std::string message) {
    warp.report(FindingKind::BarrierCount, instr, std::move(message));
    return false;
  };
  if (id >= kNamedBarriers)
    return refuse(fmt::format("barrier {}, but there are 16", id));
  if (!wholeBlock && (count == 0 || count % kWarpLanes))
    return refuse(fmt::format("a barrier for {} threads, which is no multiple of 32", count));
  NamedBarrier &barrier = block.named[id];
  bool isFirst = barrier.arrived == 0;
  if (!isFirst && (barrier.wholeBlock != wholeBlock || (!wholeBlock && barrier.expected != count)))
    return refuse(fmt::format("barrier {} for {} threads, but others wait there for {}", id, count, expectedOf(barrier, block)));
  barrier.wholeBlock = wholeBlock;
  barrier.expected = count;
  barrier.arrived += kWarpLanes;
  barrier.arriving.merge(warp.known);
  if (block.launch.traceBarriers)
    std::fprintf(stderr, "block %u warp %u arrives at barrier %u: %u of %u\n", block.id[0], warp.index, id, barrier.arrived,
                 expectedOf(barrier, block));
  block.progress();
  completeIfDone(barrier, block);
  warp.release();
  return true;
}

/// Waits for the end of the generation at which the group has arrived.
Step waitAt(Warp &warp, uint32_t mask, uint32_t id, uint32_t generation) {
  NamedBarrier &barrier = warp.block.named[id];
  if (barrier.generation == generation)
    completeIfDone(barrier, warp.block);
  if (barrier.generation == generation)
    return warp.wait([&] {
      return fmt::format("barrier {}, where {} of {} threads have arrived", id, barrier.arrived, expectedOf(barrier, warp.block));
    });
  warp.current->arrived = false;
  warp.learn(barrier.published, mask);
  return Step::Next;
}

/// op[0]: the barrier; op[1]: its thread count, -1 for the block's. imm[0]: wait as well.
Step namedBarrier(Warp &warp, const Instr &instr, uint32_t mask) {
  int lane = __builtin_ctz(mask);
  uint32_t id = static_cast<uint32_t>(warp.row(instr.op[0])[lane]);
  uint32_t count = instr.op[1] < 0 ? 0 : static_cast<uint32_t>(warp.row(instr.op[1])[lane]);
  if (!warp.current->arrived) {
    if (id < kNamedBarriers)
      warp.current->generation = warp.block.named[id].generation;
    if (!arriveAt(warp, instr, id, count, instr.op[1] < 0))
      return Step::Stop;
    warp.current->arrived = instr.imm[0];
  }
  return instr.imm[0] ? waitAt(warp, mask, id, warp.current->generation) : Step::Next;
}

//===----------------------------------------------------------------------===//
// barrier.cluster
//===----------------------------------------------------------------------===//

/// imm[0]: relaxed. Then others learn that this thread has begun, and of what a fence before has released, no more.
Step arriveAtCluster(Warp &warp, const Instr &instr, uint32_t mask) {
  Cluster &cluster = warp.block.cluster;
  if (warp.clusterArrived & mask)
    warp.report(FindingKind::BarrierCount, instr, "a second barrier.cluster.arrive without a barrier.cluster.wait between",
                warp.clusterArrived & mask);
  warp.clusterArrived |= mask;
  forLanes(mask, [&](int lane) { warp.clusterGeneration[lane] = cluster.barrierGeneration; });
  if (instr.imm[0]) {
    cluster.arriving.merge(warp.released);
    cluster.arriving.inits.raise(warp.channel, std::max(warp.initsFenced, 1u));
  } else
    cluster.arriving.merge(warp.known);
  if (cluster.launch.traceBarriers) {
    auto [arrived, wanted] = cluster.arrivals();
    std::fprintf(stderr, "block %u warp %u arrives at the cluster's barrier: %u of %u\n", warp.block.id[0], warp.index, arrived,
                 wanted);
  }
  cluster.progress();
  cluster.completeBarrierIfDone();
  warp.release();
  return Step::Next;
}

Step waitForCluster(Warp &warp, const Instr &instr, uint32_t mask) {
  Cluster &cluster = warp.block.cluster;
  if (mask & ~warp.clusterArrived) {
    warp.report(FindingKind::BarrierCount, instr, "a barrier.cluster.wait without a barrier.cluster.arrive before",
                mask & ~warp.clusterArrived);
    return Step::Stop;
  }
  cluster.completeBarrierIfDone();
  bool done = true;
  forLanes(mask, [&](int lane) { done &= warp.clusterGeneration[lane] != cluster.barrierGeneration; });
  if (!done)
    return warp.wait([&] {
      auto [arrived, wanted] = cluster.arrivals();
      return fmt::format("the cluster's barrier, where {} of {} threads have arrived", arrived, wanted);
    });
  warp.clusterArrived &= ~mask;
  warp.learn(cluster.published, mask);
  return Step::Next;
}

void decodeClusterBarrier(Decoder &d) {
  bool wait = d.require({"arrive", "wait"}) == "wait";
  std::string_view order = wait ? d.takeOne({"acquire"}) : d.takeOne({"release", "relaxed"});
  d.instr.aligned = d.take("aligned");
  d.instr.imm[0] = order == "relaxed";
  d.count(0);
  d.exec(wait ? waitForCluster : arriveAtCluster);
}

//===----------------------------------------------------------------------===//
// Decoding
//===----------------------------------------------------------------------===//

void decodeBarrier(Decoder &d) {
  bool isBar = d.base == "bar";
  if (d.take("cluster"))
    return decodeClusterBarrier(d);
  d.take("cta");
  if (isBar && d.take("warp"))
    return decodeWarpSync(d);
  bool sync = d.require({"sync", "arrive"}) == "sync";
  d.instr.aligned = d.take("aligned") || isBar;
  d.count(sync ? 1 : 2, 2);
  d.read(0, 0, Type::B32);
  if (d.operandCount() > 1)
    d.read(1, 1, Type::B32);
  d.instr.imm[0] = sync;
  d.exec(namedBarrier);
}

} // namespace

void addBarrierInstructions(DecodeTable &table) {
  table["bar"] = decodeBarrier;
  table["barrier"] = decodeBarrier;
}

} // namespace quant::sim
