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

#include <utility>

using namespace mlir;
using namespace quant;
using namespace quant::host;

/// Columns summed in a row before they join the result: the rounding error grows with the length of a sum.
static constexpr int64_t kSumColumns = 32;

PanelMatmul::Panel::Panel(const MatmulSchedule &sizes, const WeightForm &form) {
  chunk = std::max<int64_t>(1, sizes.panelColumns / form.span) * form.span;
  vectors = sizes.tileVectors;
  tokens = sizes.tileTokens;
  inputStride = chunk * 4 + kCacheLine;
  decodedStride = llvm::alignTo(form.span, kLanes) * 4 + kCacheLine;
  weights = allocate(llvm::alignTo(sizes.rows, tileRows()) * chunk * 4);
  inputs = allocate(tokens * inputStride);
  decoded = allocate(kLanes * decodedStride);
  sums = allocate(tokens * tileRows() * 4);
  scales = allocate(llvm::alignTo(sizes.rows, tileRows()) * 4);
}

int64_t PanelMatmul::scratchBytes(const MatmulSchedule &sizes, const WeightForm &form) { return Panel(sizes, form).end; }

PanelMatmul::PanelMatmul(HostBuilder &b, const WeightForm &form, const MatmulSchedule &sizes, const RowRange &range)
    : RangeMatmul(b, form, sizes, range), panel(sizes, form) {
  weightPanel = b.at(range.scratch, panel.weights, 1);
  inputTile = b.at(range.scratch, panel.inputs, 1);
  decodedRows = b.at(range.scratch, panel.decoded, 1);
  tileSums = b.at(range.scratch, panel.sums, 1);
  rowScales = b.at(range.scratch, panel.scales, 1);
}

void PanelMatmul::emit() {
  forChunks(panel.chunk, [&](Value firstColumn, Value columns) {
    forSpansOfPanel(firstColumn, columns,
                    [&](Value row, Value column, int64_t count) { decodeTile(row, firstColumn, column, count); });
    forTokenTiles(panel.tokens, panel.tokens / 3,
                  [&](Value token, int64_t tokens) { multiplyTile(token, tokens, firstColumn, columns); });
  });
}

//===----------------------------------------------------------------------===//
// Weights
//===----------------------------------------------------------------------===//

/// Scaled and transposed: tile by tile, then column by column.
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
    if (hasIntegerSums())
      b.store(std::exchange(scale, {}), b.at(rowScales, b.add(b.sub(row, range.begin), lane), 4));
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

//===----------------------------------------------------------------------===//
// Products
//===----------------------------------------------------------------------===//

/// `tokens` rows of x from `firstToken` on against the whole panel. Past the last token, the last stands in.
void PanelMatmul::multiplyTile(Value firstToken, int64_t tokens, Value firstColumn, Value columns) {
  SmallVector<Value> indices;
  for (int64_t t = 0; t < tokens; ++t)
    indices.push_back(b.min(b.add(firstToken, t), b.sub(range.tokens, b.size(1))));
  for (int64_t t = 0; t < tokens; ++t)
    copyInput(b.at(inputRow(indices[t]), firstColumn, inputBytes()), b.at(inputTile, t * panel.inputStride, 1), columns);
  Chunk chunk = chunkOf(firstColumn, columns);
  b.loop(range.begin, range.end, panel.tileRows(), [&](Value row) {
    Value tile = b.at(weightPanel, b.div(b.sub(row, range.begin), panel.tileRows()), panel.tileBytes());
    b.loop(b.size(0), columns, kSumColumns,
           [&](Value column) { microKernel(tokens, tile, column, b.min(b.add(column, kSumColumns), columns)); });
    addToResults(indices, row, chunk);
  });
}

void PanelMatmul::copyInput(Value source, Value target, Value columns) {
  Value full = b.mul(b.div(columns, kLanes), kLanes);
  b.loop(b.size(0), full, kLanes,
         [&](Value column) { b.store(loadInput(b.at(source, column, inputBytes()), kLanes), b.at(target, column, 4)); });
  b.loop(full, columns, 1,
         [&](Value column) { b.store(loadInput(b.at(source, column, inputBytes()), 1), b.at(target, column, 4)); });
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
    sum = asSums(sum);
    b.store(b.add(sum, b.select(isFirst, asSums(zero), b.load(sum.getType(), address))), address);
  }
}

/// Whole numbers in f32 as integers, where those are summed.
Value PanelMatmul::asSums(Value vector) { return hasIntegerSums() ? b.convert(b.i32(), vector) : vector; }

/// Adds a chunk's sums to the results; rows past the range's end are left alone.
void PanelMatmul::addToResults(ArrayRef<Value> tokens, Value row, const Chunk &chunk) {
  SmallVector<Value> masks, sums, addresses;
  for (int64_t v = 0; v < panel.vectors; ++v)
    masks.push_back(rowMask(b.add(row, v * kLanes)));
  Type type = hasIntegerSums() ? b.vec(kLanes, b.i32()) : b.vecF32();
  for (int64_t index = 0, count = tokens.size() * panel.vectors; index < count; ++index) {
    int64_t v = index % panel.vectors;
    Value token = tokens[index / panel.vectors], first = b.add(row, v * kLanes);
    addresses.push_back(outputAddress(token, first));
    Value scales = b.at(rowScales, b.sub(first, range.begin), 4);
    sums.push_back(
        joinResults(b.load(type, b.at(tileSums, index * kLanes, 4)), addresses.back(), masks[v], scales, token, chunk));
  }
  // After all loads: a token that stands in for others must not be added to twice.
  for (auto [index, sum] : llvm::enumerate(sums))
    LLVM::MaskedStoreOp::create(b, sum, addresses[index], masks[index % panel.vectors], 4);
}
