//===- RangeMatmul.h - x times a range of a weight's rows --------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_LOWERING_TARGET_X86_RANGEMATMUL_H
#define QUANT_LOWERING_TARGET_X86_RANGEMATMUL_H

#include "dialects/x86/MatmulSchedule.h"
#include "lowering/target/x86/WeightReader.h"

namespace quant::host {

using x86::MatmulSchedule;

/// Bytes that come from memory at a time.
inline constexpr int64_t kCacheLine = 64;

/// Row m of x is row m of the tensor at `x`; where topK is positive, row gather[m] / topK.
struct RangeInput {
  Value x, stride; // f32; bytes from row to row
  Value gather, topK;
};

/// The result of row m of x and weight row r: f32, at data + m * stride + 4 r.
struct RangeOutput {
  Value data, stride;
};

/// The rows [begin, end) of one weight tensor, MatmulSchedule::rows at most, against all rows of x.
struct RowRange {
  WeightData weight;
  Value begin, end;
  /// No block of scales ends inside the range.
  bool oneScaleRow = false;
  Value tokens; // rows of x
  RangeInput input;
  RangeOutput output;
  /// Memory of the calling thread.
  Value scratch;
};

/// What the products have in common: their operands and sizes.
class RangeMatmul : public WeightReader {
protected:
  RangeMatmul(HostBuilder &b, const WeightForm &form, const MatmulSchedule &sizes, const RowRange &range)
      : WeightReader(b, form, range.weight), sizes(sizes), range(range) {}

  /// Row m of x.
  Value inputRow(Value m);
  /// The result of row m of x and a weight row; weight rows are neighbours.
  Value outputAddress(Value m, Value row) { return b.at(b.at(range.output.data, b.mul(m, range.output.stride), 1), row, 4); }
  /// A narrower vector followed by zeros.
  Value widen(Value vector);

  MatmulSchedule sizes;
  RowRange range;
};

} // namespace quant::host

#endif // QUANT_LOWERING_TARGET_X86_RANGEMATMUL_H
