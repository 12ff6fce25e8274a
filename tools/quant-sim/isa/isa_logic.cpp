//===- isa_logic.cpp - bits ------------------------------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

//
// PTX ISA, "Logic and Shift Instructions" and the bit instructions among the integer ones.
//
//===----------------------------------------------------------------------===//

#include "tools/quant-sim/isa/lanes.h"

#include <utility>

namespace quant::sim {

namespace {

/// Shifts by the width or more give 0 (the sign for an arithmetic one).
struct ShiftLeft {
  template <typename T>
  T operator()(T a, uint32_t n) const {
    return n >= 8 * sizeof(T) ? T(0) : static_cast<T>(uint64_t(a) << n);
  }
};
struct ShiftRight {
  template <typename T>
  T operator()(T a, uint32_t n) const {
    return static_cast<T>(n >= 8 * sizeof(T) ? (a < 0 ? T(-1) : T(0)) : a >> n);
  }
};
struct Invert {
  template <typename T>
  T operator()(T a) const {
    return static_cast<T>(~a);
  }
};
struct LogicalNot {
  template <typename T>
  T operator()(T a) const {
    return a == 0;
  }
};
struct And {
  template <typename T>
  T operator()(T a, T b) const {
    return a & b;
  }
};
struct Or {
  template <typename T>
  T operator()(T a, T b) const {
    return a | b;
  }
};
struct Xor {
  template <typename T>
  T operator()(T a, T b) const {
    return a ^ b;
  }
};
struct PopulationCount {
  template <typename T>
  uint32_t operator()(T a) const {
    return std::popcount(a);
  }
};
struct CountLeadingZeros {
  template <typename T>
  uint32_t operator()(T a) const {
    return std::countl_zero(a);
  }
};
struct ReverseBits {
  template <typename T>
  T operator()(T a) const {
    T result = 0;
    for (size_t i = 0; i < 8 * sizeof(T); ++i)
      result |= (a >> i & 1) << (8 * sizeof(T) - 1 - i);
    return result;
  }
};
/// The position of the leading bit that differs from the sign.
struct FindLeading {
  template <typename T>
  uint32_t operator()(T a) const {
    auto bits = static_cast<std::make_unsigned_t<T>>(a < 0 ? ~a : a);
    return bits ? 8 * sizeof(T) - 1 - std::countl_zero(bits) : ~0u;
  }
};
struct ExtractField {
  template <typename T>
  T operator()(T a, uint32_t position, uint32_t length) const {
    constexpr uint32_t kBits = 8 * sizeof(T);
    position &= 255, length &= 255;
    if (length == 0)
      return 0;
    uint32_t signAt = std::min(position + length - 1, kBits - 1);
    bool fill = std::is_signed_v<T> && (a >> signAt & 1);
    T result = 0;
    for (uint32_t i = 0; i < kBits; ++i) {
      bool bit = i < length && position + i < kBits ? a >> (position + i) & 1 : fill;
      result |= static_cast<T>(std::make_unsigned_t<T>(bit) << i);
    }
    return result;
  }
};
struct InsertField {
  template <typename T>
  T operator()(T a, T b, uint32_t position, uint32_t length) const {
    position &= 255, length &= 255;
    for (uint32_t i = 0; i < length && position + i < 8 * sizeof(T); ++i)
      b = (b & ~(T(1) << (position + i))) | ((a >> i & 1) << (position + i));
    return b;
  }
};
/// The default mode of prmt: each nibble of c picks a byte, its top bit the byte's sign spread over it.
struct Permute {
  uint32_t operator()(uint32_t a, uint32_t b, uint32_t c) const {
    uint64_t bytes = uint64_t(b) << 32 | a;
    uint32_t result = 0;
    for (int i = 0; i < 4; ++i) {
      uint32_t select = c >> (4 * i) & 15, byte = bytes >> (8 * (select & 7)) & 255;
      result |= (select & 8 ? (byte & 128 ? 255u : 0u) : byte) << (8 * i);
    }
    return result;
  }
};
template <bool Left, bool Wraps>
struct FunnelShift {
  uint32_t operator()(uint32_t a, uint32_t b, uint32_t c) const {
    uint32_t n = Wraps ? c & 31 : std::min(c, 32u);
    uint64_t both = uint64_t(b) << 32 | a;
    return static_cast<uint32_t>(Left ? both << n >> 32 : both >> n);
  }
};

template <typename F>
Step predicateLogic(Warp &warp, const Instr &instr, uint32_t mask) {
  uint32_t value = F()(warp.predicate(instr.op[1]), instr.op[2] >= 0 ? warp.predicate(instr.op[2]) : 0u);
  uint32_t &to = warp.predicate(instr.op[0]);
  to = (to & ~mask) | (value & mask);
  return Step::Next;
}
struct PredicateNot {
  uint32_t operator()(uint32_t a, uint32_t) const { return ~a; }
};

template <typename F>
void decodeLogic(Decoder &d) {
  Type type = d.takeType();
  if (type != Type::Pred) {
    readAll(d, type, 3);
    return d.exec(forInteger(type, [](auto value) { return binary<F, decltype(value)>; }), type);
  }
  d.count(3);
  d.writePredicate(0, 0);
  d.readPredicate(1, 1);
  d.readPredicate(2, 2);
  if (d.operand(1).negated || d.operand(2).negated)
    d.fail("a negated predicate is not supported here");
  d.exec(predicateLogic<F>);
}

void decodeNot(Decoder &d) {
  Type type = d.takeType();
  if (type != Type::Pred) {
    readAll(d, type, 2);
    return d.exec(forInteger(type, [](auto value) { return unary<Invert, decltype(value)>; }), type);
  }
  d.count(2);
  d.writePredicate(0, 0);
  d.readPredicate(1, 1);
  d.exec(predicateLogic<PredicateNot>);
}

template <typename F>
void decodeShift(Decoder &d) {
  Type type = d.takeType();
  d.count(3);
  d.write(0, 0, type);
  d.read(1, 1, type);
  d.read(2, 2, Type::B32);
  d.exec(forInteger(type, [](auto value) -> Exec { return mapLanes<F, decltype(value), uint32_t>; }), type);
}

/// popc, clz, brev, bfind: of 32 or 64 bits; all but brev give 32.
template <typename F, bool NarrowResult>
void decodeBits(Decoder &d) {
  Type type = d.takeType();
  d.count(2);
  d.write(0, 0, NarrowResult ? Type::B32 : type);
  d.read(1, 1, type);
  d.exec(bitsOf(type) == 32 ? unary<F, uint32_t> : bitsOf(type) == 64 ? unary<F, uint64_t> : nullptr, type);
}

void decodeExtract(Decoder &d) {
  Type type = d.takeType();
  d.count(4);
  d.write(0, 0, type);
  d.read(1, 1, type);
  d.read(2, 2, Type::B32);
  d.read(3, 3, Type::B32);
  d.exec(forInteger(type, [](auto value) -> Exec { return mapLanes<ExtractField, decltype(value), uint32_t, uint32_t>; }), type);
}

void decodeInsert(Decoder &d) {
  Type type = d.takeType();
  d.count(5);
  d.write(0, 0, type);
  d.read(1, 1, type);
  d.read(2, 2, type);
  d.read(3, 3, Type::B32);
  d.read(4, 4, Type::B32);
  d.exec(bitsOf(type) == 64 ? Exec(mapLanes<InsertField, uint64_t, uint64_t, uint32_t, uint32_t>)
                            : Exec(mapLanes<InsertField, uint32_t, uint32_t, uint32_t, uint32_t>));
}

/// lop3.b32 d, a, b, c, table.
Step lookUpLogic(Warp &warp, const Instr &instr, uint32_t mask) {
  forLanes(mask, [&](int lane) {
    uint32_t a = warp.row(instr.op[1])[lane], b = warp.row(instr.op[2])[lane], c = warp.row(instr.op[3])[lane], result = 0;
    for (int i = 0; i < 8; ++i)
      if (instr.imm[0] >> i & 1)
        result |= (i & 4 ? a : ~a) & (i & 2 ? b : ~b) & (i & 1 ? c : ~c);
    warp.row(instr.op[0])[lane] = result;
  });
  return Step::Next;
}

void decodeLookUpLogic(Decoder &d) {
  d.takeType();
  d.count(5);
  d.write(0, 0, Type::B32);
  for (size_t i = 1; i < 4; ++i)
    d.read(i, i, Type::B32);
  d.instr.imm[0] = d.literal(4);
  d.exec(lookUpLogic);
}

void decodeFunnel(Decoder &d) {
  bool left = d.require({"l", "r"}) == "l", wraps = d.require({"wrap", "clamp"}) == "wrap";
  d.takeType();
  readAll(d, Type::B32, 4);
  d.exec(left    ? wraps ? ternary<FunnelShift<true, true>, uint32_t> : ternary<FunnelShift<true, false>, uint32_t>
         : wraps ? ternary<FunnelShift<false, true>, uint32_t>
                 : ternary<FunnelShift<false, false>, uint32_t>);
}

} // namespace

void addLogicInstructions(DecodeTable &table) {
  table["and"] = decodeLogic<And>;
  table["or"] = decodeLogic<Or>;
  table["xor"] = decodeLogic<Xor>;
  table["not"] = decodeNot;
  table["shl"] = decodeShift<ShiftLeft>;
  table["shr"] = decodeShift<ShiftRight>;
  table["popc"] = decodeBits<PopulationCount, true>;
  table["clz"] = decodeBits<CountLeadingZeros, true>;
  table["brev"] = decodeBits<ReverseBits, false>;
  table["bfe"] = decodeExtract;
  table["bfi"] = decodeInsert;
  table["lop3"] = decodeLookUpLogic;
  table["shf"] = decodeFunnel;
  table["cnot"] = [](Decoder &d) {
    Type type = d.takeType();
    readAll(d, type, 2);
    d.exec(forInteger(type, [](auto value) { return unary<LogicalNot, decltype(value)>; }), type);
  };
  table["bfind"] = [](Decoder &d) {
    Type type = d.takeType();
    d.count(2);
    d.write(0, 0, Type::B32);
    d.read(1, 1, type);
    d.exec(forInteger(type, [](auto value) { return unary<FindLeading, decltype(value)>; }), type);
  };
  table["prmt"] = [](Decoder &d) {
    d.takeType();
    readAll(d, Type::B32, 4);
    d.exec(ternary<Permute, uint32_t>);
  };
}

} // namespace quant::sim
