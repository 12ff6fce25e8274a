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

#include "lowering/target/x86/PanelMatmul.h"

#include "lowering/target/x86/Decode.h"

#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace quant;
using namespace quant::host;

/// Columns summed in a row before they join the result: the rounding error grows with the length of a sum.
static constexpr int64_t kSumColumns = 32;

PanelMatmul::Panel::Panel(const MatmulSchedule &sizes, const WeightForm &form) {
  end = 0;
  auto allocate = [&](int64_t bytes) {
    int64_t begin = end;
    end = llvm::alignTo(begin + bytes, kCacheLine);
    return begin;
  };
  chunk = std::max<int64_t>(1, sizes.panelColumns / form.span) * form.span;
  vectors = sizes.tileVectors;
  tokens = sizes.tileTokens;
  inputStride = chunk * 4 + kCacheLine;
  decodedStride = llvm::alignTo(form.span, kLanes) * 4 + kCacheLine;
  weights = allocate(llvm::alignTo(sizes.rows, tileRows()) * chunk * 4);
  inputs = allocate(tokens * inputStride);
  decoded = allocate(kLanes * decodedStride);
  sums = allocate(tokens * tileRows() * 4);
}

int64_t PanelMatmul::scratchBytes(const MatmulSchedule &sizes, const WeightForm &form) { return Panel(sizes, form).end; }

PanelMatmul::PanelMatmul(HostBuilder &b, const WeightForm &form, const MatmulSchedule &sizes, const RowRange &range)
    : RangeMatmul(b, form, sizes, range), panel(sizes, form) {
  weightPanel = b.at(range.scratch, panel.weights, 1);
  inputTile = b.at(range.scratch, panel.inputs, 1);
  decodedRows = b.at(range.scratch, panel.decoded, 1);
  tileSums = b.at(range.scratch, panel.sums, 1);
}

void PanelMatmul::emit() {
  b.loop(b.size(0), weight.columns, panel.chunk, [&](Value firstColumn) {
    Value columns = b.min(b.sub(weight.columns, firstColumn), panel.chunk);
    decodePanel(firstColumn, columns);
    int64_t last = panel.tokens / 3;
    Value full = b.mul(b.div(range.tokens, panel.tokens), panel.tokens);
    b.loop(b.size(0), full, panel.tokens, [&](Value token) { multiplyTile(token, panel.tokens, firstColumn, columns); });
    b.loop(full, range.tokens, last, [&](Value token) { multiplyTile(token, last, firstColumn, columns); });
  });
}

//===----------------------------------------------------------------------===//
// Weights
//===----------------------------------------------------------------------===//

/// Decodes columns [firstColumn, firstColumn + columns) of the range, scaled and transposed: tile by tile, then column by column.
void PanelMatmul::decodePanel(Value firstColumn, Value columns) {
  Value end = b.add(firstColumn, columns);
  b.loop(range.begin, range.end, kLanes, [&](Value row) {
    b.loop(firstColumn, b.min(end, whole), form.span, [&](Value column) { decodeTile(row, firstColumn, column, form.span); });
    if (form.rest)
      b.ifThen(b.compare(arith::CmpIPredicate::sgt, end, whole), [&] { decodeTile(row, firstColumn, whole, form.rest); });
  });
}

/// One span of 16 rows from `row` on. Past the range's end the last row stands in; its results are not stored.
void PanelMatmul::decodeTile(Value row, Value firstColumn, Value column, int64_t columns) {
  b.loop(b.size(0), b.size(kLanes), 1, [&](Value lane) {
    Value weightRow = b.min(b.add(row, lane), b.sub(range.end, b.size(1)));
    Value source = b.at(rowData(weightRow), storageOffset(column), 1), scales = rowScale(weightRow);
    Value target = b.at(decodedRows, lane, panel.decodedStride);
    // The next chunk's columns come while this one is multiplied.
    for (int64_t line = 0; line < storageBytes(form.storage, columns); line += kCacheLine)
      b.prefetch(b.at(source, storageBytes(form.storage, panel.chunk) + line, 1));
    Value scale = loadScale(scales, column), zero = loadZero(scales, column);
    forPieces(source, columns, scale, zero,
              [&](int64_t offset, int64_t lanes, Value value) { b.store(widen(value), b.at(target, offset, 4)); });
  });
  // Tiles of `vectors` x 16 rows lie one after the other; inside, a column's rows are neighbours.
  Value local = b.sub(row, range.begin), tile = b.div(local, panel.tileRows());
  Value target = b.at(b.at(weightPanel, tile, panel.tileBytes()), b.rem(local, panel.tileRows()), 4);
  Value first = b.at(target, b.sub(column, firstColumn), panel.tileRows() * 4);
  int64_t full = columns / kLanes * kLanes;
  b.loop(b.size(0), b.size(full), kLanes, [&](Value offset) {
    transpose(b.at(decodedRows, offset, 4), panel.decodedStride, b.at(first, offset, panel.tileRows() * 4), panel.tileRows() * 4,
              kLanes);
  });
  if (full < columns)
    transpose(b.at(decodedRows, full, 4), panel.decodedStride, b.at(first, full, panel.tileRows() * 4), panel.tileRows() * 4,
              columns - full);
}

/// Transposes a 16x16 tile of f32 and stores its first `rows` rows: pairs, then fours within 128 bits, then the four 128-bit
/// parts.
void PanelMatmul::transpose(Value source, int64_t stride, Value target, int64_t targetStride, int64_t rows) {
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
void PanelMatmul::multiplyTile(Value firstToken, int64_t tokens, Value firstColumn, Value columns) {
  SmallVector<Value> indices;
  for (int64_t t = 0; t < tokens; ++t)
    indices.push_back(b.min(b.add(firstToken, t), b.sub(range.tokens, b.size(1))));
  for (int64_t t = 0; t < tokens; ++t)
    copyInput(b.at(inputRow(indices[t]), firstColumn, 4), b.at(inputTile, t * panel.inputStride, 1), columns);
  Value isFirst = b.compare(arith::CmpIPredicate::eq, firstColumn, 0);
  b.loop(range.begin, range.end, panel.tileRows(), [&](Value row) {
    Value tile = b.at(weightPanel, b.div(b.sub(row, range.begin), panel.tileRows()), panel.tileBytes());
    b.loop(b.size(0), columns, kSumColumns,
           [&](Value column) { microKernel(tokens, tile, column, b.min(b.add(column, kSumColumns), columns)); });
    addToResults(indices, row, isFirst);
  });
}

void PanelMatmul::copyInput(Value source, Value target, Value columns) {
  Value full = b.mul(b.div(columns, kLanes), kLanes);
  b.loop(b.size(0), full, kLanes,
         [&](Value column) { b.store(b.load(b.vecF32(), b.at(source, column, 4)), b.at(target, column, 4)); });
  b.loop(full, columns, 1, [&](Value column) { b.store(b.load(b.f32(), b.at(source, column, 4)), b.at(target, column, 4)); });
}

/// All results of a tile in registers over some of the chunk's columns, then added to the sums of those before.
void PanelMatmul::microKernel(int64_t tokens, Value tile, Value firstColumn, Value endColumn) {
  Value zero = b.splatF32(kLanes, 0.0f);
  SmallVector<Value> acc(tokens * panel.vectors, zero);
  acc = b.loop(firstColumn, endColumn, 1, acc, [&](Value column, ValueRange carried) {
    SmallVector<Value> rows, result;
    for (int64_t v = 0; v < panel.vectors; ++v)
      rows.push_back(b.load(b.vecF32(), b.at(b.at(tile, column, panel.tileRows() * 4), v * kLanes, 4)));
    for (int64_t t = 0; t < tokens; ++t) {
      Value input = b.splat(b.load(b.f32(), b.at(b.at(inputTile, column, 4), t * panel.inputStride, 1)), kLanes);
      for (int64_t v = 0; v < panel.vectors; ++v)
        result.push_back(b.fma(rows[v], input, carried[t * panel.vectors + v]));
    }
    return result;
  });
  Value isFirst = b.compare(arith::CmpIPredicate::eq, firstColumn, 0);
  for (auto [index, sum] : llvm::enumerate(acc)) {
    Value address = b.at(tileSums, index * kLanes, 4);
    b.store(b.add(sum, b.select(isFirst, zero, b.load(b.vecF32(), address))), address);
  }
}

/// Adds a chunk's sums to the results; rows past the range's end are left alone.
void PanelMatmul::addToResults(ArrayRef<Value> tokens, Value row, Value isFirst) {
  Value steps = arith::IndexCastOp::create(b, b.vec(kLanes, b.i64()), vector::StepOp::create(b, b.vec(kLanes, b.getIndexType())));
  Value zero = b.splatF32(kLanes, 0.0f);
  SmallVector<Value> masks, sums, addresses;
  for (int64_t v = 0; v < panel.vectors; ++v) {
    Value left = b.sub(range.end, b.add(row, v * kLanes));
    masks.push_back(b.compare(arith::CmpIPredicate::slt, steps, b.splat(left, kLanes)));
  }
  for (int64_t index = 0, count = tokens.size() * panel.vectors; index < count; ++index) {
    int64_t v = index % panel.vectors;
    addresses.push_back(outputAddress(tokens[index / panel.vectors], b.add(row, v * kLanes)));
    Value before = LLVM::MaskedLoadOp::create(b, b.vecF32(), addresses.back(), masks[v], zero, 4);
    sums.push_back(b.add(b.load(b.vecF32(), b.at(tileSums, index * kLanes, 4)), b.select(isFirst, zero, before)));
  }
  // After all loads: a token that stands in for others must not be added to twice.
  for (auto [index, sum] : llvm::enumerate(sums))
    LLVM::MaskedStoreOp::create(b, sum, addresses[index], masks[index % panel.vectors], 4);
}
