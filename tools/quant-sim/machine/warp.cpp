//===- warp.cpp - runs 32 threads ------------------------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/quant-sim/machine/machine.h"

#include <fmt/core.h>

namespace quant::sim {

namespace {

constexpr int kQuantum = 4096;

/// The value of a special register in a lane; Decoder knows the same names.
uint64_t specialValue(const std::string &name, const Block &block, uint32_t warp, uint32_t lane) {
  uint32_t thread = warp * kWarpLanes + lane;
  const auto &size = block.launch.block;
  std::array<uint32_t, 3> place = {thread % size[0], thread / size[0] % size[1], thread / size[0] / size[1]};
  size_t axis = name.size() > 2 && name[name.size() - 2] == '.' ? name.back() - 'x' : 0;
  std::string base = name.substr(0, name.find('.'));
  if (base == "%tid")
    return place[axis];
  if (base == "%ntid")
    return size[axis];
  const auto &cluster = block.launch.cluster;
  if (base == "%ctaid")
    return block.id[axis];
  if (base == "%clusterid")
    return block.id[axis] / cluster[axis];
  if (base == "%cluster_ctaid")
    return block.id[axis] % cluster[axis];
  if (base == "%cluster_ctarank")
    return block.rank;
  if (base == "%nctaid")
    return block.launch.grid[axis];
  if (base == "%nclusterid")
    return block.launch.grid[axis] / cluster[axis];
  if (base == "%cluster_nctaid")
    return cluster[axis];
  if (base == "%cluster_nctarank")
    return cluster[0] * cluster[1] * cluster[2];
  if (base == "%nsmid")
    return 1;
  if (base == "%laneid")
    return lane;
  if (base == "%warpid")
    return warp;
  if (base == "%nwarpid")
    return (block.threads + kWarpLanes - 1) / kWarpLanes;
  if (base == "%lanemask_eq")
    return 1u << lane;
  if (base == "%lanemask_lt" || base == "%lanemask_le")
    return ((1u << lane) - 1) | (base == "%lanemask_le" ? 1u << lane : 0);
  if (base == "%lanemask_ge" || base == "%lanemask_gt")
    return ~((1u << lane) - 1) & ~(base == "%lanemask_gt" ? 1u << lane : 0);
  if (base == "%dynamic_smem_size")
    return block.launch.dynamicShared;
  if (base == "%total_smem_size")
    return block.shared.size();
  return 0; // %smid, %gridid.
}

} // namespace

Warp::Warp(Block &block, uint32_t index, uint32_t lanes)
    : block(block), index(index), channel(block.cluster.newChannel()), live(lanes), inFlight(block.program.slots.size()),
      writtenAt(block.program.slots.size()), rows(block.program.slots.size() * kWarpLanes), predicates(block.program.predicates) {
  for (size_t slot = 0; slot < block.program.slots.size(); ++slot) {
    const SlotInit &init = block.program.slots[slot];
    for (uint32_t lane = 0; lane < kWarpLanes; ++lane)
      if (init.kind != SlotInit::Kind::Register)
        row(static_cast<int32_t>(slot))[lane] =
            init.kind == SlotInit::Kind::Constant ? init.value : specialValue(init.special, block, index, lane);
  }
  local.resize(block.program.localBytes * kWarpLanes);
  groups.emplace_back().mask = lanes;
  // 1 stands for having begun.
  known.seen.raise(channel, 2);
}

int32_t Warp::listed(const Instr &instr, uint32_t i) const { return block.program.lists[instr.list + i]; }

uint32_t Warp::pcOf(const Instr &instr) const { return static_cast<uint32_t>(&instr - block.program.code.data()); }

Access Warp::access(const Instr &instr) const {
  return {.clock = known.seen.get(channel), .pc = pcOf(instr), .channel = channel, .async = false, .bytes = 0};
}

void Warp::report(FindingKind kind, const Instr &instr, std::string message, uint32_t mask) {
  int lane = mask ? __builtin_ctz(mask) : live ? __builtin_ctz(live) : 0;
  block.report(kind, &instr, static_cast<int>(index * kWarpLanes) + lane, std::move(message));
}

void Warp::reportEarly(const Instr &instr, const Allocation &allocation, int lane) {
  if (!reportAgain(FindingKind::EarlyAccess, instr))
    report(FindingKind::EarlyAccess, instr,
           "touches '" + allocation.name +
               "', which the kernel in front may still use: griddepcontrol.wait must come first, or the " +
               "recipe call the operand early if it is a constant",
           1u << lane);
}

bool Warp::reportAgain(FindingKind kind, const Instr &instr) {
  return block.launch.findings.addAgain(kind, block.program.function->body[instr.statement].line);
}

/// If lanes wait for others where the group stands, it joins them: true if it is not a group of its own any more.
bool Warp::meet(Group &group) {
  while (!group.meetings.empty() && meetings[group.meetings.back()].pc == group.pc) {
    Meeting &meeting = meetings[group.meetings.back()];
    meeting.present |= group.mask;
    if (meeting.present != meeting.members)
      return true;
    block.progress();
    group.mask = meeting.members;
    meeting = {};
    group.meetings.pop_back();
  }
  return false;
}

void Warp::exitLanes(uint32_t mask) {
  live &= ~mask;
  block.progress();
  for (Meeting &meeting : meetings) {
    meeting.members &= ~mask;
    meeting.present &= ~mask;
    if (meeting.members == 0 || meeting.present != meeting.members)
      continue;
    Group &group = groups.emplace_back();
    group.mask = meeting.members;
    group.pc = meeting.pc;
    group.meetings = meeting.outer;
    meeting = {};
  }
  forLanes(mask, [&](int lane) {
    auto at = bulk.find(lane);
    if (at == bulk.end())
      return;
    // A block's shared memory outlives it until committed stores are through, as DeepGEMM's kernels show; no manual says so.
    bool awaited = at->second.open == 0 && (at->second.readWaited >= at->second.committed || !block.launch.strict);
    if (!awaited && block.launch.check)
      report(FindingKind::StoreNotAwaited, block.program.code[at->second.lastPc],
             std::string("the thread ends while a bulk store may still read shared memory: no cp.async.bulk.") +
                 (at->second.open ? "commit_group comes after this store" : "wait_group waits for this store"),
             1u << lane);
  });
  block.lanesExited(*this);
}

/// Parts the group if it has to. False if it is gone.
bool Warp::branch(Group &group, const Instr &instr, uint32_t taken) {
  if (instr.target == kNowhere) {
    group.mask &= ~taken;
    ++group.pc;
    exitLanes(taken);
    return group.mask != 0;
  }
  if (taken == group.mask) {
    group.pc = instr.target;
    return true;
  }
  bool meetsAnyway = !group.meetings.empty() && meetings[group.meetings.back()].pc == instr.reconverge;
  if (instr.reconverge != kNowhere && !meetsAnyway) {
    size_t place = 0;
    while (place < meetings.size() && meetings[place].members)
      ++place;
    if (place == meetings.size())
      meetings.emplace_back();
    meetings[place] = {.pc = instr.reconverge, .members = group.mask, .present = 0, .outer = group.meetings};
    group.meetings.push_back(static_cast<uint32_t>(place));
  }
  Group &other = groups.emplace_back();
  other.meetings = group.meetings;
  other.mask = taken;
  other.pc = instr.target;
  group.mask &= ~taken;
  ++group.pc;
  return true;
}

bool Warp::gather(uint32_t mask, uint32_t members, uint32_t &together) {
  members &= live;
  together = mask;
  if (!(members & ~mask))
    return true;
  current->syncMask = mask;
  for (const Group &other : groups)
    if (other.pc == current->pc)
      together |= other.syncMask;
  if (members & ~together)
    return false;
  block.progress();
  for (Group &other : groups)
    if (other.pc == current->pc && other.syncMask && &other != current) {
      other.syncMask = 0;
      other.waiting = false;
      ++other.pc;
    }
  current->syncMask = 0;
  return true;
}

void Warp::checkAligned(const Instr &instr, uint32_t mask) {
  if (mask != live)
    report(FindingKind::DivergentOp, instr,
           fmt::format("only {} of the warp's {} live threads execute this together, and it is .aligned: all must",
                       __builtin_popcount(mask), __builtin_popcount(live)),
           mask);
}

void Warp::checkRegisters(const Instr &instr) {
  const int32_t *slots = block.program.touched.data() + instr.touched;
  // Compilers put copies around inline assembly, and ptxas makes one register of both.
  if (instr.isCopy && instr.touchedSize == 2 && inFlight[slots[1]] > wgmmaWaited) {
    inFlight[slots[0]] = inFlight[slots[1]];
    return;
  }
  for (uint32_t i = 0; i < instr.touchedSize; ++i) {
    if (instr.writesWgmmaRegister && i < instr.touchedWrites && !instr.isCopy)
      writtenAt[slots[i]] = wgmmaFences + 1;
    if (inFlight[slots[i]] > wgmmaWaited)
      report(FindingKind::AccumulatorInFlight, instr,
             fmt::format("a register that a wgmma of group {} still uses: no wgmma.wait_group has waited for that group",
                         inFlight[slots[i]]));
  }
}

Step Warp::execute(Group &group, const Instr &instr, uint32_t mask) {
  if (block.launch.check) {
    if (instr.aligned && !group.waiting)
      checkAligned(instr, mask);
    if (wgmmaAny || instr.writesWgmmaRegister)
      checkRegisters(instr);
  }
  if (block.launch.traceInstructions)
    std::fprintf(stderr, "block %u warp %u mask %08x line %d %s\n", block.id[0], index, mask,
                 block.program.function->body[instr.statement].line,
                 block.program.function->body[instr.statement].opcode.c_str());
  return instr.exec(*this, instr, mask);
}

Warp::Ran Warp::runGroup(Group &group) {
  const auto &code = block.program.code;
  current = &group;
  for (int n = 0; n < kQuantum; ++n) {
    if (meet(group))
      return Ran::Gone;
    if (group.pc >= code.size()) {
      exitLanes(group.mask);
      return Ran::Gone;
    }
    const Instr &instr = code[group.pc];
    uint32_t mask = group.mask;
    if (instr.guard >= 0)
      mask &= instr.guardNegated ? ~predicates[instr.guard] : predicates[instr.guard];
    if (++steps > block.launch.maxSteps) {
      report(FindingKind::StepLimit, instr, fmt::format("a warp has executed {} instructions, the limit", steps - 1));
      block.cluster.stopped = true;
      return Ran::Waits;
    }
    if (mask == 0) {
      ++group.pc;
      continue;
    }
    if (instr.isBranch) {
      if (!branch(group, instr, mask))
        return Ran::Gone;
      continue;
    }
    Step step = execute(group, instr, mask);
    if (step == Step::Stop)
      block.cluster.stopped = true;
    if (step == Step::Stop || step == Step::Wait) {
      group.waiting = true;
      return Ran::Waits;
    }
    if (group.waiting && step != Step::Yield)
      block.progress();
    group.waiting = false;
    if (step == Step::Next || step == Step::Yield)
      ++group.pc;
    if (step == Step::Yield)
      return Ran::Waits;
  }
  return Ran::LongEnough;
}

bool Warp::run() {
  bool busy = false;
  // Groups that come up meanwhile stand at the end, and get their turn.
  for (auto at = groups.begin(); at != groups.end() && !block.cluster.stopped;) {
    Ran ran = runGroup(*at);
    busy |= ran == Ran::LongEnough;
    at = ran == Ran::Gone ? groups.erase(at) : std::next(at);
  }
  current = nullptr;
  return busy;
}

} // namespace quant::sim
