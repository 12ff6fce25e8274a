//===- cast_oracle.h - FP8 numerics from their definition -------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// What the fast kernels are compared with: runtime/support/narrow.h, whose own test has every code and every midpoint.
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_TEST_TOOLS_QUANT_CONVERT_CAST_ORACLE_H
#define QUANT_TEST_TOOLS_QUANT_CONVERT_CAST_ORACLE_H

#include "runtime/support/narrow.h"

#include <cstdint>

namespace quant::test {

inline double e4m3Value(uint8_t code) { return decodeFloat(code, kE4M3FN); }
inline uint8_t e4m3Code(float value) { return static_cast<uint8_t>(encodeFloat(value, kE4M3FN)); }
inline float bf16Value(uint16_t bits) { return static_cast<float>(decodeFloat(bits, kBF16)); }
/// May be infinite.
inline uint16_t bf16Bits(float value) {
  return static_cast<uint16_t>(encodeFloat(value, kBF16, Rounding::NearestEven, Overflow::Infinity));
}
inline float f16Value(uint16_t bits) { return static_cast<float>(decodeFloat(bits, kF16)); }

} // namespace quant::test

#endif // QUANT_TEST_TOOLS_QUANT_CONVERT_CAST_ORACLE_H
