//===- isa_move.cpp - mov, cvta and friends --------------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

//
// PTX ISA, "Data Movement and Conversion Instructions: mov, cvta, isspacep, mapa, getctarank".
//
//===----------------------------------------------------------------------===//

#include "tools/quant-sim/isa/lanes.h"

#include <fmt/core.h>

namespace quant::sim {

namespace {

Step move(Warp &warp, const Instr &instr, uint32_t mask) {
  const uint64_t *from = warp.row(instr.op[1]);
  uint64_t *to = warp.row(instr.op[0]);
  if (mask == ~0u && to != from)
    std::memcpy(to, from, kWarpLanes * sizeof *to);
  else
    forLanes(mask, [&](int lane) { to[lane] = from[lane]; });
  return Step::Next;
}

Step movePredicate(Warp &warp, const Instr &instr, uint32_t mask) {
  uint32_t value = instr.op[1] >= 0 ? warp.predicate(instr.op[1]) : instr.imm[0] ? ~0u : 0u;
  uint32_t &to = warp.predicate(instr.op[0]);
  to = (to & ~mask) | (value & mask);
  return Step::Next;
}

/// mov.b64 d, {a, b}: the first element is the lowest.
Step pack(Warp &warp, const Instr &instr, uint32_t mask) {
  uint64_t keep = ~uint64_t(0) >> (64 - instr.imm[0]);
  forLanes(mask, [&](int lane) {
    uint64_t value = 0;
    for (uint32_t i = 0; i < instr.listSize; ++i)
      value |= (warp.row(warp.listed(instr, i))[lane] & keep) << (instr.imm[0] * i);
    warp.row(instr.op[0])[lane] = value;
  });
  return Step::Next;
}

Step unpack(Warp &warp, const Instr &instr, uint32_t mask) {
  uint64_t keep = ~uint64_t(0) >> (64 - instr.imm[0]);
  forLanes(mask, [&](int lane) {
    uint64_t value = warp.row(instr.op[1])[lane];
    for (uint32_t i = 0; i < instr.listSize; ++i)
      warp.row(warp.listed(instr, i))[lane] = value >> (instr.imm[0] * i) & keep;
  });
  return Step::Next;
}

Step clockValue(Warp &warp, const Instr &instr, uint32_t mask) {
  forLanes(mask,
           [&](int lane) { warp.row(instr.op[0])[lane] = warp.steps & (instr.type == Type::U32 ? 0xffffffff : ~uint64_t(0)); });
  return Step::Next;
}

void decodeVectorMove(Decoder &d, Type type) {
  bool packs = d.operand(1).kind == Operand::Kind::Vector;
  const Operand &vector = d.operand(packs ? 1 : 0);
  size_t n = vector.elements.size();
  int bits = n ? bitsOf(type) / static_cast<int>(n) : 0;
  if ((n != 2 && n != 4) || bits < 8)
    return d.fail(fmt::format("a vector of {} elements does not fit", n));
  d.instr.imm[0] = bits;
  Type element = bits == 8 ? Type::B8 : bits == 16 ? Type::B16 : bits == 32 ? Type::B32 : Type::B64;
  if (packs) {
    d.readList(vector, element);
    d.write(0, 0, type);
    return d.exec(bitsOf(type) <= 64 ? pack : nullptr, type);
  }
  d.writeList(vector, element);
  d.read(1, 1, type);
  d.exec(bitsOf(type) <= 64 ? unpack : nullptr, type);
}

void decodeMove(Decoder &d) {
  Type type = d.takeType();
  d.count(2);
  if (type == Type::Pred) {
    d.writePredicate(0, 0);
    if (d.operand(1).kind == Operand::Kind::Integer)
      d.instr.imm[0] = d.literal(1);
    else
      d.readPredicate(1, 1);
    if (d.operand(1).negated)
      d.fail("a negated predicate is not supported here");
    return d.exec(movePredicate);
  }
  if (d.operand(0).kind == Operand::Kind::Vector || d.operand(1).kind == Operand::Kind::Vector)
    return decodeVectorMove(d, type);
  d.write(0, 0, type);
  const std::string &name = d.operand(1).name;
  if (name == "%clock" || name == "%clock64" || name == "%globaltimer")
    return d.exec(clockValue, name == "%clock" ? Type::U32 : Type::U64);
  d.read(1, 1, type);
  d.instr.isCopy = true;
  d.exec(bitsOf(type) <= 64 ? move : nullptr, type);
}

//===----------------------------------------------------------------------===//
// Addresses
//===----------------------------------------------------------------------===//

/// imm[0] is added (0: nothing); imm[1]: keep only the offset within a window.
Step convertAddress(Warp &warp, const Instr &instr, uint32_t mask) {
  forLanes(mask, [&](int lane) {
    uint64_t address = warp.row(instr.op[1])[lane];
    warp.row(instr.op[0])[lane] = instr.imm[1] ? address & (kWindowBytes - 1) : address + static_cast<uint64_t>(instr.imm[0]);
  });
  return Step::Next;
}

uint64_t windowOf(std::string_view space) {
  if (space.starts_with("shared"))
    return kSharedWindow;
  return space == "local" ? kLocalWindow : space.starts_with("param") ? kParamWindow : 0;
}

void decodeConvertAddress(Decoder &d) {
  bool fromGeneric = d.take("to");
  std::string_view space =
      d.require({"shared", "shared::cta", "shared::cluster", "global", "local", "const", "param", "param::entry"});
  Type type = d.takeType();
  d.count(2);
  d.write(0, 0, type);
  d.read(1, 1, type);
  d.instr.imm[0] = static_cast<int64_t>(fromGeneric ? 0 : windowOf(space));
  d.instr.imm[1] = fromGeneric && windowOf(space);
  d.exec(bitsOf(type) == 64 ? convertAddress : nullptr, type);
}

Step isInSpace(Warp &warp, const Instr &instr, uint32_t mask) {
  uint32_t &to = warp.predicate(instr.op[0]);
  forLanes(mask, [&](int lane) {
    uint64_t address = warp.row(instr.op[1])[lane];
    Space space = Block::spaceOf(address);
    bool own = space != Space::Shared || address >> kRankShift == 0 || address >> kRankShift == warp.block.rank + 1;
    bool is = instr.space == Space::SharedCluster ? space == Space::Shared : space == instr.space && own;
    to = (to & ~(1u << lane)) | uint32_t(is) << lane;
  });
  return Step::Next;
}

void decodeIsSpace(Decoder &d) {
  std::string_view space = d.require({"shared", "shared::cta", "shared::cluster", "global", "local", "param"});
  d.count(2);
  d.writePredicate(0, 0);
  d.read(1, 1, Type::B64);
  d.instr.space = space == "shared::cluster"    ? Space::SharedCluster
                  : space.starts_with("shared") ? Space::Shared
                  : space == "local"            ? Space::Local
                  : space == "param"            ? Space::Param
                                                : Space::Global;
  d.exec(isInSpace);
}

constexpr uint64_t kOffsetMask = (uint64_t(1) << kRankShift) - 1;

/// The address op[1] of the block's own shared memory, in that of the block of rank op[2]. imm[0]: generic addresses.
Step mapAddress(Warp &warp, const Instr &instr, uint32_t mask) {
  for (; mask; mask &= mask - 1) {
    int lane = __builtin_ctz(mask);
    uint64_t address = warp.row(instr.op[1])[lane], rank = warp.row(instr.op[2])[lane] & 0xffffffff;
    uint64_t window = instr.imm[0] ? address & ~(kWindowBytes - 1) : 0;
    bool isShared = instr.imm[0] ? window == kSharedWindow : true;
    if (rank >= warp.block.cluster.blocks.size() || !isShared) {
      warp.report(FindingKind::ClusterUse, instr,
                  isShared ? "rank " + std::to_string(rank) + " of a cluster of " +
                                 std::to_string(warp.block.cluster.blocks.size()) + " blocks"
                           : "an address outside of shared memory",
                  1u << lane);
      return Step::Stop;
    }
    warp.row(instr.op[0])[lane] = window | (rank + 1) << kRankShift | (address & kOffsetMask);
  }
  return Step::Next;
}

void decodeMapAddress(Decoder &d) {
  bool isShared = d.take("shared::cluster");
  Type type = d.takeType();
  d.count(3);
  d.write(0, 0, type);
  // A variable's name is an address within shared memory.
  d.read(1, 1, type);
  d.read(2, 2, Type::B32);
  d.instr.imm[0] = !isShared;
  bool fits = type == Type::U64 || (type == Type::U32 && isShared);
  d.exec(fits ? mapAddress : nullptr, type);
}

/// The rank of the block in whose shared memory the address lies.
Step rankOf(Warp &warp, const Instr &instr, uint32_t mask) {
  forLanes(mask, [&](int lane) {
    uint64_t owner = (warp.row(instr.op[1])[lane] & (kWindowBytes - 1)) >> kRankShift;
    warp.row(instr.op[0])[lane] = owner == 0 ? warp.block.rank : owner - 1;
  });
  return Step::Next;
}

void decodeRankOf(Decoder &d) {
  d.take("shared::cluster");
  Type type = d.takeType();
  d.count(2);
  d.write(0, 0, Type::U32);
  d.read(1, 1, type);
  d.exec(type == Type::U32 || type == Type::U64 ? rankOf : nullptr, type);
}

} // namespace

void addMoveInstructions(DecodeTable &table) {
  table["mov"] = decodeMove;
  table["cvta"] = decodeConvertAddress;
  table["isspacep"] = decodeIsSpace;
  table["mapa"] = decodeMapAddress;
  table["getctarank"] = decodeRankOf;
}

} // namespace quant::sim
