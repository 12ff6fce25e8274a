//===- machine.h - a block of threads, running -----------------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_TOOLS_QUANT_SIM_MACHINE_MACHINE_H
#define QUANT_TOOLS_QUANT_SIM_MACHINE_MACHINE_H

#include "tools/quant-sim/machine/finding.h"
#include "tools/quant-sim/machine/memory.h"
#include "tools/quant-sim/machine/program.h"
#include "tools/quant-sim/machine/shadow.h"

#include <atomic>
#include <cstdio>
#include <cstring>
#include <list>
#include <map>

namespace quant::sim {

/// What all blocks of a launch share.
struct LaunchContext {
  const Program &program;
  std::array<uint32_t, 3> grid, block, cluster;
  uint64_t dynamicShared = 0;
  std::vector<std::byte> params;
  GlobalMemory memory;
  FindingSink findings;
  /// Options::check and strict.
  bool check = true, strict = false;
  /// Instructions a warp may execute in one block.
  uint64_t maxSteps = 0;
  /// What to print of a run: any of "instructions", "barriers", "tma", "wgmma".
  bool traceInstructions = false, traceBarriers = false, traceTma = false, traceWgmma = false;
  /// Serialises atomics on global memory.
  std::mutex atomics;
  /// Blocks in which a thread has executed griddepcontrol.wait.
  std::atomic<uint64_t> waitedBlocks = 0;
  /// A finding has ended the run.
  std::atomic<bool> stopped = false;
};

class Block;
class Cluster;

/// An mbarrier object (PTX ISA, "Parallel Synchronization and Communication Instructions: mbarrier").
struct Mbarrier {
  /// The block whose shared memory holds it, and where.
  Block *block = nullptr;
  uint64_t address = 0;
  uint32_t expected = 0, pending = 0, phase = 0;
  int64_t txCount = 0;
  /// Bytes that arrived in this phase, for messages.
  int64_t received = 0;
  /// Its channel of TMA loads.
  uint16_t channel = 0;
  /// Of the warp that has initialised it.
  uint16_t initChannel = 0;
  uint32_t initClock = 0, initPc = 0;
  bool initFenced = false;
  Knowledge arriving, published;
};

/// A named barrier (`bar`, `barrier`).
struct NamedBarrier {
  uint32_t expected = 0, arrived = 0, generation = 0;
  /// The count is that of the block: warps that exit do not have to arrive.
  bool wholeBlock = false;
  uint32_t warps = 0;
  Knowledge arriving, published;
};

/// Lanes of a warp at one place. Lanes that a branch parts are groups until they meet at its post-dominator.
struct Group {
  uint32_t mask = 0, pc = 0;
  /// Indices of Warp::meetings, outermost first.
  std::vector<uint32_t> meetings;
  /// The instruction at pc has been tried before, and could not go on.
  bool waiting = false;
  /// At a named barrier: it has arrived at that generation.
  bool arrived = false;
  uint32_t generation = 0;
  /// At a warp-wide operation: the lanes that want to execute it.
  uint32_t syncMask = 0;
  /// The try_wait that has answered no.
  uint32_t failedTry = kNowhere;
  /// What it waits for, in words; filled in when a deadlock is to be explained.
  std::string waitsFor;
  FindingKind waitKind = FindingKind::Deadlock;
};

/// Where parted lanes meet.
struct Meeting {
  uint32_t pc = 0, members = 0, present = 0;
  std::vector<uint32_t> outer;
};

/// Bulk stores of one thread.
struct BulkGroups {
  uint16_t channel = 0;
  uint32_t committed = 0, open = 0, readWaited = 0;
  uint32_t lastPc = 0;
};

class Warp {
public:
  Warp(Block &block, uint32_t index, uint32_t lanes);

  uint64_t *row(int32_t slot) { return rows.data() + size_t(slot) * kWarpLanes; }
  uint32_t &predicate(int32_t slot) { return predicates[slot]; }
  int32_t listed(const Instr &instr, uint32_t i) const;
  /// The address an instruction with a memory operand uses in a lane: op[slot] + imm[0].
  uint64_t address(const Instr &instr, int lane, int operand = 1) {
    return row(instr.op[operand])[lane] + static_cast<uint64_t>(instr.imm[0]);
  }
  /// Runs every group until it waits, yields or has run long enough. True if one has run long enough.
  bool run();
  bool done() const { return live == 0; }
  void exitLanes(uint32_t mask);
  /// Waits until all live lanes of `members` are at this instruction; then `together` are those to execute it for.
  bool gather(uint32_t mask, uint32_t members, uint32_t &together);
  Access access(const Instr &instr) const;
  /// `mask`: the lanes it is about; the first is named. 0: the whole warp.
  void report(FindingKind kind, const Instr &instr, std::string message, uint32_t mask = 0);
  /// Counts a finding that has been reported for this instruction before, whose message then need not be made; else false.
  bool reportAgain(FindingKind kind, const Instr &instr);
  /// Step::Wait, having said for what if anybody wants to know.
  template <typename F>
  Step wait(F describe, FindingKind kind = FindingKind::Deadlock);
  /// What this warp has done so far happens before what others do after they hear of it.
  void release() { known.seen.raise(channel, known.seen.get(channel) + 1); }
  /// `lanes` go on behind what others have done.
  void learn(const Knowledge &other, uint32_t lanes) {
    known.merge(other);
    gridWaited |= other.gridWaited ? lanes : 0;
  }
  /// A finding unless the lane may touch that memory already.
  void checkDependence(const Instr &instr, const Allocation &allocation, int lane) {
    if (allocation.dependent && !(gridWaited >> lane & 1))
      reportEarly(instr, allocation, lane);
  }
  uint32_t pcOf(const Instr &instr) const;

  Block &block;
  const uint32_t index;
  /// Its component of the clocks.
  const uint16_t channel;
  uint32_t live;
  Group *current = nullptr;
  Knowledge known;
  /// Lanes behind a griddepcontrol.wait, their own or that of a thread they are ordered behind.
  uint32_t gridWaited = 0;
  std::vector<std::byte> local;
  std::map<int, BulkGroups> bulk;
  /// cp.async: its clock component, and groups committed so far. The lanes of a warp count together.
  uint16_t copyChannel = 0;
  uint32_t copiesCommitted = 0;
  /// Lanes that have arrived at the cluster's barrier and not yet waited, and at which generation of it.
  uint32_t clusterArrived = 0;
  std::array<uint32_t, kWarpLanes> clusterGeneration = {};
  /// The clock at the last fence.mbarrier_init.
  uint32_t initsFenced = 0;
  /// What the last fence releases by a relaxed arrival after it, and what relaxed waits have heard for a fence to acquire.
  Knowledge released, heard;
  /// wgmma: group that is open (counting committed ones), waited for, fences so far.
  uint32_t wgmmaOpen = 0, wgmmaCommitted = 0, wgmmaWaited = 0, wgmmaIssued = 0, wgmmaFences = 0;
  bool wgmmaAny = false;
  /// That of the warpgroup: its four warps commit the same groups.
  uint16_t wgmmaChannel = 0;
  /// By slot: 1 + the wgmma group that has it in flight, 0: none; the last fence count at which it was written, plus 1.
  std::vector<uint32_t> inFlight, writtenAt;
  int32_t registers = 0;
  uint32_t registersSet = 0;
  uint64_t steps = 0;
  /// A list: groups stay where they are when others come and go.
  std::list<Group> groups;

private:
  enum class Ran : uint8_t { Waits, LongEnough, Gone };
  Ran runGroup(Group &group);
  bool meet(Group &group);
  bool branch(Group &group, const Instr &instr, uint32_t taken);
  Step execute(Group &group, const Instr &instr, uint32_t mask);
  void checkRegisters(const Instr &instr);
  void checkAligned(const Instr &instr, uint32_t mask);
  void reportEarly(const Instr &instr, const Allocation &allocation, int lane);

  std::vector<uint64_t> rows;
  std::vector<uint32_t> predicates;
  std::vector<Meeting> meetings;
};

/// A wgmma or setmaxnreg as one warp issued it: the others of its warpgroup must issue the same.
struct WarpgroupIssue {
  uint32_t pc;
  uint64_t a, b;
};

/// What an access reaches; null after a finding. In shared memory `block` is whose, and `offset` where.
struct Place {
  std::byte *host = nullptr;
  Block *block = nullptr;
  uint64_t offset = 0;
  explicit operator bool() const { return host != nullptr; }
};

class Block {
public:
  Block(Cluster &cluster, std::array<uint32_t, 3> id, uint32_t rank);

  /// Where an access of `bytes` lands, or a finding: out of bounds, misaligned, read-only.
  Place resolve(Warp &warp, const Instr &instr, Space space, uint64_t address, uint64_t bytes, int lane, bool write);
  /// The same within shared memory, whose owner does not hear of it; Space::Shared reaches this block's, SharedCluster all.
  Place resolveShared(Warp &warp, const Instr &instr, Space space, uint64_t address, uint64_t bytes, int lane);
  /// Splits a generic address into space and address within.
  static Space spaceOf(uint64_t &address);
  /// Notes that a warp of another block touches this block's shared memory; false after a finding that ends the run.
  bool touchRemotely(Warp &warp, const Instr &instr, const Access &access, int lane);

  // Checks of shared memory; `access` says in whose name. Warps that all execute one store of one value, so that it changes
  // nothing after the first, race in strict alone.
  void readShared(Warp &warp, const Instr &instr, uint64_t address, uint64_t bytes, const Access &access, int lane);
  void writeShared(Warp &warp, const Instr &instr, uint64_t address, uint64_t bytes, const Access &access, int lane,
                   bool changesNothing = false);

  // mbarrier.cpp
  Mbarrier *mbarrier(Warp &warp, const Instr &instr, Space space, uint64_t address, int lane);
  /// The mbarrier at that offset of this block's shared memory.
  Mbarrier *mbarrierAt(Warp &warp, const Instr &instr, uint64_t offset, int lane);
  /// `relaxed`: it releases what a fence before has released, no more.
  void arrive(Warp &warp, const Instr &instr, Mbarrier &barrier, uint32_t count, int lane, bool relaxed = false);
  void completePhaseIfDone(Mbarrier &barrier);
  void receive(Warp &warp, const Instr &instr, Mbarrier &barrier, int64_t bytes, int lane);

  void report(FindingKind kind, const Instr *instr, int thread, std::string message);
  /// "dynamic_shared_memory+199168".
  std::string sharedName(uint64_t address) const;
  std::string siteName(uint32_t pc) const;
  void progress();
  /// Lanes of the warp have ended.
  void lanesExited(const Warp &warp);
  bool done() const { return liveWarps == 0; }

  Cluster &cluster;
  LaunchContext &launch;
  const Program &program;
  const std::array<uint32_t, 3> id;
  /// In its cluster.
  const uint32_t rank;
  const uint32_t threads;
  std::vector<std::byte> shared;
  Shadow shadow;
  /// By 16 bytes: the swizzle with which a TMA load has written them, kNoLayout if something else has.
  std::vector<uint8_t> layouts;
  static constexpr uint8_t kNoLayout = 0xff;
  std::map<uint64_t, Mbarrier> mbarriers;
  std::array<NamedBarrier, 16> named;
  std::vector<Warp> warps;
  /// By warpgroup.
  std::vector<std::vector<WarpgroupIssue>> wgmmaIssues, registerIssues;
  int64_t freeRegisters = 0;
  /// A thread has executed griddepcontrol.wait.
  bool gridWaited = false;

private:
  Place touched(Warp &warp, const Instr &instr, Place place, int lane);

  uint32_t liveWarps = 0;
  /// What the warps that have ended knew, and by channel the last access of others to this block's shared memory.
  Clock knownAtExit;
  std::map<uint16_t, Access> remote;
};

/// The blocks that run at the same time and reach each other's shared memory; without clusters, one.
class Cluster {
public:
  /// `index`: which of the launch's clusters, x first.
  Cluster(LaunchContext &launch, uint64_t index);
  ~Cluster();
  void run();
  uint64_t steps() const;
  uint16_t newChannel() { return channels++; }
  void progress() { ++progressed; }
  /// All threads that still run have arrived at barrier.cluster: its next generation begins.
  void completeBarrierIfDone();
  /// Threads that have arrived there, and that have to.
  std::pair<uint32_t, uint32_t> arrivals() const;

  LaunchContext &launch;
  /// By rank.
  std::vector<std::unique_ptr<Block>> blocks;
  /// A finding has ended the run.
  bool stopped = false;
  /// A try_wait may give up now: nothing else can move.
  bool timeLimitOver = false;
  /// Waiting groups say what for.
  bool explaining = false;
  uint32_t barrierGeneration = 0;
  Knowledge arriving, published;

private:
  bool runOnce(bool &alive);
  void reportDeadlock();

  uint64_t progressed = 0;
  uint16_t channels = 0;
};

inline void Block::progress() { cluster.progress(); }

template <typename F>
Step Warp::wait(F describe, FindingKind kind) {
  if (block.cluster.explaining) {
    current->waitsFor = describe();
    current->waitKind = kind;
  }
  return Step::Wait;
}

/// Calls `body(lane)` for every lane of `mask`.
template <typename F>
inline void forLanes(uint32_t mask, F body) {
  for (; mask; mask &= mask - 1)
    body(__builtin_ctz(mask));
}

} // namespace quant::sim

#endif // QUANT_TOOLS_QUANT_SIM_MACHINE_MACHINE_H
