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
  Value x, stride; // bytes from row to row
  Value gather, topK;
  /// Of codes in i8 an f32 for each row of the tensor, which they are times; null where x is f32.
  Value scales = {};
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
  /// x is codes in i8.
  bool hasInt8Inputs = false;
  Value tokens; // rows of x
  RangeInput input;
  RangeOutput output;
  /// Memory of the calling thread, and the rows of x that are multiplied at a time; callMatmul sets them.
  Value scratch = {}, pieceTokens = {};
};

/// Parts of a thread's scratch, each at a cache line.
struct ScratchLayout {
  /// Bytes of all parts.
  int64_t end = 0;

  /// Where a part of so many bytes begins.
  int64_t allocate(int64_t bytes) {
    int64_t begin = end;
    end = llvm::alignTo(begin + bytes, kCacheLine);
    return begin;
  }
};

/// What the products have in common: their operands and sizes.
class RangeMatmul : public WeightReader {
protected:
  RangeMatmul(HostBuilder &b, const WeightForm &form, const MatmulSchedule &sizes, const RowRange &range)
      : WeightReader(b, form, range.weight), sizes(sizes), range(range) {}

  //===--- Panel products: a chunk of columns is decoded, and multiplied with tiles of rows of x ---===//

  /// Chunks of K.
  void forChunks(int64_t chunk, llvm::function_ref<void(Value firstColumn, Value columns)> body);
  /// 16 weight rows from `row` on and a span of `count` columns at a time.
  void forSpansOfPanel(Value firstColumn, Value columns, llvm::function_ref<void(Value row, Value column, int64_t count)> body);
  /// Tiles of `tokens` rows of x, then one of the fewest multiples of `unit` rows that holds the rest. The last tile of either
  /// kind may reach past the last row.
  void forTokenTiles(int64_t tokens, int64_t unit, llvm::function_ref<void(Value token, int64_t tokens)> body);

  //===--- Operands ---===//

  /// Row m of x: its number in the tensor, its address, what its codes are times.
  Value inputIndex(Value m);
  Value inputRow(Value m) { return b.at(range.input.x, b.mul(inputIndex(m), range.input.stride), 1); }
  Value inputScale(Value m) { return b.load(b.f32(), b.at(range.input.scales, inputIndex(m), 4)); }
  int64_t inputBytes() const { return range.hasInt8Inputs ? 1 : 4; }
  /// Columns of x, or the codes, as f32; a scalar of one lane.
  Value loadInput(Value address, int64_t lanes);
  /// 16 columns from `first` on, 0 beyond `count`.
  Value loadInputs(Value address, int64_t first, Value count);
  /// Whether products are summed as integers, to be scaled once at the end: exact, in whatever order.
  bool hasIntegerSums() const { return range.hasInt8Inputs && form.hasIntegerSums(); }
  /// Sums of one result or of 16 as f32: integers times the scales of their weight rows; then times that of their row of x, if
  /// any.
  Value scaleSums(Value sums, Value rowScales, Value inputScale);
  /// Whether columns are the first and the last of K.
  struct Chunk {
    Value isFirst, isLast;
  };
  Chunk chunkOf(Value firstColumn, Value columns);
  /// A chunk's sums of 16 results, joined with those of the chunks before at `address`, where integers stand until the last one.
  Value joinResults(Value sums, Value address, Value mask, Value rowScales, Value token, const Chunk &chunk);
  /// The result of row m of x and a weight row; weight rows are neighbours.
  Value outputAddress(Value m, Value row) { return b.at(b.at(range.output.data, b.mul(m, range.output.stride), 1), row, 4); }
  /// A narrower vector followed by zeros, so many elements in all.
  Value widen(Value vector, int64_t lanes = kLanes);
  /// The columns of a 16x16 tile of dwords.
  llvm::SmallVector<Value> transposed(llvm::ArrayRef<Value> rows);
  /// Transposes a 16x16 tile of dwords, whose rows lie `stride` bytes apart, and stores its first `rows` rows.
  void transpose(Value source, int64_t stride, Value target, int64_t targetStride, int64_t rows);
  /// For 16 weight rows from `row` on, which of them lie inside the range.
  Value rowMask(Value row) { return b.firstLanes(b.sub(range.end, row)); }

  MatmulSchedule sizes;
  RowRange range;
};

} // namespace quant::host

#endif // QUANT_LOWERING_TARGET_X86_RANGEMATMUL_H
