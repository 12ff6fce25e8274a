//===- cast_oracle.h - FP8 numerics from their definition -------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Slow and plain: the values of all codes, and the nearest of them. What the fast kernels are compared with.
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_TEST_TOOLS_QUANT_CONVERT_CAST_ORACLE_H
#define QUANT_TEST_TOOLS_QUANT_CONVERT_CAST_ORACLE_H

#include <array>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

namespace quant::test {

/// Sign, 4 bits of exponent (bias 7), 3 of mantissa; 0x7F and 0xFF are NaN, there is no infinity.
inline double e4m3Value(uint8_t code) {
  int exponent = code >> 3 & 15, mantissa = code & 7;
  double magnitude = (code & 0x7F) == 0x7F ? std::numeric_limits<double>::quiet_NaN()
                     : exponent == 0       ? std::ldexp(mantissa, -9)
                                           : std::ldexp(8 + mantissa, exponent - 10);
  return code & 0x80 ? -magnitude : magnitude;
}

/// The nearest code, of two equally near ones the even one; the largest is 448.
inline uint8_t e4m3Code(float value) {
  double magnitude = std::fabs(static_cast<double>(value));
  int best = 0;
  for (int code = 1; code <= 0x7E; ++code) {
    double distance = std::fabs(e4m3Value(static_cast<uint8_t>(code)) - magnitude);
    double bestDistance = std::fabs(e4m3Value(static_cast<uint8_t>(best)) - magnitude);
    if (distance < bestDistance || (distance == bestDistance && code % 2 == 0))
      best = code;
  }
  if (std::isinf(magnitude))
    best = 0x7E;
  return static_cast<uint8_t>(best | (std::signbit(value) ? 0x80 : 0));
}

inline float bf16Value(uint16_t bits) { return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16); }

/// The nearest bf16, ties to even, of a float that is finite; may be infinite.
inline uint16_t bf16Bits(float value) {
  uint32_t bits = std::bit_cast<uint32_t>(value);
  uint32_t below = bits >> 16, rest = bits & 0xFFFF;
  bool up = rest > 0x8000 || (rest == 0x8000 && below % 2 == 1);
  return static_cast<uint16_t>(below + up);
}

inline float f16Value(uint16_t bits) {
  int exponent = bits >> 10 & 31, mantissa = bits & 0x3FF;
  float magnitude = exponent == 31  ? (mantissa ? std::numeric_limits<float>::quiet_NaN() : HUGE_VALF)
                    : exponent == 0 ? std::ldexp(static_cast<float>(mantissa), -24)
                                    : std::ldexp(static_cast<float>(1024 + mantissa), exponent - 25);
  return bits & 0x8000 ? -magnitude : magnitude;
}

} // namespace quant::test

#endif // QUANT_TEST_TOOLS_QUANT_CONVERT_CAST_ORACLE_H
