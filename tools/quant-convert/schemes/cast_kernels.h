//===- cast_kernels.h - rows of weights to FP8 and back ---------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// A row of a weight is cut into blocks of `blockColumns` elements, the last one may be shorter; block b has scale b. Memory needs
// no alignment. Every instruction set gives the same bits: f32 division and multiplication, rounding to nearest even.
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_TOOLS_QUANT_CONVERT_SCHEMES_CAST_KERNELS_H
#define QUANT_TOOLS_QUANT_CONVERT_SCHEMES_CAST_KERNELS_H

#include "runtime/support/dtype.h"

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

namespace quant::convert {

/// What the kernels were compiled for.
enum class Isa { Baseline, Avx2, Avx512 };

std::string_view name(Isa isa);
/// Those this machine has, the best one last.
std::vector<Isa> supportedIsas();
Isa bestIsa();

/// BF16, F16 or F32 to FP8.
struct QuantizeKernels {
  /// Raises magnitudes[b] to the largest magnitude in block b of the row: the element's bits without its sign.
  void (*amaxRow)(const std::byte *row, int64_t columns, int64_t blockColumns, uint32_t *magnitudes);
  /// out[i] = e4m3(row[i] / divisors[b]), beyond 448 saturated. Elements are finite, divisors positive.
  void (*quantizeRow)(const std::byte *row, int64_t columns, int64_t blockColumns, const float *divisors, uint8_t *out);
};

/// Whether there are kernels for weights of that dtype: BF16, F16, F32.
bool isCastable(DType dtype);

/// @pre isCastable(dtype)
const QuantizeKernels &quantizeKernels(DType dtype, Isa isa = bestIsa());

/// The value of a magnitude that amaxRow found, not finite if an element was not.
float magnitudeValue(DType dtype, uint32_t magnitude);

/// out[i] = row[i] * scales[b], rounded to `out`'s type. False if a code is NaN or a product overflows; the row is to be thrown
/// away then.
using DequantizeRow = bool (*)(const std::byte *row, int64_t columns, int64_t blockColumns, const float *scales, std::byte *out);

/// To BF16 (rounded to nearest even) or F32.
DequantizeRow dequantizeRow(DType out, Isa isa = bestIsa());

} // namespace quant::convert

#endif // QUANT_TOOLS_QUANT_CONVERT_SCHEMES_CAST_KERNELS_H
