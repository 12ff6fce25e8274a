//===- number_format.h - numbers in few bits, and their scales --*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The rules by which the libraries that define the formats choose scales, so that the bytes are theirs:
//   compressed-tensors 0.20 (calculate_qparams, generate_mx_scales): s = amax / 127.5, / 7.5, / 448 or / 6; with zero points
//     s = (hi - lo) / (2^b - 1), z = rint(clip(qmin - lo / s)), q = rint(clip(x / s + z));
//   AutoGPTQ (Quantizer.find_params): the same scales, q = clip(rint(x / s) + z);
//   DeepSeek (bf16_cast_fp8.py): s = amax / 448, 1 for zeros.
// A scale is rounded to the type in which it is stored before anything is divided by it.
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_TOOLS_QUANT_CONVERT_QUANTIZE_NUMBER_FORMAT_H
#define QUANT_TOOLS_QUANT_CONVERT_QUANTIZE_NUMBER_FORMAT_H

#include "runtime/support/scheme.h"

#include <cstdint>
#include <span>

namespace quant::convert {

/// A scale as stored, and a zero point among the signed codes.
struct Parameters {
  float scale = 1;
  int zero = 0;
};

/// How a group of weights becomes codes: integers of 4 or 8 bits, E4M3 or E2M1.
class NumberFormat {
public:
  /// That of a scheme of compressed-tensors, GPTQ or DeepSeek's FP8. GPTQ's files have zero points even if the codes are
  /// symmetric, as they are without `zeroPoints`.
  NumberFormat(const Scheme &scheme, bool zeroPoints);

  /// The parameters of a group whose values lie between `low` <= 0 and `high` >= 0. `global` is the second scale, by which the
  /// stored one is divided, of NVFP4. The scale is above zero; infinite where its type cannot hold it.
  Parameters fit(float low, float high, float global = 1) const;

  /// codes[i] of values[i]: an integer in two's complement, or a float's bits.
  void encode(std::span<const float> values, const Parameters &parameters, float global, uint8_t *codes) const;
  /// What the codes mean: (code - zero) * scale, in f32.
  void decode(std::span<const uint8_t> codes, const Parameters &parameters, float global, float *values) const;
  /// A value to the number that its code means; for loops that carry errors on.
  float round(float value, const Parameters &parameters, float global, uint8_t &code) const;

  bool hasGlobalScale() const { return scaleType == DType::F8E4M3FN; }
  bool hasZeroPoints() const { return zeroPoints; }
  /// The second scale of a weight with that largest magnitude.
  static float globalScale(float amax);
  /// Rounds a scale to the type that stores it.
  float storedScale(float scale) const;
  /// The type that scales are stored in; E8M0 where the file says U8.
  DType scaleDType() const { return scaleType; }

private:
  float symmetricScale(float amax, float global) const;

  DType element, scaleType;
  bool zeroPoints;
  bool isGptq, isDeepSeek;
  bool isLessOne;  ///< a zero point of 0 would be stored as 15, which some readers take for 16
  int low, high;   ///< codes of integers
  float fullRange; ///< what the largest magnitude becomes: 127.5, 7.5, 448, 6
};

} // namespace quant::convert

#endif // QUANT_TOOLS_QUANT_CONVERT_QUANTIZE_NUMBER_FORMAT_H
