//===- isa_mbarrier.cpp - mbarrier ------------------------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

//
// PTX ISA, "Parallel Synchronization and Communication Instructions: mbarrier".
//
//===----------------------------------------------------------------------===//

#include "tools/quant-sim/isa/lanes.h"

#include <fmt/core.h>

namespace quant::sim {

namespace {

constexpr uint64_t kMbarrierBytes = machine::kSm90a.mbarrierBytes;
/// Limits of the object (PTX ISA, "Contents of the mbarrier object").
constexpr uint32_t kMaxCount = (1u << 20) - 1;

/// Makes an mbarrier; false after a finding that ends the block.
bool initOne(Warp &warp, const Instr &instr, int lane) {
  Block &block = warp.block;
  uint32_t count = static_cast<uint32_t>(warp.row(instr.op[2])[lane]);
  Place place = block.resolve(warp, instr, Space::Shared, warp.address(instr, lane), kMbarrierBytes, lane, true);
  if (!place)
    return false;
  uint64_t address = place.offset;
  if (count == 0 || count > kMaxCount) {
    warp.report(FindingKind::ArrivalCount, instr, fmt::format("an mbarrier for {} arrivals (1 to 2^20 - 1)", count), 1u << lane);
    return false;
  }
  if (block.mbarriers.contains(address))
    warp.report(FindingKind::MbarrierUse, instr,
                "the mbarrier at " + block.sharedName(address) + " is initialised a second time without mbarrier.inval",
                1u << lane);
  block.mbarriers.erase(address);
  block.writeShared(warp, instr, address, kMbarrierBytes, warp.access(instr), lane);
  Mbarrier &barrier = block.mbarriers[address];
  barrier.block = &block;
  barrier.address = address;
  barrier.expected = barrier.pending = count;
  barrier.channel = block.cluster.newChannel();
  barrier.initChannel = warp.channel;
  barrier.initClock = warp.known.seen.get(warp.channel);
  barrier.initPc = warp.pcOf(instr);
  return true;
}

Step init(Warp &warp, const Instr &instr, uint32_t mask) {
  for (; mask; mask &= mask - 1)
    if (!initOne(warp, instr, __builtin_ctz(mask)))
      return Step::Stop;
  return Step::Next;
}

Step invalidate(Warp &warp, const Instr &instr, uint32_t mask) {
  forLanes(mask, [&](int lane) {
    const Mbarrier *barrier = warp.block.mbarrier(warp, instr, Space::Shared, warp.address(instr, lane), lane);
    if (barrier)
      warp.block.mbarriers.erase(barrier->address);
  });
  return warp.block.cluster.stopped ? Step::Stop : Step::Next;
}

/// What an arrival does besides arriving.
enum ArriveKind : int64_t { kArrive, kExpectAndArrive, kExpectOnly, kArriveAndDrop, kCompleteOnly };

bool expectBytes(Warp &warp, const Instr &instr, Mbarrier &barrier, int64_t bytes, int lane) {
  warp.block.progress();
  barrier.txCount += bytes;
  if (std::abs(barrier.txCount) <= kMaxCount)
    return true;
  warp.report(FindingKind::ByteCount, instr, fmt::format("{} bytes expected, beyond 2^20 - 1", barrier.txCount), 1u << lane);
  return false;
}

/// op[0]: the state; op[2]: arrivals or, with expect_tx, bytes. imm[1]: an ArriveKind.
Step arrive(Warp &warp, const Instr &instr, uint32_t mask) {
  for (; mask; mask &= mask - 1) {
    int lane = __builtin_ctz(mask);
    Mbarrier *barrier = warp.block.mbarrier(warp, instr, instr.space, warp.address(instr, lane), lane);
    if (!barrier)
      return Step::Stop;
    uint32_t operand = instr.op[2] < 0 ? 1 : static_cast<uint32_t>(warp.row(instr.op[2])[lane]);
    ArriveKind kind = static_cast<ArriveKind>(instr.imm[1]);
    if (instr.op[0] >= 0)
      warp.row(instr.op[0])[lane] = barrier->phase;
    if ((kind == kExpectAndArrive || kind == kExpectOnly) && !expectBytes(warp, instr, *barrier, operand, lane))
      return Step::Stop;
    if (kind == kCompleteOnly)
      warp.block.receive(warp, instr, *barrier, operand, lane);
    if (kind == kArriveAndDrop && barrier->expected > 1)
      --barrier->expected;
    if (kind == kArrive || kind == kExpectAndArrive || kind == kArriveAndDrop)
      warp.block.arrive(warp, instr, *barrier, kind == kExpectAndArrive ? 1 : operand, lane, instr.imm[3]);
  }
  return Step::Next;
}

std::string describeWait(const Mbarrier &barrier, const std::string &phase) {
  std::string text = fmt::format("{} of the mbarrier at {}, which is in phase {}: {} of {} arrivals are in", phase,
                                 barrier.block->sharedName(barrier.address), barrier.phase, barrier.expected - barrier.pending,
                                 barrier.expected);
  if (barrier.txCount || barrier.received)
    text += fmt::format(", and {} of {} expected bytes", barrier.received, barrier.received + barrier.txCount);
  return text;
}

FindingKind kindOfWait(const Mbarrier &barrier) {
  if (barrier.txCount != 0 && barrier.pending == 0)
    return FindingKind::ByteCount;
  return barrier.pending != barrier.expected && barrier.pending != 0 ? FindingKind::ArrivalCount : FindingKind::Deadlock;
}

/// imm[1]: by parity; imm[2]: may wait (try_wait); imm[3]: relaxed. op[0]: the answer, op[2]: parity or state.
Step testWait(Warp &warp, const Instr &instr, uint32_t mask) {
  Block &block = warp.block;
  uint32_t answer = 0;
  const Mbarrier *missing = nullptr;
  std::string phase;
  for (uint32_t rest = mask; rest; rest &= rest - 1) {
    int lane = __builtin_ctz(rest);
    const Mbarrier *barrier = block.mbarrier(warp, instr, Space::Shared, warp.address(instr, lane), lane);
    if (!barrier)
      return Step::Stop;
    uint64_t operand = warp.row(instr.op[2])[lane];
    bool over = instr.imm[1] ? (barrier->phase & 1) != (operand & 1) : barrier->phase > operand;
    answer |= uint32_t(over) << lane;
    if (over) {
      if (instr.imm[3])
        warp.heard.merge(barrier->published);
      else
        warp.learn(barrier->published, 1u << lane);
      (instr.imm[3] ? warp.heard : warp.known).seen.raise(barrier->channel, barrier->phase);
    } else if (!missing) {
      missing = barrier;
      phase = instr.imm[1] ? "the end of a phase of parity " + std::to_string(operand & 1)
                           : "the end of phase " + std::to_string(operand);
    }
  }
  // The first try gives up at once, as a time limit allows: a kernel that ignores the answer goes on too early, and shows it.
  bool retries = warp.current->failedTry == warp.pcOf(instr);
  warp.current->failedTry = missing ? warp.pcOf(instr) : kNowhere;
  bool patient = instr.imm[2] && retries && !block.cluster.timeLimitOver;
  if (missing && (patient || block.cluster.explaining))
    return warp.wait([&] { return describeWait(*missing, phase); }, kindOfWait(*missing));
  uint32_t &to = warp.predicate(instr.op[0]);
  to = (to & ~mask) | answer;
  return missing ? Step::Yield : Step::Next;
}

/// Order into imm[3] (1: relaxed), space into the instruction's.
void takeScope(Decoder &d) {
  d.instr.imm[3] = d.takeOne({"release", "acquire", "relaxed"}) == "relaxed";
  d.takeOne({"cta", "cluster"});
  std::string_view space = d.takeOne({"shared", "shared::cta", "shared::cluster"});
  d.instr.space = space.empty() ? Space::Generic : space == "shared::cluster" ? Space::SharedCluster : Space::Shared;
  d.take("b64");
}

void decodeArrive(Decoder &d, ArriveKind kind) {
  d.take("noComplete");
  takeScope(d);
  bool state = kind != kExpectOnly && kind != kCompleteOnly;
  size_t memory = state ? 1 : 0;
  d.count(memory + 1, memory + 2);
  if (state && d.operand(0).kind != Operand::Kind::Sink)
    d.write(0, 0, Type::B64);
  d.address(1, memory);
  if (d.operandCount() > memory + 1)
    d.read(2, memory + 1, Type::B32);
  else if (kind != kArrive && kind != kArriveAndDrop)
    d.fail("expected a byte count");
  d.instr.imm[1] = kind;
  d.exec(arrive);
}

void decodeWait(Decoder &d, bool patient) {
  bool parity = d.take("parity");
  takeScope(d);
  d.count(3, patient ? 4 : 3);
  d.writePredicate(0, 0);
  d.address(1, 1);
  d.read(2, 2, parity ? Type::B32 : Type::B64);
  if (d.operandCount() > 3)
    d.read(3, 3, Type::B32);
  d.instr.imm[1] = parity;
  d.instr.imm[2] = patient;
  d.exec(testWait);
}

void decodeMbarrier(Decoder &d) {
  if (d.take("init")) {
    takeScope(d);
    d.count(2);
    d.address(1, 0);
    d.read(2, 1, Type::B32);
    return d.exec(init);
  }
  if (d.take("inval")) {
    takeScope(d);
    d.count(1);
    d.address(1, 0);
    return d.exec(invalidate);
  }
  if (d.take("arrive"))
    return decodeArrive(d, d.take("expect_tx") ? kExpectAndArrive : kArrive);
  if (d.take("arrive_drop"))
    return decodeArrive(d, kArriveAndDrop);
  if (d.take("expect_tx"))
    return decodeArrive(d, kExpectOnly);
  if (d.take("complete_tx"))
    return decodeArrive(d, kCompleteOnly);
  bool patient = d.require({"try_wait", "test_wait"}) == "try_wait";
  decodeWait(d, patient);
}

} // namespace

void addMbarrierInstructions(DecodeTable &table) { table["mbarrier"] = decodeMbarrier; }

} // namespace quant::sim
