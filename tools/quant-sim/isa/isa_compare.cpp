//===- isa_compare.cpp - comparison and selection --------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

//
// PTX ISA, "Comparison and Selection Instructions".
//
//===----------------------------------------------------------------------===//

#include "tools/quant-sim/isa/float_formats.h"
#include "tools/quant-sim/isa/lanes.h"

#include <cmath>

namespace quant::sim {

namespace {

/// In the order of kNames; from Equ on true for NaNs as well; Lo to Hs are the unsigned ones' own names.
enum class Comparison : uint8_t { Eq, Ne, Lt, Le, Gt, Ge, Equ, Neu, Ltu, Leu, Gtu, Geu, Num, Nan, Lo, Ls, Hi, Hs };
constexpr std::string_view kNames[] = {"eq",  "ne",  "lt",  "le",  "gt",  "ge", "equ", "neu", "ltu",
                                       "leu", "gtu", "geu", "num", "nan", "lo", "ls",  "hi",  "hs"};

template <typename T>
bool compareOrdered(Comparison comparison, T a, T b) {
  switch (comparison) {
  case Comparison::Eq:
  case Comparison::Equ:
    return a == b;
  case Comparison::Ne:
  case Comparison::Neu:
    return a != b;
  case Comparison::Lt:
  case Comparison::Ltu:
  case Comparison::Lo:
    return a < b;
  case Comparison::Le:
  case Comparison::Leu:
  case Comparison::Ls:
    return a <= b;
  case Comparison::Gt:
  case Comparison::Gtu:
  case Comparison::Hi:
    return a > b;
  case Comparison::Ge:
  case Comparison::Geu:
  case Comparison::Hs:
    return a >= b;
  default:
    return comparison == Comparison::Num;
  }
}

template <typename T>
bool compareAs(Comparison comparison, T a, T b) {
  if constexpr (std::is_floating_point_v<T>)
    if (std::isnan(a) || std::isnan(b))
      return (comparison >= Comparison::Equ && comparison <= Comparison::Geu) || comparison == Comparison::Nan;
  return compareOrdered(comparison, a, b);
}

bool compare(Comparison comparison, Type type, uint64_t a, uint64_t b) {
  switch (type) {
  case Type::S16:
    return compareAs(comparison, fromBits<int16_t>(a), fromBits<int16_t>(b));
  case Type::S32:
    return compareAs(comparison, fromBits<int32_t>(a), fromBits<int32_t>(b));
  case Type::S64:
    return compareAs(comparison, fromBits<int64_t>(a), fromBits<int64_t>(b));
  case Type::F32:
    return compareAs(comparison, fromBits<float>(a), fromBits<float>(b));
  case Type::F64:
    return compareAs(comparison, fromBits<double>(a), fromBits<double>(b));
  case Type::F16:
  case Type::BF16:
    return compareAs(comparison, decodeFloat(a & 0xffff, formatOf(type)), decodeFloat(b & 0xffff, formatOf(type)));
  default: {
    uint64_t mask = ~uint64_t(0) >> (64 - bitsOf(type));
    return compareAs(comparison, a & mask, b & mask);
  }
  }
}

/// Takes the comparison among the modifiers.
Comparison takeComparison(Decoder &d) {
  for (size_t i = 0; i < std::size(kNames); ++i)
    if (d.take(kNames[i]))
      return static_cast<Comparison>(i);
  d.fail("expected a comparison");
  return Comparison::Eq;
}

enum Combine : int64_t { kNone, kAnd, kOr, kXor };

/// setp{.and|.or|.xor} p|q, a, b{, c}: p = (a ? b) op c, q = !(a ? b) op c.
Step setPredicate(Warp &warp, const Instr &instr, uint32_t mask) {
  uint32_t result = 0;
  const uint64_t *a = warp.row(instr.op[2]), *b = warp.row(instr.op[3]);
  forLanes(mask, [&](int lane) {
    result |= uint32_t(compare(static_cast<Comparison>(instr.imm[0]), instr.type, a[lane], b[lane])) << lane;
  });
  uint32_t other = instr.op[4] >= 0 ? warp.predicate(instr.op[4]) ^ (instr.imm[2] ? ~0u : 0u) : 0;
  auto combine = [&](uint32_t value) {
    return instr.imm[1] == kAnd   ? value & other
           : instr.imm[1] == kOr  ? value | other
           : instr.imm[1] == kXor ? value ^ other
                                  : value;
  };
  auto store = [&](int32_t slot, uint32_t value) {
    uint32_t &to = warp.predicate(slot);
    to = (to & ~mask) | (value & mask);
  };
  store(instr.op[0], combine(result));
  if (instr.op[1] >= 0)
    store(instr.op[1], combine(~result));
  return Step::Next;
}

void decodeSetPredicate(Decoder &d) {
  d.instr.imm[0] = static_cast<int64_t>(takeComparison(d));
  std::string_view combine = d.takeOne({"and", "or", "xor"});
  d.take("ftz");
  Type type = d.takeType();
  d.count(combine.empty() ? 3 : 4);
  d.writePredicate(0, 0);
  if (!d.operand(0).elements.empty())
    d.instr.op[1] = d.predicateSlot(d.operand(0).elements[0], true);
  d.read(2, 1, type);
  d.read(3, 2, type);
  if (!combine.empty()) {
    d.instr.imm[1] = combine == "and" ? kAnd : combine == "or" ? kOr : kXor;
    d.readPredicate(4, 3);
    d.instr.imm[2] = d.operand(3).negated;
  }
  d.exec(bitsOf(type) >= 16 && type != Type::Pred ? setPredicate : nullptr, type);
}

/// set.cmp.dtype.stype: all ones or 1.0.
Step setValue(Warp &warp, const Instr &instr, uint32_t mask) {
  forLanes(mask, [&](int lane) {
    bool holds =
        compare(static_cast<Comparison>(instr.imm[0]), instr.type, warp.row(instr.op[1])[lane], warp.row(instr.op[2])[lane]);
    warp.row(instr.op[0])[lane] = holds ? static_cast<uint64_t>(instr.imm[1]) : 0;
  });
  return Step::Next;
}

void decodeSet(Decoder &d) {
  d.instr.imm[0] = static_cast<int64_t>(takeComparison(d));
  d.take("ftz");
  Type to = d.takeType(), from = d.takeType();
  d.instr.imm[1] = to == Type::F32 ? 0x3f800000 : 0xffffffff;
  d.count(3);
  d.write(0, 0, to);
  d.read(1, 1, from);
  d.read(2, 2, from);
  d.exec(bitsOf(to) == 32 ? setValue : nullptr, to);
  d.instr.type = from;
}

Step select(Warp &warp, const Instr &instr, uint32_t mask) {
  uint32_t which = warp.predicate(instr.op[3]);
  const uint64_t *a = warp.row(instr.op[1]), *b = warp.row(instr.op[2]);
  uint64_t *to = warp.row(instr.op[0]);
  forLanes(mask, [&](int lane) { to[lane] = which >> lane & 1 ? a[lane] : b[lane]; });
  return Step::Next;
}

void decodeSelect(Decoder &d) {
  Type type = d.takeType();
  d.count(4);
  d.write(0, 0, type);
  d.read(1, 1, type);
  d.read(2, 2, type);
  d.readPredicate(3, 3);
  if (d.operand(3).negated)
    d.fail("a negated predicate is not supported here");
  d.exec(select, type);
}

/// slct d, a, b, c: c >= 0 ? a : b.
Step selectBySign(Warp &warp, const Instr &instr, uint32_t mask) {
  forLanes(mask, [&](int lane) {
    uint64_t c = warp.row(instr.op[3])[lane];
    bool first = instr.imm[0] ? fromBits<float>(c) >= 0 : fromBits<int32_t>(c) >= 0;
    warp.row(instr.op[0])[lane] = warp.row(instr.op[first ? 1 : 2])[lane];
  });
  return Step::Next;
}

void decodeSelectBySign(Decoder &d) {
  d.take("ftz");
  Type type = d.takeType(), by = d.takeType();
  d.count(4);
  d.write(0, 0, type);
  d.read(1, 1, type);
  d.read(2, 2, type);
  d.read(3, 3, by);
  d.instr.imm[0] = by == Type::F32;
  d.exec(by == Type::F32 || by == Type::S32 ? selectBySign : nullptr, type);
}

} // namespace

void addCompareInstructions(DecodeTable &table) {
  table["setp"] = decodeSetPredicate;
  table["set"] = decodeSet;
  table["selp"] = decodeSelect;
  table["slct"] = decodeSelectBySign;
}

} // namespace quant::sim
