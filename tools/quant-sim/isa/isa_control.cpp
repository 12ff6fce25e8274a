//===- isa_control.cpp - branches, fences, registers -----------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

//
// PTX ISA, "Control Flow Instructions", "membar / fence", "griddepcontrol", "setmaxnreg", "nanosleep", "trap".
//
//===----------------------------------------------------------------------===//

#include "tools/quant-sim/isa/lanes.h"

#include <fmt/core.h>

namespace quant::sim {

namespace {

Step nothing(Warp &, const Instr &, uint32_t) { return Step::Next; }

/// Warp::branch executes branches; this is never called.
Step branchPlaceholder(Warp &, const Instr &, uint32_t) { return Step::Jump; }

void decodeBranch(Decoder &d) {
  d.take("uni");
  d.count(1);
  d.instr.isBranch = true;
  if (d.operand(0).kind != Operand::Kind::Name || d.operand(0).offset)
    d.fail("expected a label");
  d.exec(branchPlaceholder);
}

void decodeExit(Decoder &d) {
  d.take("uni");
  d.count(0);
  d.instr.isBranch = true;
  d.exec(branchPlaceholder);
}

Step trap(Warp &warp, const Instr &instr, uint32_t mask) {
  warp.report(FindingKind::Trap, instr, "the kernel traps", mask);
  return Step::Stop;
}

Step yield(Warp &, const Instr &, uint32_t) { return Step::Yield; }

void decodeNothing(Decoder &d, size_t operands) {
  d.count(0, operands);
  d.exec(nothing);
}

//===----------------------------------------------------------------------===//
// Fences
//===----------------------------------------------------------------------===//

/// All that this warp knows of is now visible to the async proxy.
Step fenceAsync(Warp &warp, const Instr &, uint32_t) {
  warp.known.fenced.merge(warp.known.seen);
  warp.release();
  return Step::Next;
}

Step fenceMbarrierInit(Warp &warp, const Instr &, uint32_t) {
  for (auto &[address, barrier] : warp.block.mbarriers)
    barrier.initFenced |= barrier.initChannel == warp.channel;
  warp.initsFenced = warp.known.seen.get(warp.channel);
  return Step::Next;
}

void decodeProxyFence(Decoder &d) {
  if (d.take("async")) {
    bool globalOnly = d.take("global");
    d.takeOne({"shared", "shared::cta", "shared::cluster"});
    d.count(0);
    return d.exec(globalOnly ? nothing : fenceAsync);
  }
  d.require({"alias", "tensormap", "tensormap::generic"});
  d.takeOne({"acquire", "release"});
  d.takeOne({"cta", "cluster", "gpu", "sys"});
  decodeNothing(d, 2);
}

/// With it relaxed arrivals release, and relaxed waits acquire.
Step fenceMemory(Warp &warp, const Instr &, uint32_t mask) {
  warp.learn(warp.heard, mask);
  warp.released = warp.known;
  warp.release();
  return Step::Next;
}

void decodeFence(Decoder &d) {
  if (d.take("proxy"))
    return decodeProxyFence(d);
  if (d.take("mbarrier_init")) {
    d.take("release");
    d.take("cluster");
    d.count(0);
    return d.exec(fenceMbarrierInit);
  }
  d.takeOne({"sc", "acq_rel", "acquire", "release"});
  d.takeOne({"sync_restrict::shared::cta", "sync_restrict::shared::cluster"});
  d.require({"cta", "cluster", "gpu", "sys"});
  d.count(0);
  d.exec(fenceMemory);
}

void decodeMembar(Decoder &d) {
  if (d.take("proxy"))
    return decodeProxyFence(d);
  d.require({"cta", "gl", "sys"});
  d.count(0);
  d.exec(fenceMemory);
}

//===----------------------------------------------------------------------===//
// Registers
//===----------------------------------------------------------------------===//

/// All warps of a warpgroup execute the same setmaxnregs.
void compareWithGroup(Warp &warp, const Instr &instr) {
  auto &issues = warp.block.registerIssues[warp.index / kGroupWarps];
  uint32_t n = warp.registersSet++, pc = warp.pcOf(instr);
  if (n >= issues.size())
    issues.push_back({pc, 0, 0});
  else if (issues[n].pc != pc && warp.block.launch.check)
    warp.report(FindingKind::DivergentOp, instr,
                "another warp of the warpgroup executes the setmaxnreg of " + warp.block.siteName(issues[n].pc) + " instead");
}

/// imm[0]: registers per thread, imm[1]: it may only grow.
Step setRegisters(Warp &warp, const Instr &instr, uint32_t) {
  Block &block = warp.block;
  if (!warp.current->waiting)
    compareWithGroup(warp, instr);
  int64_t wanted = instr.imm[0], change = (wanted - warp.registers) * kWarpLanes;
  // Before a warp's first setmaxnreg its number is an upper bound: ptxas may need fewer.
  bool isKnown = warp.registersSet > 1;
  if (instr.imm[1] ? change < 0 && isKnown : change > 0) {
    warp.report(FindingKind::RegisterBudget, instr,
                fmt::format("{}{} registers, but the thread has {}", instr.imm[1] ? "setmaxnreg.inc to " : "setmaxnreg.dec to ",
                            wanted, warp.registers));
    return Step::Next;
  }
  if (change > block.freeRegisters)
    return warp.wait(
        [&] {
          return fmt::format(
              "{} registers, but only {} are free: other warps do not give up as many as this setmaxnreg.inc wants", change,
              block.freeRegisters);
        },
        FindingKind::RegisterBudget);
  block.freeRegisters -= change;
  warp.registers = static_cast<int32_t>(wanted);
  block.progress();
  return Step::Next;
}

void decodeSetRegisters(Decoder &d) {
  d.instr.imm[1] = d.require({"inc", "dec"}) == "inc";
  d.require({"sync"});
  d.require({"aligned"});
  d.takeType();
  d.count(1);
  d.instr.imm[0] = d.literal(0);
  d.instr.aligned = true;
  constexpr machine::GpuArch kArch = machine::kSm90a;
  if (int64_t count = d.instr.imm[0];
      count < kArch.minThreadRegisters || count > kArch.maxThreadRegisters || count % kArch.registerUnit)
    d.fail(fmt::format("a register count of {} ({} to {}, a multiple of {})", count, kArch.minThreadRegisters,
                       kArch.maxThreadRegisters, kArch.registerUnit));
  d.exec(setRegisters);
}

/// Kernels run one after another here, so what they depend on is over; what is checked is that the wait is there.
Step waitForGrids(Warp &warp, const Instr &, uint32_t mask) {
  warp.gridWaited |= mask;
  warp.known.gridWaited = true;
  if (!std::exchange(warp.block.gridWaited, true))
    ++warp.block.launch.waitedBlocks;
  return Step::Next;
}

Step call(Warp &warp, const Instr &instr, uint32_t mask) {
  warp.report(FindingKind::Trap, instr, "a call: an assertion of the kernel fails, or it prints", mask);
  return Step::Stop;
}

void decodeCall(Decoder &d) {
  d.take("uni");
  d.exec(call);
}

} // namespace

void addControlInstructions(DecodeTable &table) {
  table["bra"] = decodeBranch;
  table["ret"] = decodeExit;
  table["exit"] = decodeExit;
  table["call"] = decodeCall;
  table["fence"] = decodeFence;
  table["membar"] = decodeMembar;
  table["setmaxnreg"] = decodeSetRegisters;
  table["trap"] = [](Decoder &d) {
    d.count(0);
    d.exec(trap);
  };
  table["brkpt"] = table["trap"];
  table["nanosleep"] = [](Decoder &d) {
    d.takeType();
    d.count(1);
    d.read(1, 0, Type::B32);
    d.exec(yield);
  };
  table["griddepcontrol"] = [](Decoder &d) {
    bool wait = d.require({"launch_dependents", "wait"}) == "wait";
    d.count(0);
    d.exec(wait ? waitForGrids : nothing);
  };
}

} // namespace quant::sim
