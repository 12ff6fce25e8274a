//===- machine.h - a block of threads, running -----------------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_RUNTIME_DEVICE_SIM_MACHINE_H
#define QUANT_RUNTIME_DEVICE_SIM_MACHINE_H

#include "runtime/device/sim/finding.h"
#include "runtime/device/sim/memory.h"
#include "runtime/device/sim/program.h"
#include "runtime/device/sim/shadow.h"

#include <cstdio>
#include <cstring>
#include <list>
#include <map>

namespace quant::sim {

/// What all blocks of a launch share.
struct LaunchContext {
  const Program &program;
  std::array<uint32_t, 3> grid, block;
  uint64_t dynamicShared = 0;
  std::vector<std::byte> params;
  GlobalMemory memory;
  FindingSink findings;
  bool check = true;
  /// Instructions a warp may execute in one block.
  uint64_t maxSteps = 0;
  /// What to print of a run: any of "instructions", "barriers", "tma", "wgmma".
  bool traceInstructions = false, traceBarriers = false, traceTma = false, traceWgmma = false;
  /// Serialises atomics on global memory.
  std::mutex atomics;
};

/// An mbarrier object (PTX ISA, "Parallel Synchronization and Communication Instructions: mbarrier").
struct Mbarrier {
  uint64_t address = 0;
  uint32_t expected = 0, pending = 0, phase = 0;
  int64_t txCount = 0;
  /// Bytes that arrived in this phase, for messages.
  int64_t received = 0;
  /// Its channel of TMA loads.
  uint16_t channel = 0;
  uint32_t initWarp = 0, initClock = 0, initPc = 0;
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
  /// The generation of the cluster's barrier at which it has arrived last.
  uint32_t clusterGeneration = 0;
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

class Block;

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
  /// Step::Wait, having said for what if anybody wants to know.
  template <typename F>
  Step wait(F describe, FindingKind kind = FindingKind::Deadlock);
  /// What this warp has done so far happens before what others do after they hear of it.
  void release() { known.seen.raise(index, known.seen.get(index) + 1); }
  uint32_t pcOf(const Instr &instr) const;

  Block &block;
  const uint32_t index;
  uint32_t live;
  Group *current = nullptr;
  Knowledge known;
  std::vector<std::byte> local;
  std::map<int, BulkGroups> bulk;
  /// wgmma: group that is open (counting committed ones), waited for, fences so far.
  uint32_t wgmmaOpen = 0, wgmmaCommitted = 0, wgmmaWaited = 0, wgmmaIssued = 0, wgmmaFences = 0;
  bool wgmmaAny = false;
  uint16_t wgmmaChannel = 0;
  /// By slot: 1 + the wgmma group that has it in flight, 0: none; the last fence count at which it was written, plus 1.
  std::vector<uint32_t> inFlight, writtenAt;
  int32_t registers = 0;
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

  std::vector<uint64_t> rows;
  std::vector<uint32_t> predicates;
  std::vector<Meeting> meetings;
};

/// A wgmma as one warp issued it: the others of its warpgroup must issue the same.
struct WgmmaIssue {
  uint32_t pc;
  uint64_t a, b;
};

class Block {
public:
  Block(LaunchContext &launch, std::array<uint32_t, 3> id);
  void run();

  /// Where an access of `bytes` lands, or null after a finding: out of bounds, misaligned, read-only.
  std::byte *resolve(Warp &warp, const Instr &instr, Space space, uint64_t address, uint64_t bytes, int lane, bool write);
  std::byte *resolveShared(Warp &warp, const Instr &instr, uint64_t address, uint64_t bytes, int lane);
  /// Splits a generic address into space and address within.
  static Space spaceOf(uint64_t &address);

  // Checks of shared memory; `access` says in whose name.
  void readShared(Warp &warp, const Instr &instr, uint64_t address, uint64_t bytes, const Access &access, int lane);
  void writeShared(Warp &warp, const Instr &instr, uint64_t address, uint64_t bytes, const Access &access, int lane);

  // mbarrier.cpp
  Mbarrier *mbarrier(Warp &warp, const Instr &instr, uint64_t address, int lane);
  void arrive(Warp &warp, const Instr &instr, Mbarrier &barrier, uint32_t count, int lane);
  void completePhaseIfDone(Mbarrier &barrier);
  void receive(Warp &warp, const Instr &instr, Mbarrier &barrier, int64_t bytes, int lane);

  void report(FindingKind kind, const Instr *instr, int thread, std::string message);
  /// "dynamic_shared_memory+199168".
  std::string sharedName(uint64_t address) const;
  std::string siteName(uint32_t pc) const;
  void progress() { ++progressed; }
  uint16_t newChannel() { return channels++; }

  LaunchContext &launch;
  const Program &program;
  const std::array<uint32_t, 3> id;
  const uint32_t threads;
  std::vector<std::byte> shared;
  Shadow shadow;
  /// By 16 bytes: the swizzle with which a TMA load has written them, kNoLayout if something else has.
  std::vector<uint8_t> layouts;
  static constexpr uint8_t kNoLayout = 0xff;
  std::map<uint64_t, Mbarrier> mbarriers;
  /// The 16 that a kernel names, and the cluster's.
  std::array<NamedBarrier, 17> named;
  std::vector<Warp> warps;
  std::vector<std::vector<WgmmaIssue>> wgmmaIssues;
  int64_t freeRegisters = 0;
  bool stopped = false;
  /// A try_wait may give up now: nothing else can move.
  bool timeLimitOver = false;
  /// Waiting groups say what for.
  bool explaining = false;

private:
  void reportDeadlock();

  uint64_t progressed = 0;
  uint16_t channels = 0;
};

template <typename F>
Step Warp::wait(F describe, FindingKind kind) {
  if (block.explaining) {
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

#endif // QUANT_RUNTIME_DEVICE_SIM_MACHINE_H
