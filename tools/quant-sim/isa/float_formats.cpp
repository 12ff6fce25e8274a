//===- float_formats.cpp - narrow floating-point formats -------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/quant-sim/isa/float_formats.h"

#include <cmath>
#include <limits>

namespace quant::sim {

const FloatFormat &formatOf(Type type) {
  switch (type) {
  case Type::F16:
  case Type::F16x2:
    return kF16;
  case Type::BF16:
  case Type::BF16x2:
    return kBf16;
  case Type::E5M2:
  case Type::E5M2x2:
    return kE5m2;
  default:
    return kE4m3;
  }
}

/// `value` >= 0, to an integer.
static double roundToInteger(double value, Rounding rounding, bool negative) {
  double below = std::floor(value), rest = value - below;
  bool up = false;
  switch (rounding) {
  case Rounding::NearestEven:
    up = rest > 0.5 || (rest == 0.5 && std::fmod(below, 2) == 1);
    break;
  case Rounding::NearestAway:
    up = rest >= 0.5;
    break;
  case Rounding::Zero:
    break;
  case Rounding::Down:
    up = negative && rest > 0;
    break;
  case Rounding::Up:
    up = !negative && rest > 0;
    break;
  }
  return below + up;
}

uint32_t encode(double value, const FloatFormat &format, Rounding rounding, bool saturate) {
  if (std::isnan(value))
    return format.nan();
  bool negative = std::signbit(value);
  uint32_t sign = negative ? format.signBit() : 0;
  uint32_t beyond = sign | (saturate || !format.hasInfinity ? format.largest() : format.largest() + 1);
  double size = std::abs(value);
  if (std::isinf(size))
    return beyond;
  if (size == 0)
    return sign;
  int exponent = std::max(std::ilogb(size), 1 - format.bias());
  double units = roundToInteger(std::ldexp(size, format.mantissaBits - exponent), rounding, negative);
  // A subnormal's units are its code; a carry into the next exponent comes out right by itself.
  uint64_t code = (uint64_t(exponent + format.bias() - 1) << format.mantissaBits) + static_cast<uint64_t>(units);
  if (code <= format.largest())
    return sign | static_cast<uint32_t>(code);
  bool inwards =
      rounding == Rounding::Zero || (rounding == Rounding::Down && !negative) || (rounding == Rounding::Up && negative);
  return inwards ? sign | format.largest() : beyond;
}

double decodeFloat(uint32_t code, const FloatFormat &format) {
  double sign = code & format.signBit() ? -1 : 1;
  uint32_t size = code & (format.signBit() - 1);
  if (size > format.largest())
    return format.hasInfinity && size == format.largest() + 1 ? sign * std::numeric_limits<double>::infinity()
                                                              : std::numeric_limits<double>::quiet_NaN();
  int exponent = static_cast<int>(size >> format.mantissaBits);
  double mantissa = size & ((1u << format.mantissaBits) - 1);
  if (exponent > 0)
    mantissa += 1u << format.mantissaBits;
  return sign * std::ldexp(mantissa, std::max(exponent, 1) - format.bias() - format.mantissaBits);
}

const std::array<float, 256> &fp8Table(Type type) {
  auto make = [](const FloatFormat &format) {
    std::array<float, 256> table;
    for (uint32_t code = 0; code < 256; ++code)
      table[code] = static_cast<float>(decodeFloat(code, format));
    return table;
  };
  static const std::array<float, 256> e4m3 = make(kE4m3), e5m2 = make(kE5m2);
  return type == Type::E5M2 ? e5m2 : e4m3;
}

} // namespace quant::sim
