//===- isa_warp.cpp - lanes that talk to each other ------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

//
// PTX ISA, "Parallel Synchronization and Communication Instructions: shfl.sync, vote.sync, match.sync, activemask, redux.sync,
// elect.sync, bar.warp.sync".
//
//===----------------------------------------------------------------------===//

#include "tools/quant-sim/isa/lanes.h"

#include <fmt/core.h>

namespace quant::sim {

namespace {

/// Waits for the lanes of the member mask in op[`slot`]; then calls body(lanes that take part).
template <typename F>
Step together(Warp &warp, const Instr &instr, uint32_t mask, int slot, F body) {
  uint32_t members = static_cast<uint32_t>(warp.row(instr.op[slot])[__builtin_ctz(mask)]), lanes = 0;
  if (warp.block.launch.check && (mask & ~members))
    warp.report(FindingKind::DivergentOp, instr, "a thread executes this that its member mask leaves out", mask & ~members);
  if (!warp.gather(mask, members, lanes))
    return warp.wait([] { return std::string("threads of its member mask that are elsewhere"); }, FindingKind::DivergentOp);
  body(lanes);
  return Step::Next;
}

//===----------------------------------------------------------------------===//
// shfl
//===----------------------------------------------------------------------===//

enum ShuffleMode : int64_t { kUp, kDown, kButterfly, kIndex };

Step shuffle(Warp &warp, const Instr &instr, uint32_t mask) {
  return together(warp, instr, mask, 5, [&](uint32_t lanes) {
    std::array<uint64_t, kWarpLanes> from;
    std::copy_n(warp.row(instr.op[2]), kWarpLanes, from.begin());
    uint32_t inRange = 0;
    forLanes(lanes, [&](int lane) {
      int b = static_cast<int>(warp.row(instr.op[3])[lane] & 31), c = static_cast<int>(warp.row(instr.op[4])[lane]);
      int clamp = c & 31, segment = c >> 8 & 31;
      int last = (lane & segment) | (clamp & ~segment), first = lane & segment;
      int source = instr.imm[0] == kUp          ? lane - b
                   : instr.imm[0] == kDown      ? lane + b
                   : instr.imm[0] == kButterfly ? lane ^ b
                                                : first | (b & ~segment);
      bool valid = instr.imm[0] == kUp ? source >= last : source <= last;
      source = valid ? source : lane;
      inRange |= uint32_t(valid) << lane;
      if (warp.block.launch.check && !(lanes >> source & 1))
        warp.report(FindingKind::DivergentOp, instr, fmt::format("reads lane {}, which does not take part", source), 1u << lane);
      warp.row(instr.op[0])[lane] = from[source];
    });
    if (instr.op[1] >= 0) {
      uint32_t &to = warp.predicate(instr.op[1]);
      to = (to & ~lanes) | inRange;
    }
  });
}

void decodeShuffle(Decoder &d) {
  d.require({"sync"});
  std::string_view mode = d.require({"up", "down", "bfly", "idx"});
  d.instr.imm[0] = mode == "up" ? kUp : mode == "down" ? kDown : mode == "bfly" ? kButterfly : kIndex;
  d.takeType();
  d.count(5);
  Operand to = d.operand(0);
  if (!to.elements.empty())
    d.instr.op[1] = d.predicateSlot(to.elements[0], true);
  to.elements.clear();
  d.instr.op[0] = d.writeSlot(to, Type::B32);
  for (size_t i = 1; i < 5; ++i)
    d.read(i + 1, i, Type::B32);
  d.exec(shuffle);
}

//===----------------------------------------------------------------------===//
// vote, match, redux, elect, activemask
//===----------------------------------------------------------------------===//

enum VoteMode : int64_t { kAll, kAny, kUniform, kBallot };

Step vote(Warp &warp, const Instr &instr, uint32_t mask) {
  return together(warp, instr, mask, 2, [&](uint32_t lanes) {
    uint32_t value = (warp.predicate(instr.op[1]) ^ (instr.imm[1] ? ~0u : 0u)) & lanes;
    if (instr.imm[0] == kBallot)
      return forLanes(lanes, [&](int lane) { warp.row(instr.op[0])[lane] = value; });
    bool answer = instr.imm[0] == kAll ? value == lanes : instr.imm[0] == kAny ? value != 0 : value == lanes || value == 0;
    uint32_t &to = warp.predicate(instr.op[0]);
    to = (to & ~lanes) | (answer ? lanes : 0);
  });
}

void decodeVote(Decoder &d) {
  d.require({"sync"});
  std::string_view mode = d.require({"all", "any", "uni", "ballot"});
  d.instr.imm[0] = mode == "all" ? kAll : mode == "any" ? kAny : mode == "uni" ? kUniform : kBallot;
  d.takeType();
  d.count(3);
  if (mode == "ballot")
    d.write(0, 0, Type::B32);
  else
    d.writePredicate(0, 0);
  d.readPredicate(1, 1);
  d.instr.imm[1] = d.operand(1).negated;
  d.read(2, 2, Type::B32);
  d.exec(vote);
}

Step match(Warp &warp, const Instr &instr, uint32_t mask) {
  return together(warp, instr, mask, 2, [&](uint32_t lanes) {
    const uint64_t *value = warp.row(instr.op[1]);
    bool same = true;
    forLanes(lanes, [&](int lane) { same &= value[lane] == value[__builtin_ctz(lanes)]; });
    forLanes(lanes, [&](int lane) {
      uint32_t equal = 0;
      forLanes(lanes, [&](int other) { equal |= uint32_t(value[other] == value[lane]) << other; });
      warp.row(instr.op[0])[lane] = instr.imm[0] ? (same ? lanes : 0) : equal;
    });
    if (instr.op[3] >= 0) {
      uint32_t &to = warp.predicate(instr.op[3]);
      to = (to & ~lanes) | (same ? lanes : 0);
    }
  });
}

void decodeMatch(Decoder &d) {
  d.instr.imm[0] = d.require({"any", "all"}) == "all";
  d.require({"sync"});
  Type type = d.takeType();
  d.count(3);
  Operand to = d.operand(0);
  if (!to.elements.empty())
    d.instr.op[3] = d.predicateSlot(to.elements[0], true);
  to.elements.clear();
  d.instr.op[0] = d.writeSlot(to, Type::B32);
  d.read(1, 1, type);
  d.read(2, 2, Type::B32);
  d.exec(match);
}

enum ReduceMode : int64_t { kReduceAdd, kReduceMin, kReduceMax, kReduceAnd, kReduceOr, kReduceXor };

Step reduce(Warp &warp, const Instr &instr, uint32_t mask) {
  return together(warp, instr, mask, 2, [&](uint32_t lanes) {
    const uint64_t *value = warp.row(instr.op[1]);
    uint32_t result = static_cast<uint32_t>(value[__builtin_ctz(lanes)]);
    bool isS32 = instr.type == Type::S32;
    forLanes(lanes & (lanes - 1), [&](int lane) {
      uint32_t other = static_cast<uint32_t>(value[lane]);
      bool otherIsLess = isS32 ? static_cast<int32_t>(other) < static_cast<int32_t>(result) : other < result;
      switch (instr.imm[0]) {
      case kReduceAdd:
        result += other;
        break;
      case kReduceMin:
        result = otherIsLess ? other : result;
        break;
      case kReduceMax:
        result = otherIsLess ? result : other;
        break;
      case kReduceAnd:
        result &= other;
        break;
      case kReduceOr:
        result |= other;
        break;
      default:
        result ^= other;
      }
    });
    forLanes(lanes, [&](int lane) { warp.row(instr.op[0])[lane] = result; });
  });
}

void decodeReduce(Decoder &d) {
  d.require({"sync"});
  std::string_view mode = d.require({"add", "min", "max", "and", "or", "xor"});
  constexpr std::string_view kModes[] = {"add", "min", "max", "and", "or", "xor"};
  d.instr.imm[0] = std::find(std::begin(kModes), std::end(kModes), mode) - std::begin(kModes);
  Type type = d.takeType();
  readAll(d, Type::B32, 3);
  d.exec(bitsOf(type) == 32 && !isFloat(type) ? reduce : nullptr, type);
}

/// The lowest lane is elected (PTX: deterministic, the same for the same mask).
Step elect(Warp &warp, const Instr &instr, uint32_t mask) {
  return together(warp, instr, mask, 2, [&](uint32_t lanes) {
    int leader = __builtin_ctz(lanes);
    forLanes(lanes, [&](int lane) { warp.row(instr.op[0])[lane] = leader; });
    uint32_t &to = warp.predicate(instr.op[1]);
    to = (to & ~lanes) | 1u << leader;
  });
}

void decodeElect(Decoder &d) {
  d.require({"sync"});
  d.count(2);
  Operand to = d.operand(0);
  if (to.elements.empty())
    return d.fail("expected register|predicate");
  d.instr.op[1] = d.predicateSlot(to.elements[0], true);
  to.elements.clear();
  d.instr.op[0] = d.writeSlot(to, Type::B32);
  d.read(2, 1, Type::B32);
  d.exec(elect);
}

Step activeMask(Warp &warp, const Instr &instr, uint32_t mask) {
  forLanes(mask, [&](int lane) { warp.row(instr.op[0])[lane] = mask; });
  return Step::Next;
}

Step syncWarp(Warp &warp, const Instr &instr, uint32_t mask) {
  return together(warp, instr, mask, 0, [&](uint32_t lanes) { warp.gridWaited |= warp.gridWaited & lanes ? lanes : 0; });
}

} // namespace

/// bar.warp.sync mask; called by the decoder of bar.
void decodeWarpSync(Decoder &d) {
  d.require({"sync"});
  d.count(1);
  d.read(0, 0, Type::B32);
  d.exec(syncWarp);
}

void addWarpInstructions(DecodeTable &table) {
  table["shfl"] = decodeShuffle;
  table["vote"] = decodeVote;
  table["match"] = decodeMatch;
  table["redux"] = decodeReduce;
  table["elect"] = decodeElect;
  table["activemask"] = [](Decoder &d) {
    d.takeType();
    d.count(1);
    d.write(0, 0, Type::B32);
    d.exec(activeMask);
  };
}

} // namespace quant::sim
