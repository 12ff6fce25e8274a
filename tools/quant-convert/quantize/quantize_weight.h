//===- quantize_weight.h - a weight to a scheme's tensors -------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// A weight [rows, columns], plain (BF16, F16, F32) or in any scheme that LinearWeight decodes, becomes the tensors of another
// scheme: codes, scales, zero points, as runtime/support/scheme.h has them. Row-major layouts are written in steps of some rows;
// GPTQ's, whose words run down the transposed weight, in one step that holds the packed weight.
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_TOOLS_QUANT_CONVERT_QUANTIZE_QUANTIZE_WEIGHT_H
#define QUANT_TOOLS_QUANT_CONVERT_QUANTIZE_QUANTIZE_WEIGHT_H

#include "tools/quant-convert/engine/plan.h"
#include "tools/quant-convert/quantize/encode.h"
#include "tools/quant-convert/schemes/weights.h"

#include <functional>

namespace quant::convert {

/// The values of a weight in f32. Refers to the weight.
class WeightRows {
public:
  /// Errors: no matrix, or of a type that is no number of a weight.
  static Result<WeightRows> create(const Weight &weight);

  int64_t rows() const { return shape[0]; }
  int64_t columns() const { return shape[1]; }
  const Weight &weight() const { return *from; }
  /// Rows [begin, begin + count) to `out` [count, columns]. They are read ahead, and given back. Error: NaN or infinity.
  Result<void> read(int64_t begin, int64_t count, std::span<float> out) const;

private:
  WeightRows() = default;

  const Weight *from = nullptr;
  std::array<int64_t, 2> shape{};
};

/// Encodes rows in place of encodeRows(): the first row's number, the rows.
using Encoder = std::function<Result<EncodedRows>(int64_t begin, const RowBlock &in)>;

/// Errors: a weight that the scheme does not hold: a group that does not divide the columns, rows or columns that fill no words.
Result<void> checkFits(const WeightRows &weight, const Scheme &scheme);

/// The job that writes `weight` as `scheme`. The tensors are called after `layer`, the weight's name without ".weight".
/// @pre checkFits()
Job quantizeWeightJob(const WeightRows &weight, const std::string &layer, const Scheme &scheme, const Encoder &encode);

/// encodeRows() with these parameters.
Encoder roundToNearest(const Scheme &scheme, bool zeroPoints, const Clip &clip);

/// Weights that are encoded at a time.
int64_t stepWeights(int64_t rows, int64_t columns, const Scheme &scheme);

/// Bytes of memory that a step of that job takes at most.
int64_t stepBytes(int64_t rows, int64_t columns, const Scheme &scheme);

/// The job that writes what the codes mean as `name`, in the weight's own type: the weight as it will be, for a model that reads
/// it unquantized. @pre checkFits(), a weight that is stored as it is
Job roundedWeightJob(const WeightRows &weight, const std::string &name, const Scheme &scheme, bool zeroPoints);

} // namespace quant::convert

#endif // QUANT_TOOLS_QUANT_CONVERT_QUANTIZE_QUANTIZE_WEIGHT_H
