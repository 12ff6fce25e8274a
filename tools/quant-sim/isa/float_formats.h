//===- float_formats.h - narrow floating-point formats ---------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_TOOLS_QUANT_SIM_ISA_FLOAT_FORMATS_H
#define QUANT_TOOLS_QUANT_SIM_ISA_FLOAT_FORMATS_H

#include "tools/quant-sim/ptx/ptx.h"

#include <array>
#include <cstdint>

namespace quant::sim {

/// A format of up to 16 bits: sign, exponent, mantissa.
struct FloatFormat {
  int exponentBits, mantissaBits;
  /// False for e4m3: no infinity, and only the code of all ones is NaN.
  bool hasInfinity;

  int bias() const { return (1 << (exponentBits - 1)) - 1; }
  /// Code of the largest finite value.
  uint32_t largest() const { return ((1u << (exponentBits + mantissaBits)) - 1) - (hasInfinity ? 1u << mantissaBits : 1u); }
  /// The NaN that PTX's conversions give: all ones but the sign.
  uint32_t nan() const { return (1u << (exponentBits + mantissaBits)) - 1; }
  uint32_t signBit() const { return 1u << (exponentBits + mantissaBits); }
};

constexpr FloatFormat kF16{5, 10, true}, kBf16{8, 7, true}, kE4m3{4, 3, false}, kE5m2{5, 2, true};

/// The format of F16, BF16, E4M3, E5M2 and of their packed types.
const FloatFormat &formatOf(Type type);

enum class Rounding : uint8_t { NearestEven, Zero, Down, Up, NearestAway };

/// The code of `value`. `saturate`: beyond the largest finite value, infinity too, comes that value; otherwise infinity.
uint32_t encode(double value, const FloatFormat &format, Rounding rounding, bool saturate);
double decodeFloat(uint32_t code, const FloatFormat &format);

/// Values of all 256 codes of E4M3 or E5M2, as f32.
const std::array<float, 256> &fp8Table(Type type);

} // namespace quant::sim

#endif // QUANT_TOOLS_QUANT_SIM_ISA_FLOAT_FORMATS_H
