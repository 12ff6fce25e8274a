//===- isa_convert.cpp - cvt -----------------------------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

//
// PTX ISA, "Data Movement and Conversion Instructions: cvt" and "cvt.pack".
//
//===----------------------------------------------------------------------===//

#include "tools/quant-sim/isa/float_formats.h"
#include "tools/quant-sim/isa/lanes.h"

#include <cmath>

namespace quant::sim {

namespace {

/// What cvt's modifiers say; kept in Instr::imm[0].
struct Conversion {
  Type to = Type::None, from = Type::None;
  Rounding rounding = Rounding::NearestEven;
  bool saturate = false, relu = false, ftz = false, toInteger = false;

  int64_t pack() const {
    return int64_t(to) | int64_t(from) << 8 | int64_t(rounding) << 16 | int64_t(saturate) << 24 | int64_t(relu) << 25 |
           int64_t(ftz) << 26 | int64_t(toInteger) << 27;
  }
  static Conversion unpack(int64_t bits) {
    return {static_cast<Type>(bits & 255),
            static_cast<Type>(bits >> 8 & 255),
            static_cast<Rounding>(bits >> 16 & 255),
            (bits >> 24 & 1) != 0,
            (bits >> 25 & 1) != 0,
            (bits >> 26 & 1) != 0,
            (bits >> 27 & 1) != 0};
  }
};

double roundIntegral(double value, Rounding rounding) {
  switch (rounding) {
  case Rounding::Zero:
    return std::trunc(value);
  case Rounding::Down:
    return std::floor(value);
  case Rounding::Up:
    return std::ceil(value);
  case Rounding::NearestAway:
    return std::round(value);
  default:
    return std::nearbyint(value);
  }
}

double toDouble(uint64_t bits, Type type, bool ftz) {
  if (type == Type::F64)
    return fromBits<double>(bits);
  if (type == Type::F32) {
    float value = fromBits<float>(bits);
    return ftz && std::fpclassify(value) == FP_SUBNORMAL ? std::copysign(0.0f, value) : value;
  }
  return decodeFloat(bits & ((1u << bitsOf(type)) - 1), formatOf(type));
}

/// An integer of that type from its low bits, extended to 64.
int64_t toInteger(uint64_t bits, Type type) {
  int unused = 64 - bitsOf(type);
  return isSigned(type) ? static_cast<int64_t>(bits << unused) >> unused : static_cast<int64_t>(bits << unused >> unused);
}

/// Out of range becomes the nearest value in range, NaN 0.
uint64_t floatToInteger(double value, const Conversion &c) {
  if (std::isnan(value))
    return 0;
  value = roundIntegral(value, c.rounding);
  int bits = bitsOf(c.to);
  double low = isSigned(c.to) ? -std::ldexp(1.0, bits - 1) : 0, beyond = std::ldexp(1.0, isSigned(c.to) ? bits - 1 : bits);
  if (value < low)
    return isSigned(c.to) ? uint64_t(1) << (bits - 1) : 0;
  if (value >= beyond)
    return (~uint64_t(0) >> (64 - bits)) >> (isSigned(c.to) ? 1 : 0);
  return isSigned(c.to) ? static_cast<uint64_t>(static_cast<int64_t>(value)) : static_cast<uint64_t>(value);
}

uint64_t integerToInteger(int64_t value, const Conversion &c) {
  int bits = bitsOf(c.to);
  if (!c.saturate)
    return static_cast<uint64_t>(value);
  bool fromUnsigned64 = !isSigned(c.from) && value < 0;
  if (isSigned(c.to)) {
    int64_t most = static_cast<int64_t>(~uint64_t(0) >> (65 - bits));
    return static_cast<uint64_t>(fromUnsigned64 ? most : std::clamp(value, -most - 1, most));
  }
  uint64_t most = ~uint64_t(0) >> (64 - bits);
  return isSigned(c.from) && value < 0 ? 0 : std::min(static_cast<uint64_t>(value), most);
}

constexpr FloatFormat kTF32 = {8, 10, 127, Specials::Infinities};

uint64_t toFloatBits(double value, const Conversion &c) {
  if (c.relu && value < 0)
    value = 0;
  bool narrow = c.to != Type::F32 && c.to != Type::F64 && c.to != Type::TF32;
  if (c.saturate && !narrow)
    value = value > 0 ? std::min(value, 1.0) : 0;
  if (c.to == Type::F64)
    return toBits(value);
  if (c.to == Type::TF32)
    return uint64_t(encode(value, kTF32, c.rounding, false)) << 13;
  if (narrow)
    return encode(value, formatOf(c.to), c.rounding, c.saturate);
  float result = static_cast<float>(value);
  if (c.rounding != Rounding::NearestEven && !std::isnan(value) && double(result) != value) {
    bool tooHigh = double(result) > value;
    bool wantHigh = c.rounding == Rounding::Up || (c.rounding == Rounding::Zero && value < 0);
    if (tooHigh != wantHigh)
      result = std::nextafter(result, wantHigh ? INFINITY : -INFINITY);
  }
  if (c.ftz && std::fpclassify(result) == FP_SUBNORMAL)
    result = std::copysign(0.0f, result);
  return toBits(std::isnan(result) ? std::bit_cast<float>(0x7fffffffu) : result);
}

/// u64 to float by way of double would round twice.
uint64_t integerToFloat(int64_t value, const Conversion &c) {
  if (c.to == Type::F32 && c.rounding == Rounding::NearestEven)
    return toBits(isSigned(c.from) ? static_cast<float>(value) : static_cast<float>(static_cast<uint64_t>(value)));
  return toFloatBits(isSigned(c.from) ? static_cast<double>(value) : static_cast<double>(static_cast<uint64_t>(value)), c);
}

uint64_t convertOne(uint64_t bits, const Conversion &c) {
  if (!isFloat(c.from))
    return isFloat(c.to) ? integerToFloat(toInteger(bits, c.from), c) : integerToInteger(toInteger(bits, c.from), c);
  double value = toDouble(bits, c.from, c.ftz);
  if (!isFloat(c.to))
    return floatToInteger(value, c);
  if (c.toInteger)
    value = roundIntegral(value, c.rounding);
  return toFloatBits(value, c);
}

/// imm[1]: bits of the destination register, to which a narrower result is extended.
Step convert(Warp &warp, const Instr &instr, uint32_t mask) {
  Conversion c = Conversion::unpack(instr.imm[0]);
  uint64_t keep = ~uint64_t(0) >> (64 - instr.imm[1]);
  const uint64_t *from = warp.row(instr.op[1]);
  uint64_t *to = warp.row(instr.op[0]);
  forLanes(mask, [&](int lane) {
    uint64_t value = convertOne(from[lane], c);
    to[lane] = (isFloat(c.to) ? value : static_cast<uint64_t>(toInteger(value, c.to))) & keep;
  });
  return Step::Next;
}

/// Two f32 into halves: the first operand becomes the upper one.
Step convertPair(Warp &warp, const Instr &instr, uint32_t mask) {
  Conversion c = Conversion::unpack(instr.imm[0]);
  int half = bitsOf(c.to) / 2;
  forLanes(mask, [&](int lane) {
    uint64_t upper = convertOne(warp.row(instr.op[1])[lane], c), lower = convertOne(warp.row(instr.op[2])[lane], c);
    warp.row(instr.op[0])[lane] = upper << half | lower;
  });
  return Step::Next;
}

/// Halves to halves: f16x2 to and from fp8x2.
Step convertHalves(Warp &warp, const Instr &instr, uint32_t mask) {
  Conversion c = Conversion::unpack(instr.imm[0]);
  int to = bitsOf(c.to) / 2, from = bitsOf(c.from) / 2;
  auto narrow = [&](uint64_t bits) {
    double value = decodeFloat(bits & ((1u << from) - 1), formatOf(c.from));
    return toFloatBits(value, c);
  };
  forLanes(mask, [&](int lane) {
    uint64_t bits = warp.row(instr.op[1])[lane];
    warp.row(instr.op[0])[lane] = narrow(bits >> from) << to | narrow(bits);
  });
  return Step::Next;
}

bool isPair(Type type) { return type == Type::F16x2 || type == Type::BF16x2 || type == Type::E4M3x2 || type == Type::E5M2x2; }
bool isFp8Pair(Type type) { return type == Type::E4M3x2 || type == Type::E5M2x2; }

void takeRounding(Decoder &d, Conversion &c) {
  std::string_view integral = d.takeOne({"rni", "rzi", "rmi", "rpi"});
  std::string_view mode = integral.empty() ? d.takeOne({"rn", "rz", "rm", "rp", "rna"}) : integral;
  c.toInteger = !integral.empty();
  c.rounding = mode == "rna"                    ? Rounding::NearestAway
               : mode.empty() || mode[1] == 'n' ? Rounding::NearestEven
               : mode[1] == 'z'                 ? Rounding::Zero
               : mode[1] == 'm'                 ? Rounding::Down
                                                : Rounding::Up;
}

void decodeConvert(Decoder &d) {
  Conversion c;
  takeRounding(d, c);
  bool satfinite = d.take("satfinite");
  c.saturate = d.take("sat") || satfinite;
  c.relu = d.take("relu");
  c.ftz = d.take("ftz");
  c.to = d.takeType();
  c.from = d.takeType();
  d.instr.imm[0] = c.pack();
  if (isPair(c.to) && c.from == Type::F32) {
    d.count(3);
    d.read(2, 2, Type::F32);
  } else {
    d.count(2);
  }
  d.write(0, 0, c.to);
  d.read(1, 1, c.from);
  d.instr.imm[1] = std::max(d.registerBits(d.operand(0)), 1);
  if (isFp8Pair(c.to) && !satfinite)
    d.fail("a conversion to fp8 needs .satfinite");
  if (satfinite && !isFloat(c.to))
    d.fail("only floats have .satfinite");
  bool halves = isPair(c.from) && isPair(c.to) && isFp8Pair(c.from) != isFp8Pair(c.to);
  if (isPair(c.to) && c.from == Type::F32)
    return d.exec(convertPair, c.to);
  if (isPair(c.to) || isPair(c.from))
    return d.exec(halves ? convertHalves : nullptr, c.to);
  bool scalar = c.to != Type::Pred && c.from != Type::Pred && c.to < Type::E4M3 && c.from < Type::TF32 && bitsOf(c.to) <= 64 &&
                bitsOf(c.from) <= 64;
  d.exec(scalar ? convert : nullptr, c.to);
}

} // namespace

void addConvertInstructions(DecodeTable &table) { table["cvt"] = decodeConvert; }

} // namespace quant::sim
