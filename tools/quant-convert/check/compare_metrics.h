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

namespace quant::convert {

/// Sums over pairs of values, in f64. A is the reference. Only pairs of finite values count in the sums; a NaN or Inf on either
/// side is counted, and is a mismatch unless the other side has the same.
struct Metrics {
  uint64_t elements = 0;
  double aa = 0, bb = 0, ab = 0; ///< sums of a*a, b*b, a*b
  double dd = 0;                 ///< sum of (a - b)^2
  double maxError = 0;           ///< largest |a - b|
  uint64_t maxAt = 0;            ///< the first element that has it
  uint64_t nanA = 0, infA = 0, nanB = 0, infB = 0;
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

/// Elements [begin, end) of two tensors of the same shape.
Metrics measure(const TensorValues &a, const TensorValues &b, uint64_t begin, uint64_t end);

/// Adds those of a later range of the same tensor.
void append(Metrics &sum, const Metrics &later);

} // namespace quant::convert

#endif // QUANT_TOOLS_QUANT_CONVERT_CHECK_COMPARE_METRICS_H
