//===- compare_metrics.h - how far two tensors are apart --------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_TOOLS_QUANT_CONVERT_CHECK_COMPARE_METRICS_H
#define QUANT_TOOLS_QUANT_CONVERT_CHECK_COMPARE_METRICS_H

#include "tools/quant-convert/schemes/dequantize.h"

#include <cstdint>
#include <optional>

namespace quant::convert {

/// Blocks of a matrix that share a scale; those at the right and at the bottom may be ragged.
struct Blocks {
  int64_t columns, blockRows, blockColumns; ///< columns of the matrix
};

/// The block with the lowest SQNR, where a tensor has blocks.
struct WorstBlock {
  double aa = 0, dd = 0;
  int64_t row = 0, column = 0; ///< counted in blocks

  double sqnr() const;
};

/// Sums over pairs of values, in f64. A is the reference. Only pairs of finite values count in the sums; a NaN or Inf on either
/// side is counted, and is a mismatch unless the other side has the same.
struct Metrics {
  uint64_t elements = 0;
  double aa = 0, bb = 0, ab = 0; ///< sums of a*a, b*b, a*b
  double dd = 0;                 ///< sum of (a - b)^2
  double maxError = 0;           ///< largest |a - b|
  uint64_t maxAt = 0;            ///< the first element that has it
  uint64_t nanA = 0, infA = 0, nanB = 0, infB = 0;
  std::optional<WorstBlock> worst;
  uint64_t mismatched = 0; ///< elements where one side is NaN or Inf and the other is not the same

  /// Every value is the same.
  bool identical() const { return maxError == 0 && mismatched == 0; }
  bool hasNonFinite() const { return nanA + infA + nanB + infB > 0; }
  /// Signal to quantization noise, 10 log10(sum a^2 / sum (a - b)^2) in dB: infinite without noise, -infinite without signal.
  double sqnr() const;
  /// sum ab / sqrt(sum a^2 * sum b^2); 1 for identical tensors, 0 if only one is all zero.
  double cosine() const;
  /// |a - b| / |a| in the Euclidean norm; infinite if only a is all zero.
  double relativeError() const;
};

/// Elements [begin, end) of two tensors of the same shape; with `blocks`, whole rows of blocks.
Metrics measure(const TensorValues &a, const TensorValues &b, uint64_t begin, uint64_t end, const std::optional<Blocks> &blocks);

/// Adds those of a later range of the same tensor, or of another: the places of the largest error and of the worst block are
/// those of the tensor that has them.
void append(Metrics &sum, const Metrics &later);

} // namespace quant::convert

#endif // QUANT_TOOLS_QUANT_CONVERT_CHECK_COMPARE_METRICS_H
