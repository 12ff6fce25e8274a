//===- WeightReader.h - rows of a weight, decoded ----------------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_LOWERING_TARGET_X86_WEIGHTREADER_H
#define QUANT_LOWERING_TARGET_X86_WEIGHTREADER_H

#include "dialects/qblock/QBlock.h"
#include "lowering/target/x86/HostBuilder.h"

namespace quant::host {

using qblock::Weight;

/// How a weight is stored, as far as the code depends on it that reads it. Rows and columns are run-time values: weights of many
/// sizes share their code.
struct WeightForm {
  explicit WeightForm(const Weight &weight);

  /// The last two may be null.
  Type storage, scaleType, zeroType;
  /// The zero point of all blocks, where there is no tensor of them.
  int64_t zeroConstant;
  /// Whether scales are divided by one of the whole weight.
  bool hasGlobalScale;
  /// Extents of a scale's block; 0 columns: all of a row.
  int64_t blockRows, blockColumns;
  /// Columns that share a scale and are handled as one straight piece of code, and those that are left behind whole spans.
  int64_t span, rest;
  /// Columns that the dot products of few tokens take at once, and those left behind: several blocks may meet in them.
  int64_t dotSpan, dotRest;

  /// Whether all codes, less the zero point that all have, are integers of 8 bits, and a row has one scale: products with
  /// integers can be summed as such and be scaled at the end.
  bool hasIntegerSums() const;
  /// The same of blocks along a row: products of a span are summed as integers, and then scaled.
  bool hasIntegerSpans() const;
  /// "f8E4M3FN_f32_128x128", with "_rest64" where there is a rest.
  std::string name() const;
};

/// One tensor of a weight at run time.
struct WeightData {
  /// Addresses of the first row; those that the form does not have are not looked at.
  Value data, scale, zero, global;
  /// Elements of a row, and scales of a row of blocks.
  Value columns, scaleColumns;
};

/// Reads rows of a weight, span by span.
class WeightReader {
public:
  /// Emits at the builder's place what all rows have in common; the reader serves everything behind it.
  WeightReader(HostBuilder &b, const WeightForm &form, const WeightData &weight);

  /// Decodes all columns of `row`, scaled, as f32 to `target`.
  void decodeRow(Value row, Value target);

protected:
  /// Bytes that `elements` take.
  Value storageOffset(Value elements);
  Value rowData(Value row);
  /// The index of the row's first scale and zero point.
  Value rowScale(Value row);
  /// A block's scale and zero point as f32, or none.
  Value loadScale(Value rowScale, Value column);
  Value loadZero(Value rowScale, Value column);
  using Piece = llvm::function_ref<void(int64_t offset, int64_t lanes, Value value)>;
  /// Decodes `columns` codes at `source` in pieces of 16 lanes at most, less `zero` and times `scale` where there are such;
  /// `zero` may be a vector with one for each lane. `shuffled`: each shuffledColumns() whole columns are decodeShuffled(). With
  /// `largestCode`, where there is hasDeferredNans(), all values are times kDeferredFactor.
  void forPieces(Value source, int64_t columns, Value scale, Value zero, Piece body, bool shuffled = false,
                 Value *largestCode = nullptr);
  /// `body` for every span of the `whole` columns, and for the rest behind them.
  void forSpans(Value whole, int64_t span, int64_t rest, llvm::function_ref<void(Value column, int64_t columns)> body);

  HostBuilder &b;
  const WeightForm &form;
  WeightData weight;
  /// Columns of whole spans, and bytes of a row.
  Value whole, rowBytes;
  /// What scales are divided by; null where by nothing.
  Value globalScale;

  Value scaleIndex(Value rowScale, Value column);
};

} // namespace quant::host

#endif // QUANT_LOWERING_TARGET_X86_WEIGHTREADER_H
