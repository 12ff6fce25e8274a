//===- cluster.cpp - runs the blocks of a cluster ---------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/quant-sim/machine/machine.h"

namespace quant::sim {

/// Rounds in which nothing happens before a cluster counts as dead; from the first on, try_wait gives up.
constexpr int kIdleRounds = 6;

Cluster::Cluster(LaunchContext &launch, uint64_t index) : launch(launch) {
  std::array<uint32_t, 3> first;
  for (size_t i = 0; i < 3; ++i) {
    uint32_t clusters = launch.grid[i] / launch.cluster[i];
    first[i] = static_cast<uint32_t>(index % clusters) * launch.cluster[i];
    index /= clusters;
  }
  uint32_t rank = 0;
  for (uint32_t z = 0; z < launch.cluster[2]; ++z)
    for (uint32_t y = 0; y < launch.cluster[1]; ++y)
      for (uint32_t x = 0; x < launch.cluster[0]; ++x)
        blocks.push_back(
            std::make_unique<Block>(*this, std::array<uint32_t, 3>{first[0] + x, first[1] + y, first[2] + z}, rank++));
}

Cluster::~Cluster() = default;

/// Lets every warp run until it waits. True if one could run on; `alive`: there are warps.
bool Cluster::runOnce(bool &alive) {
  bool busy = false;
  for (auto &block : blocks)
    for (Warp &warp : block->warps) {
      if (warp.done())
        continue;
      alive = true;
      busy |= warp.run();
      if (stopped)
        return busy;
    }
  return busy;
}

void Cluster::run() {
  for (int idle = 0; !stopped;) {
    uint64_t before = progressed;
    bool alive = false, busy = runOnce(alive);
    if (!alive)
      break;
    idle = progressed == before && !busy ? idle + 1 : 0;
    timeLimitOver = idle > 0;
    explaining = idle >= kIdleRounds;
    if (idle > kIdleRounds) {
      stopped = true;
      return reportDeadlock();
    }
  }
}

uint64_t Cluster::steps() const {
  uint64_t steps = 0;
  for (const auto &block : blocks)
    for (const Warp &warp : block->warps)
      steps += warp.steps;
  return steps;
}

namespace {
/// Who waits at one instruction of a dead cluster.
struct Waiting {
  const Group *first = nullptr;
  const Warp *warp = nullptr;
  std::vector<std::string> warps;
};
} // namespace

/// One finding for each instruction at which lanes wait, and each kind of what they lack there.
void Cluster::reportDeadlock() {
  std::map<std::pair<uint32_t, FindingKind>, Waiting> waiting;
  for (auto &block : blocks)
    for (Warp &warp : block->warps)
      for (const Group &group : warp.groups) {
        Waiting &at = waiting[{group.pc, group.waitKind}];
        std::string name = std::to_string(warp.index) + (blocks.size() > 1 ? " of rank " + std::to_string(block->rank) : "");
        if (at.warps.empty() || at.warps.back() != name)
          at.warps.push_back(name);
        if (!at.first || at.first->waitsFor.empty()) {
          at.first = &group;
          at.warp = &warp;
        }
      }
  for (const auto &[place, at] : waiting) {
    std::string message = "nothing can move any more, and warp" + std::string(at.warps.size() > 1 ? "s " : " ");
    for (size_t i = 0; i < at.warps.size(); ++i)
      message += (i ? ", " : "") + at.warps[i];
    message += at.warps.size() > 1 ? " wait for " : " waits for ";
    message += at.first->waitsFor.empty() ? "something that never happens" : at.first->waitsFor;
    const Instr *instr = place.first < launch.program.code.size() ? &launch.program.code[place.first] : nullptr;
    int lane = __builtin_ctz(at.first->mask ? at.first->mask : 1);
    at.warp->block.report(place.second, instr, static_cast<int>(at.warp->index * kWarpLanes) + lane, std::move(message));
  }
}

//===----------------------------------------------------------------------===//
// barrier.cluster
//===----------------------------------------------------------------------===//

std::pair<uint32_t, uint32_t> Cluster::arrivals() const {
  uint32_t arrived = 0, wanted = 0;
  for (const auto &block : blocks)
    for (const Warp &warp : block->warps) {
      wanted += static_cast<uint32_t>(__builtin_popcount(warp.live));
      forLanes(warp.live & warp.clusterArrived, [&](int lane) { arrived += warp.clusterGeneration[lane] == barrierGeneration; });
    }
  return {arrived, wanted};
}

void Cluster::completeBarrierIfDone() {
  auto [arrived, wanted] = arrivals();
  if (arrived == 0 || arrived < wanted)
    return;
  ++barrierGeneration;
  published.merge(arriving);
  arriving = {};
  progress();
}

} // namespace quant::sim
