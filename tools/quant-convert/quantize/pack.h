//===- pack.h - codes to a scheme's bytes -----------------------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_TOOLS_QUANT_CONVERT_QUANTIZE_PACK_H
#define QUANT_TOOLS_QUANT_CONVERT_QUANTIZE_PACK_H

#include "tools/quant-convert/quantize/encode.h"

#include <cstddef>
#include <vector>

namespace quant::convert {

/// The codes of whole rows as the scheme has them one after the other: bytes, nibbles, words in a row.
std::vector<std::byte> packRows(const Scheme &scheme, std::span<const uint8_t> codes, int64_t columns);

/// Scales in the type that stores them, which holds each exactly.
std::vector<std::byte> packScales(DType stored, std::span<const float> scales);

/// compressed-tensors' zero points, packed down the rows: `zeros` is [rows, groups], the result [ceil(rows bits / 32), groups].
std::vector<std::byte> packZerosDown(std::span<const int8_t> zeros, int64_t rows, int64_t groups, int bits);

/// A weight in GPTQ's layout, filled some rows at a time. @pre rows and columns are multiples of 8
class GptqTensors {
public:
  GptqTensors(const Scheme &scheme, int64_t rows, int64_t columns);
  /// Rows from `begin` on.
  void add(int64_t begin, const EncodedRows &encoded, int64_t count);

  std::vector<uint32_t> words;        ///< qweight [columns / 8, rows]
  std::vector<uint32_t> zeroWords;    ///< qzeros [groups, rows / 8]
  std::vector<uint16_t> scales;       ///< [groups, rows], f16
  std::vector<int32_t> groupOfColumn; ///< g_idx [columns]

private:
  int64_t rows, columns, groups;
  bool isLessOne;
};

} // namespace quant::convert

#endif // QUANT_TOOLS_QUANT_CONVERT_QUANTIZE_PACK_H
