//===- encode.h - rows of a weight in few bits ------------------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_TOOLS_QUANT_CONVERT_QUANTIZE_ENCODE_H
#define QUANT_TOOLS_QUANT_CONVERT_QUANTIZE_ENCODE_H

#include "tools/quant-convert/quantize/number_format.h"

#include <array>
#include <vector>

namespace quant::convert {

/// How far a scale lets values of its group be clipped.
enum class ClipMethod : uint8_t {
  None,      ///< not at all: round to nearest under the greatest magnitude
  Mse,       ///< by the share of it, 1, 0.99 ... 0.2, that has the least sum of squared errors (GPTQ's search, norm 2)
  Percentile ///< by a percentile of the magnitudes, interpolated between order statistics as numpy does
};

struct Clip {
  ClipMethod method = ClipMethod::None;
  double percentile = 99.9; ///< in percent
};

/// Rows of a weight, dense, in f32.
struct RowBlock {
  std::span<const float> values; ///< [rows, columns]
  int64_t rows, columns;
  float amax = 0; ///< of the whole weight, where NumberFormat::hasGlobalScale() or the block is the whole weight
};

/// What they become: a scale and a zero point for each block, [ceil(rows / block rows), groups].
struct EncodedRows {
  std::vector<uint8_t> codes; ///< [rows, columns], as NumberFormat has them
  std::vector<float> scales;
  std::vector<int8_t> zeros; ///< empty where there are none
  float global = 1;
};

/// What a block in the checkpoint is for a weight of `rows` x `columns`: a side of 0 is all of it.
std::array<int64_t, 2> blockSides(const Scheme &scheme, int64_t rows, int64_t columns);

/// Encodes rows that begin with a block, with parameters by `clip`; a block that is the whole weight takes RowBlock::amax,
/// without clipping. Values are finite.
EncodedRows encodeRows(const NumberFormat &format, const Scheme &scheme, const RowBlock &in, const Clip &clip);

/// The numbers that the codes mean, [rows, columns].
std::vector<float> decodeRows(const NumberFormat &format, const Scheme &scheme, const RowBlock &in, const EncodedRows &encoded);

/// The percentile of the magnitudes, interpolated linearly between order statistics. @pre 0 <= percent <= 100, values not empty
float percentileOf(std::vector<float> magnitudes, double percent);

} // namespace quant::convert

#endif // QUANT_TOOLS_QUANT_CONVERT_QUANTIZE_ENCODE_H
