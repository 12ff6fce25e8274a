//===- RangeMatmul.h - x times a range of a weight's rows --------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_LOWERING_TARGET_X86_RANGEMATMUL_H
#define QUANT_LOWERING_TARGET_X86_RANGEMATMUL_H

#include "lowering/target/x86/WeightReader.h"

namespace quant::host {

/// How large the pieces are that a product is computed in.
struct MatmulSizes {
  /// The unit's own.
  explicit MatmulSizes(const machine::X86Unit &unit)
      : dotTokens(unit.dotTokens), dotSums(unit.dotSums), panelColumns(unit.panelColumns), tileTokens(unit.tileTokens),
        tileVectors(unit.tileVectors) {}

  /// Weight rows of a range at most.
  int64_t rows = kDefaultTileRows;
  /// Rows of x up to which dot products are computed, and how many of those at a time.
  int64_t dotTokens, dotSums;
  /// Columns of a panel, 128 rows of which are 128 KB; its tiles in rows of x (a multiple of 3) and vectors of 16 weight rows.
  int64_t panelColumns, tileTokens, tileVectors;

  /// Nothing for the unit's own, otherwise all of them: "_rows64_dots8x16_panel256_tile12x2".
  std::string suffix(const machine::X86Unit &unit) const;
  bool operator==(const MatmulSizes &) const = default;
};

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

/// The rows [begin, end) of one weight tensor, MatmulSizes::rows at most, against all rows of x.
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
  RangeMatmul(HostBuilder &b, const WeightForm &form, const MatmulSizes &sizes, const RowRange &range)
      : WeightReader(b, form, range.weight), sizes(sizes), range(range) {}

  /// Row m of x.
  Value inputRow(Value m);
  /// The result of row m of x and a weight row; weight rows are neighbours.
  Value outputAddress(Value m, Value row) { return b.at(b.at(range.output.data, b.mul(m, range.output.stride), 1), row, 4); }
  /// A narrower vector followed by zeros.
  Value widen(Value vector);

  MatmulSizes sizes;
  RowRange range;
};

} // namespace quant::host

#endif // QUANT_LOWERING_TARGET_X86_RANGEMATMUL_H
