//===- PanelMatmul.cpp - many rows of x against 128 weight rows -----------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The blocking of Goto and van de Geijn (Anatomy of High-Performance Matrix Multiplication, 2008): lanes are weight rows, x is
// broadcast, results stay in registers over a chunk of K.
//
//===----------------------------------------------------------------------===//

#include "lowering/target/x86/MatmulEmitter.h"

#include "lowering/target/x86/Decode.h"

#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace quant;
using namespace quant::host;

/// Columns of a chunk: 128 rows of it are 128 KB.
static constexpr int64_t kChunkColumns = 256;
/// Columns summed in a row before they join the result: the rounding error grows with the length of a sum.
static constexpr int64_t kSumColumns = 32;
static constexpr int64_t kCacheLine = 64;

/// Sizes and scratch of the product.
struct MatmulEmitter::Panel {
  int64_t chunk;         // columns
  int64_t vectors;       // of 16 weight rows, in a tile of results
  int64_t tokens;        // in a tile of results
  int64_t inputStride;   // bytes from token to token of a tile of x; off the powers of two, which would share cache sets
  int64_t decodedStride; // the same for one span of 16 decoded rows
  Value weights, inputs, decoded, sums;

  int64_t tileRows() const { return vectors * kLanes; }
  /// Bytes of the panel's part for one tile of rows.
  int64_t tileBytes() const { return tileRows() * chunk * 4; }
};

void MatmulEmitter::multiplyByPanel(const RowRange &range) {
  Panel panel;
  panel.chunk = std::max<int64_t>(1, context.parameter("panel_columns", kChunkColumns) / span) * span;
  panel.vectors = context.parameter("tile_vectors", b.target.tileVectors);
  panel.tokens = context.parameter("tile_tokens", b.target.tileTokens);
  panel.inputStride = panel.chunk * 4 + kCacheLine;
  panel.decodedStride = llvm::alignTo(span, kLanes) * 4 + kCacheLine;
  panel.weights = context.allocate(llvm::alignTo(context.tileRows(), panel.tileRows()) * panel.chunk * 4);
  panel.inputs = context.allocate(panel.tokens * panel.inputStride);
  panel.decoded = context.allocate(kLanes * panel.decodedStride);
  panel.sums = context.allocate(panel.tokens * panel.tileRows() * 4);
  b.loop(b.size(0), b.size(weight.columns), panel.chunk, [&](Value firstColumn) {
    Value columns = b.min(b.sub(b.size(weight.columns), firstColumn), panel.chunk);
    decodePanel(range, panel, firstColumn, columns);
    int64_t rest = panel.tokens / 3;
    Value whole = b.mul(b.div(range.tokens, panel.tokens), panel.tokens);
    b.loop(b.size(0), whole, panel.tokens,
           [&](Value token) { multiplyTile(range, panel, token, panel.tokens, firstColumn, columns); });
    b.loop(whole, range.tokens, rest, [&](Value token) { multiplyTile(range, panel, token, rest, firstColumn, columns); });
  });
}

//===----------------------------------------------------------------------===//
// Weights
//===----------------------------------------------------------------------===//

/// Decodes columns [firstColumn, firstColumn + columns) of the range, scaled and transposed: tile by tile, then column by column.
void MatmulEmitter::decodePanel(const RowRange &range, const Panel &panel, Value firstColumn, Value columns) {
  int64_t whole = weight.columns / span * span;
  Value end = b.add(firstColumn, columns);
  b.loop(range.begin, range.end, kLanes, [&](Value row) {
    b.loop(firstColumn, b.min(end, whole), span, [&](Value column) { decodeTile(range, panel, row, firstColumn, column, span); });
    if (whole < weight.columns)
      b.ifThen(b.compare(arith::CmpIPredicate::sgt, end, whole),
               [&] { decodeTile(range, panel, row, firstColumn, b.size(whole), weight.columns - whole); });
  });
}

/// One span of 16 rows from `row` on. Past the range's end the last row stands in; its results are not stored.
void MatmulEmitter::decodeTile(const RowRange &range, const Panel &panel, Value row, Value firstColumn, Value column,
                               int64_t columns) {
  b.loop(b.size(0), b.size(kLanes), 1, [&](Value lane) {
    Value weightRow = b.min(b.add(row, lane), b.sub(range.end, b.size(1)));
    Value source = b.at(rowData(range, weightRow), storageOffset(column), 1), scales = rowScale(weightRow);
    Value target = b.at(panel.decoded, lane, panel.decodedStride);
    // The next chunk's columns come while this one is multiplied.
    for (int64_t line = 0; line < storageBytes(weight.storage, columns); line += kCacheLine)
      b.prefetch(b.at(source, storageBytes(weight.storage, panel.chunk) + line, 1));
    Value scale = loadScale(range, scales, column), zero = loadZero(range, scales, column);
    forPieces(source, columns, scale, zero,
              [&](int64_t offset, int64_t lanes, Value value) { b.store(widen(value), b.at(target, offset, 4)); });
  });
  // Tiles of `vectors` x 16 rows lie one after the other; inside, a column's rows are neighbours.
  Value local = b.sub(row, range.begin), tile = b.div(local, panel.tileRows());
  Value target = b.at(b.at(panel.weights, tile, panel.tileBytes()), b.rem(local, panel.tileRows()), 4);
  Value first = b.at(target, b.sub(column, firstColumn), panel.tileRows() * 4);
  int64_t whole = columns / kLanes * kLanes;
  b.loop(b.size(0), b.size(whole), kLanes, [&](Value offset) {
    transpose(b.at(panel.decoded, offset, 4), panel.decodedStride, b.at(first, offset, panel.tileRows() * 4),
              panel.tileRows() * 4, kLanes);
  });
  if (whole < columns)
    transpose(b.at(panel.decoded, whole, 4), panel.decodedStride, b.at(first, whole, panel.tileRows() * 4), panel.tileRows() * 4,
              columns - whole);
}

/// Transposes a 16x16 tile of f32 and stores its first `rows` rows: pairs, then fours within 128 bits, then the four 128-bit
/// parts.
void MatmulEmitter::transpose(Value source, int64_t stride, Value target, int64_t targetStride, int64_t rows) {
  auto shuffle = [&](Value x, Value y, function_ref<int64_t(int64_t)> lane) {
    SmallVector<int64_t> mask(kLanes);
    for (int64_t i = 0; i < kLanes; ++i)
      mask[i] = lane(i);
    return vector::ShuffleOp::create(b, x, y, mask).getResult();
  };
  // Of each 128-bit part, pairs of `width` lanes from the lower (half 0) or upper (1) half of x and y in turn.
  auto unpack = [&](Value x, Value y, int64_t width, int64_t half) {
    return shuffle(x, y, [=](int64_t i) {
      int64_t part = i / 4 * 4, lane = i % 4, group = lane / width;
      return part + (group % 2) * kLanes + lane % width + (group / 2) * width + half * 2;
    });
  };
  // 128-bit parts `first` and `first + 2` of x, then of y.
  auto parts = [&](Value x, Value y, int64_t first) {
    return shuffle(x, y, [=](int64_t i) { return (i / 8) * kLanes + (first + 2 * (i / 4 % 2)) * 4 + i % 4; });
  };
  SmallVector<Value> in, fours(kLanes);
  for (int64_t r = 0; r < kLanes; ++r)
    in.push_back(b.load(b.vecF32(), b.at(source, r * stride, 1)));
  for (int64_t j = 0; j < kLanes; j += 4)
    for (int64_t half = 0; half < 2; ++half) {
      Value low = unpack(in[j], in[j + 1], 1, half), high = unpack(in[j + 2], in[j + 3], 1, half);
      fours[j + 2 * half] = unpack(low, high, 2, 0);
      fours[j + 2 * half + 1] = unpack(low, high, 2, 1);
    }
  for (int64_t c = 0; c < 4; ++c)
    for (int64_t odd = 0; odd < 2; ++odd) {
      Value low = parts(fours[c], fours[4 + c], odd), high = parts(fours[8 + c], fours[12 + c], odd);
      for (int64_t upper = 0; upper < 2; ++upper)
        if (int64_t row = 4 * (2 * upper + odd) + c; row < rows)
          b.store(parts(low, high, upper), b.at(target, row * targetStride, 1));
    }
}

//===----------------------------------------------------------------------===//
// Products
//===----------------------------------------------------------------------===//

/// `tokens` rows of x from `firstToken` on against the whole panel. Past the last token, the last stands in.
void MatmulEmitter::multiplyTile(const RowRange &range, const Panel &panel, Value firstToken, int64_t tokens, Value firstColumn,
                                 Value columns) {
  SmallVector<Value> indices;
  for (int64_t t = 0; t < tokens; ++t)
    indices.push_back(b.min(b.add(firstToken, t), b.sub(range.tokens, b.size(1))));
  for (int64_t t = 0; t < tokens; ++t) {
    Value source = b.at(range.xAddress(indices[t]), firstColumn, 4), target = b.at(panel.inputs, t * panel.inputStride, 1);
    Value whole = b.mul(b.div(columns, kLanes), kLanes);
    b.loop(b.size(0), whole, kLanes,
           [&](Value column) { b.store(b.load(b.vecF32(), b.at(source, column, 4)), b.at(target, column, 4)); });
    b.loop(whole, columns, 1, [&](Value column) { b.store(b.load(b.f32(), b.at(source, column, 4)), b.at(target, column, 4)); });
  }
  Value isFirst = b.compare(arith::CmpIPredicate::eq, firstColumn, 0);
  b.loop(range.begin, range.end, panel.tileRows(), [&](Value row) {
    Value weights = b.at(panel.weights, b.div(b.sub(row, range.begin), panel.tileRows()), panel.tileBytes());
    b.loop(b.size(0), columns, kSumColumns,
           [&](Value column) { microKernel(panel, tokens, weights, column, b.min(b.add(column, kSumColumns), columns)); });
    addToResults(range, panel, indices, row, isFirst);
  });
}

/// All results of a tile in registers over some of the chunk's columns, then added to the sums of those before.
void MatmulEmitter::microKernel(const Panel &panel, int64_t tokens, Value weights, Value firstColumn, Value endColumn) {
  Value zero = b.splatF32(kLanes, 0.0f);
  SmallVector<Value> acc(tokens * panel.vectors, zero);
  acc = b.loop(firstColumn, endColumn, 1, acc, [&](Value column, ValueRange carried) {
    SmallVector<Value> rows, result;
    for (int64_t v = 0; v < panel.vectors; ++v)
      rows.push_back(b.load(b.vecF32(), b.at(b.at(weights, column, panel.tileRows() * 4), v * kLanes, 4)));
    for (int64_t t = 0; t < tokens; ++t) {
      Value input = b.splat(b.load(b.f32(), b.at(b.at(panel.inputs, column, 4), t * panel.inputStride, 1)), kLanes);
      for (int64_t v = 0; v < panel.vectors; ++v)
        result.push_back(b.fma(rows[v], input, carried[t * panel.vectors + v]));
    }
    return result;
  });
  Value isFirst = b.compare(arith::CmpIPredicate::eq, firstColumn, 0);
  for (auto [index, sum] : llvm::enumerate(acc)) {
    Value address = b.at(panel.sums, index * kLanes, 4);
    b.store(b.add(sum, b.select(isFirst, zero, b.load(b.vecF32(), address))), address);
  }
}

/// Adds a chunk's sums to the results; rows past the range's end are left alone.
void MatmulEmitter::addToResults(const RowRange &range, const Panel &panel, ArrayRef<Value> tokens, Value row, Value isFirst) {
  Value steps = arith::IndexCastOp::create(b, b.vec(kLanes, b.i64()),
                                           vector::StepOp::create(b, b.vec(kLanes, b.getIndexType())));
  Value zero = b.splatF32(kLanes, 0.0f);
  SmallVector<Value> masks, sums, addresses;
  for (int64_t v = 0; v < panel.vectors; ++v) {
    Value left = b.sub(range.end, b.add(row, v * kLanes));
    masks.push_back(b.compare(arith::CmpIPredicate::slt, steps, b.splat(left, kLanes)));
  }
  for (int64_t index = 0, count = tokens.size() * panel.vectors; index < count; ++index) {
    int64_t v = index % panel.vectors;
    addresses.push_back(range.outAddress(tokens[index / panel.vectors], b.add(row, v * kLanes)));
    Value before = LLVM::MaskedLoadOp::create(b, b.vecF32(), addresses.back(), masks[v], zero, 4);
    sums.push_back(b.add(b.load(b.vecF32(), b.at(panel.sums, index * kLanes, 4)), b.select(isFirst, zero, before)));
  }
  // After all loads: a token that stands in for others must not be added to twice.
  for (auto [index, sum] : llvm::enumerate(sums))
    LLVM::MaskedStoreOp::create(b, sum, addresses[index], masks[index % panel.vectors], 4);
}
