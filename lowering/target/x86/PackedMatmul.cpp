//===- PackedMatmul.cpp - many rows of x by dot products of dwords ---------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "lowering/target/x86/PackedMatmul.h"

#include "lowering/target/x86/Decode.h"
#include "lowering/target/x86/TileRegisters.h"

#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

#include <utility>

using namespace mlir;
using namespace quant;
using namespace quant::host;

/// Bytes of 16 dwords, and of those of 16 weight rows.
static constexpr int64_t kStepBytes = kLanes * 4, kGroupStepBytes = kLanes * kStepBytes;
/// Columns of x that are split at a time, and summed in a row before they join the sums of the columns before: they stay in the
/// first-level cache, and the rounding error grows with the length of a sum. Sums of integers do not round.
static constexpr int64_t kSumColumns = 128, kIntegerSumColumns = 512;

/// Whether blocks are of whole steps of so many columns. A span that is no block is all of a row, and its last step may be short.
static bool hasWholeSteps(const WeightForm &form, int64_t step) { return form.span % step == 0 || form.blockColumns == 0; }

/// Whether products with codes of x are summed as integers: over all of K, or over spans of whole steps.
static bool sumsIntegers(const WeightForm &form, bool hasInt8Inputs) {
  return hasInt8Inputs && (form.hasIntegerSums() || (form.hasIntegerSpans() && hasWholeSteps(form, kStepBytes)));
}

PackedMatmul::Panel::Panel(const MatmulSchedule &sizes, const WeightForm &form, const machine::X86Unit &unit,
                           bool hasInt8Inputs) {
  bool isInt8 = sumsIntegers(form, hasInt8Inputs);
  bytes = isInt8 ? 1 : 2;
  step = kStepBytes / bytes;
  chunk = llvm::alignTo(std::max<int64_t>(1, sizes.packedColumns / form.span) * form.span, step);
  tokens = unit.hasTiles ? 2 * kTileRows : sizes.tileTokens;
  vectors = unit.hasTiles ? 2 : sizes.tileVectors;
  // Codes are exact in one part.
  parts = hasInt8Inputs ? 1 : sizes.inputParts;
  sumColumns = form.scaleType && form.blockColumns ? std::min(form.span, kSumColumns)
               : isInt8 && unit.hasTiles           ? kIntegerSumColumns
                                                   : kSumColumns;
  inputStride = sumColumns * bytes + kCacheLine;
  decodedStride = stepsOf(form.span) * kStepBytes + kCacheLine;
  rows = llvm::alignTo(std::max(sizes.rows, sizes.callRows), tileRows());
  weights = allocate(rows * chunk * bytes);
  scales = allocate(rows * (chunk / form.span + 1) * 4);
  codeSums = allocate(isInt8 && !unit.hasTiles ? rows * (chunk / form.span + 1) * 4 : 0);
  inputs = allocate(parts * tokens * inputStride);
  decoded = allocate(kLanes * decodedStride);
  sums = allocate(tokens * rows * 4);
  products = allocate(tokens * tileRows() * 4);
  tileConfig = allocate(kCacheLine);
}

/// f32 and f16 are not exact in bf16; the infinities of E5M2 times several parts of x, of both signs, would be NaN.
static bool takesPairs(const MatmulSchedule &sizes, const WeightForm &form) {
  bool isExact = !isa<Float32Type, Float16Type>(form.storage) && (sizes.inputParts == 1 || !isa<Float8E5M2Type>(form.storage));
  return sizes.inputParts && isExact && hasWholeSteps(form, kStepBytes / 2);
}

int64_t PackedMatmul::scratchBytes(const MatmulSchedule &sizes, const WeightForm &form, const machine::X86Unit &unit) {
  auto bytes = [&](bool hasInt8Inputs) {
    return takes(sizes, form, hasInt8Inputs, unit) ? Panel(sizes, form, unit, hasInt8Inputs).end : 0;
  };
  return std::max(bytes(false), bytes(true));
}

bool PackedMatmul::takes(const MatmulSchedule &sizes, const WeightForm &form, bool hasInt8Inputs, const machine::X86Unit &unit) {
  return sumsIntegers(form, hasInt8Inputs) ? unit.hasPackedDots : takesPairs(sizes, form);
}

PackedMatmul::Scaling PackedMatmul::chooseScaling() const {
  if (!form.scaleType)
    return Scaling::None;
  if (isInt8)
    return form.hasIntegerSums() ? Scaling::Results : Scaling::Sums;
  return isa<Float8E8M0FNUType>(form.scaleType) ? Scaling::Weights : Scaling::Sums;
}

PackedMatmul::PackedMatmul(HostBuilder &b, const WeightForm &form, const MatmulSchedule &sizes, const RowRange &range)
    : RangeMatmul(b, form, sizes, range), isInt8(sumsIntegers(form, range.hasInt8Inputs)),
      panel(sizes, form, b.target, range.hasInt8Inputs), scaling(chooseScaling()) {
  weightPanel = b.at(range.scratch, panel.weights, 1);
  panelScales = b.at(range.scratch, panel.scales, 1);
  panelCodeSums = b.at(range.scratch, panel.codeSums, 1);
  inputTile = b.at(range.scratch, panel.inputs, 1);
  decodedRows = b.at(range.scratch, panel.decoded, 1);
  tokenSums = b.at(range.scratch, panel.sums, 1);
  tileProducts = b.at(range.scratch, panel.products, 1);
}

void PackedMatmul::emit() {
  if (usesTiles())
    configureTiles(b, b.at(range.scratch, panel.tileConfig, 1));
  forChunks(panel.chunk, [&](Value firstColumn, Value columns) {
    forSpansOfPanel(firstColumn, columns,
                    [&](Value row, Value column, int64_t count) { decodeGroup(row, firstColumn, column, count); });
    forTokenTiles(panel.tokens, usesTiles() ? kTileRows : panel.tokens / 3,
                  [&](Value token, int64_t tokens) { multiplyTokens(token, tokens, firstColumn, columns); });
  });
  if (usesTiles())
    releaseTiles(b);
}

//===----------------------------------------------------------------------===//
// Weights
//===----------------------------------------------------------------------===//

/// One span of 16 rows from `row` on. Past the range's end the last row stands in; its results are not stored.
void PackedMatmul::decodeGroup(Value row, Value firstColumn, Value column, int64_t columns) {
  Value local = b.sub(row, range.begin), span = b.div(b.sub(column, firstColumn), form.span);
  auto ofSpan = [&](Value base) { return b.at(b.at(base, b.mul(span, panel.rows), 4), local, 4); };
  auto rowOf = [&](Value lane) { return b.min(b.add(row, lane), b.sub(range.end, b.size(1))); };
  auto sourceOf = [&](Value weightRow) { return b.at(rowData(weightRow), storageOffset(column), 1); };
  bool turnsCodes = transposesCodes(columns);
  b.loop(b.size(0), b.size(kLanes), 1, [&](Value lane) {
    Value weightRow = rowOf(lane), source = sourceOf(weightRow), scales = rowScale(weightRow);
    Value nextGroup = b.at(source, b.mul(rowBytes, kLanes), 1);
    for (int64_t line = 0; line < storageBytes(form.storage, columns); line += kCacheLine)
      b.prefetch(b.at(nextGroup, line, 1), 2);
    Value scale = loadScale(scales, column), zero = loadZero(scales, column);
    if (scaling == Scaling::Sums || scaling == Scaling::Results)
      b.store(std::exchange(scale, {}), b.at(ofSpan(panelScales), lane, 4));
    if (turnsCodes)
      return;
    Value target = b.at(decodedRows, lane, panel.decodedStride);
    SmallVector<Value> steps = isInt8 ? decodeBytes(source, columns) : decodePairs(source, columns, scale, zero);
    for (auto [step, dwords] : llvm::enumerate(steps))
      b.store(dwords, b.at(target, step * kStepBytes, 1));
  });
  Value target = b.at(weightPanel, b.div(local, kLanes), panel.groupBytes());
  Value first = b.at(target, b.div(b.sub(column, firstColumn), panel.step), kGroupStepBytes);
  int64_t steps = panel.stepsOf(columns);
  if (turnsCodes) {
    SmallVector<Value> sources;
    for (int64_t lane = 0; lane < kLanes; ++lane)
      sources.push_back(sourceOf(rowOf(b.size(lane))));
    transposeCodes(sources, columns, first);
  } else {
    b.loop(b.size(0), b.size(steps), 1, [&](Value step) {
      transpose(b.at(decodedRows, step, kStepBytes), panel.decodedStride, b.at(first, step, kGroupStepBytes), kStepBytes, kLanes);
    });
  }
  if (isInt8 && !usesTiles())
    sumCodes(ofSpan(panelCodeSums), first, steps);
}

/// Whether codes are transposed as they are, four of a row in a dword, and then decoded: bytes that are decoded 64 at a time.
bool PackedMatmul::transposesCodes(int64_t columns) const {
  bool isByteTable = scaling != Scaling::Weights && hasDecode64(b, form.storage);
  return columns % kStepBytes == 0 && (isInt8 ? form.storage.getIntOrFloatBitWidth() == 8 : isByteTable);
}

/// 64 columns of 16 rows at a time, in registers.
void PackedMatmul::transposeCodes(ArrayRef<Value> sources, int64_t columns, Value target) {
  // The first pairs of the four rows of a 128-bit part to its lower half, the second ones to its upper half.
  SmallVector<int64_t> pairs;
  for (int64_t byte = 0; byte < kStepBytes; ++byte)
    pairs.push_back(byte / 16 * 16 + byte % 8 / 2 * 4 + byte % 16 / 8 * 2 + byte % 2);
  VectorType bytes = b.vec(kStepBytes, b.i8());
  int64_t vectors = isInt8 ? 1 : 2;
  b.loop(b.size(0), b.size(columns), kStepBytes, [&](Value column) {
    SmallVector<Value> rows =
        llvm::map_to_vector(sources, [&](Value source) { return b.load(b.vec(kLanes, b.i32()), b.at(source, column, 1)); });
    Value first = b.at(target, column, kStepBytes / 4 * vectors);
    for (auto [dword, rowsOfDword] : llvm::enumerate(transposed(rows))) {
      Value codes = vector::BitCastOp::create(b, bytes, rowsOfDword);
      SmallVector<Value> decoded;
      if (isInt8)
        decoded = {form.zeroConstant ? b.sub(codes, form.zeroConstant) : codes};
      else
        decoded = unpack64Pairs(b, form.storage, vector::ShuffleOp::create(b, codes, codes, pairs));
      for (auto [index, values] : llvm::enumerate(decoded))
        b.store(values, b.at(first, (static_cast<int64_t>(dword) * vectors + static_cast<int64_t>(index)) * kStepBytes, 1));
    }
  });
}

/// 128 times the sum of a span's codes, for each of 16 rows.
void PackedMatmul::sumCodes(Value target, Value panel, int64_t steps) {
  Value none = b.integer(productType(), 0), offset = b.integer(productType(), 0x80808080);
  SmallVector<Value> sum = b.loop(b.size(0), b.size(steps * kLanes), 1, {none}, [&](Value dword, ValueRange carried) {
    return SmallVector<Value>{dotBytes(b, carried[0], offset, b.load(productType(), b.at(panel, dword, kStepBytes)))};
  });
  b.store(sum[0], target);
}

/// The codes of each step, less the zero point that all have; beyond `columns` they are 0.
SmallVector<Value> PackedMatmul::decodeBytes(Value source, int64_t columns) {
  SmallVector<Value> steps;
  for (int64_t column = 0; column < columns; column += panel.step) {
    int64_t lanes = std::min(panel.step, columns - column);
    Value codes = loadCodes(b, form.storage, b.at(source, storageBytes(form.storage, column), 1), lanes);
    if (form.zeroConstant)
      codes = b.sub(codes, form.zeroConstant);
    steps.push_back(vector::BitCastOp::create(b, b.vec(kLanes, b.i32()), widen(codes, panel.step)));
  }
  return steps;
}

/// The pairs of each step; beyond `columns` they are 0.
SmallVector<Value> PackedMatmul::decodePairs(Value source, int64_t columns, Value scale, Value zero) {
  SmallVector<Value> pairs, values;
  int64_t fast = !scale && hasDecode64(b, form.storage) ? columns / 64 * 64 : 0;
  for (int64_t column = 0; column < fast; column += 64)
    llvm::append_range(pairs, decode64Pairs(b, form.storage, b.at(source, column, 1)));
  forPieces(b.at(source, storageBytes(form.storage, fast), 1), columns - fast, scale, zero,
            [&](int64_t, int64_t, Value value) { values.push_back(widen(value)); });
  if (values.size() % 2)
    values.push_back(b.splatF32(kLanes, 0.0f));
  for (size_t i = 0; i < values.size(); i += 2)
    pairs.push_back(takePart(values[i], values[i + 1], /*rounds=*/false));
  return pairs;
}

//===----------------------------------------------------------------------===//
// Rows of x
//===----------------------------------------------------------------------===//

/// Some columns of rows of x as dwords, of each part.
void PackedMatmul::splitInputs(Value firstToken, int64_t tokens, Value firstColumn, Value columns) {
  Value full = b.div(columns, panel.step), rest = b.rem(columns, panel.step);
  b.loop(b.size(0), b.size(tokens), 1, [&](Value t) {
    Value source = b.at(inputRow(b.min(b.add(firstToken, t), b.sub(range.tokens, b.size(1)))), firstColumn, inputBytes());
    Value target = b.at(inputTile, t, panel.inputStride);
    if (isInt8)
      return copyCodes(source, target, columns);
    b.loop(b.size(0), full, 1, [&](Value step) {
      Value low = b.at(source, step, inputBytes() * panel.step), high = b.at(low, kLanes, inputBytes());
      // What is split next of this row.
      for (int64_t half = 0; half < 2; ++half)
        b.prefetch(b.at(low, panel.sumColumns + half * kLanes, inputBytes()), 2);
      splitStep(loadInput(low, kLanes), loadInput(high, kLanes), b.at(target, step, kStepBytes), tokens);
    });
    b.ifThen(b.greater(rest, b.size(0)), [&] {
      auto load = [&](int64_t first) { return loadInputs(b.at(source, full, inputBytes() * panel.step), first, rest); };
      splitStep(load(0), load(kLanes), b.at(target, full, kStepBytes), tokens);
    });
  });
}

/// Codes of one row of x, with zeros up to a whole step; for vpdpbusd 128 more.
void PackedMatmul::copyCodes(Value source, Value target, Value columns) {
  VectorType bytes = b.vec(kStepBytes, b.i8());
  Value offset = b.integer(bytes, 0x80);
  auto copy = [&](Value column, Value codes) { b.store(usesTiles() ? codes : b.bitXor(codes, offset), b.at(target, column, 1)); };
  Value full = b.mul(b.div(columns, kStepBytes), kStepBytes), rest = b.sub(columns, full);
  b.loop(b.size(0), full, kStepBytes, [&](Value column) { copy(column, b.load(bytes, b.at(source, column, 1))); });
  b.ifThen(b.greater(rest, b.size(0)), [&] {
    Value mask = b.firstLanes(rest, kStepBytes);
    copy(full, LLVM::MaskedLoadOp::create(b, bytes, b.at(source, full, 1), mask, b.integer(bytes, 0), 1));
  });
}

/// The parts of 32 columns, each where its rows lie. Eight bits of a mantissa go to each; the last of fewer than three is
/// rounded.
void PackedMatmul::splitStep(Value low, Value high, Value target, int64_t tokens) {
  constexpr int64_t kExactParts = 3;
  for (int64_t part = 0; part < panel.parts; ++part)
    b.store(takePart(low, high, part + 1 == panel.parts && panel.parts < kExactParts),
            b.at(target, part * tokens * panel.inputStride, 1));
}

/// 32 columns of f32 as pairs of bf16, of neighbouring columns: cut off and subtracted, or rounded to nearest, ties to even.
Value PackedMatmul::takePart(Value &low, Value &high, bool rounds) {
  auto cut = [&](Value &value) {
    Value part = b.bitcast(b.f32(), b.bitAnd(b.bitcast(b.i32(), value), 0xFFFF0000));
    value = b.sub(value, part);
    return part;
  };
  return rounds ? roundPairs(b, low, high) : roundPairs(b, cut(low), cut(high));
}

//===----------------------------------------------------------------------===//
// Products
//===----------------------------------------------------------------------===//

/// `tokens` rows of x from `firstToken` on against the whole panel. Past the last row, the last stands in.
void PackedMatmul::multiplyTokens(Value firstToken, int64_t tokens, Value firstColumn, Value columns) {
  Value zero = b.splatF32(kLanes, 0.0f);
  b.loop(b.size(0), b.size(tokens * panel.rows), kLanes, [&](Value sum) { b.store(zero, b.at(tokenSums, sum, 4)); });
  b.loop(b.size(0), columns, panel.sumColumns, [&](Value column) {
    Value count = b.min(b.sub(columns, column), panel.sumColumns);
    splitInputs(firstToken, tokens, b.add(firstColumn, column), count);
    b.loop(range.begin, range.end, panel.tileRows(), [&](Value row) {
      RegisterTile tile{tokens, b.sub(row, range.begin), column, b.div(b.add(count, panel.step - 1), panel.step)};
      if (usesTiles())
        multiplyTiles(tile);
      else
        multiplyVectors(tile);
      addProducts(tile);
    });
  });
  addToResults(firstToken, tokens, chunkOf(firstColumn, columns));
}

/// The panel from the tile's first row and column on.
Value PackedMatmul::weightsOf(const RegisterTile &tile) {
  Value group = b.at(weightPanel, b.div(tile.row, kLanes), panel.groupBytes());
  return b.at(group, b.div(tile.column, panel.step), kGroupStepBytes);
}

/// Registers 0 to 3 hold sums, 4 and 5 rows of x, 6 and 7 weights.
void PackedMatmul::multiplyTiles(const RegisterTile &tile) {
  constexpr int64_t kInputs = 4, kWeights = 6;
  auto multiply = isInt8 ? multiplyTilesInt8 : multiplyTilesBf16;
  int64_t height = tile.tokens / kTileRows;
  auto sumOf = [&](int64_t t, int64_t v) { return t * panel.vectors + v; };
  for (int64_t sum = 0; sum < height * panel.vectors; ++sum)
    zeroTile(b, sum);
  Value weights = weightsOf(tile);
  b.loop(b.size(0), tile.steps, 1, [&](Value step) {
    for (int64_t v = 0; v < panel.vectors; ++v)
      loadTile(b, kWeights + v, b.at(b.at(weights, step, kGroupStepBytes), v, panel.groupBytes()), kStepBytes);
    Value inputs = b.at(inputTile, step, kStepBytes);
    for (int64_t part = 0; part < panel.parts; ++part) {
      for (int64_t t = 0; t < height; ++t)
        loadTile(b, kInputs + t, b.at(inputs, (part * tile.tokens + t * kTileRows) * panel.inputStride, 1), panel.inputStride);
      for (int64_t t = 0; t < height; ++t)
        for (int64_t v = 0; v < panel.vectors; ++v)
          multiply(b, sumOf(t, v), kInputs + t, kWeights + v);
    }
  });
  int64_t stride = panel.tileRows() * 4;
  for (int64_t t = 0; t < height; ++t)
    for (int64_t v = 0; v < panel.vectors; ++v)
      storeTile(b, sumOf(t, v), b.at(tileProducts, t * kTileRows * stride + v * kLanes * 4, 1), stride);
}

void PackedMatmul::multiplyVectors(const RegisterTile &tile) {
  Type words = b.vec(kLanes, b.i32());
  SmallVector<Value> acc(tile.tokens * panel.vectors, isInt8 ? b.integer(productType(), 0) : b.splatF32(kLanes, 0.0f));
  Value weights = weightsOf(tile);
  acc = b.loop(b.size(0), b.mul(tile.steps, kLanes), 1, acc, [&](Value dword, ValueRange carried) {
    SmallVector<Value> rows, result(carried);
    for (int64_t v = 0; v < panel.vectors; ++v)
      rows.push_back(b.load(words, b.at(b.at(weights, dword, kStepBytes), v, panel.groupBytes())));
    for (int64_t part = 0; part < panel.parts; ++part)
      for (int64_t t = 0; t < tile.tokens; ++t) {
        Value input = b.load(b.i32(), b.at(b.at(inputTile, dword, 4), (part * tile.tokens + t) * panel.inputStride, 1));
        for (int64_t v = 0; v < panel.vectors; ++v) {
          Value &sum = result[t * panel.vectors + v];
          sum = (isInt8 ? dotBytes : dotPairs)(b, sum, b.splat(input, kLanes), rows[v]);
        }
      }
    return result;
  });
  for (auto [index, sum] : llvm::enumerate(acc))
    b.store(sum, b.at(tileProducts, index * kLanes, 4));
}

/// Adds a register tile's products to the sums of its rows of x, scaled where they are not yet.
void PackedMatmul::addProducts(const RegisterTile &tile) {
  Value span = b.mul(b.div(tile.column, form.span), panel.rows);
  auto ofTile = [&](Value base, int64_t v) { return b.at(b.at(b.at(base, span, 4), tile.row, 4), v * kLanes, 4); };
  SmallVector<Value> scales, codeSums;
  for (int64_t v = 0; v < panel.vectors; ++v) {
    if (scaling == Scaling::Sums)
      scales.push_back(b.load(b.vecF32(), ofTile(panelScales, v)));
    if (isInt8 && !usesTiles())
      codeSums.push_back(b.load(productType(), ofTile(panelCodeSums, v)));
  }
  Value sums = b.at(tokenSums, tile.row, 4);
  b.loop(b.size(0), b.size(tile.tokens), 1, [&](Value t) {
    for (int64_t v = 0; v < panel.vectors; ++v) {
      Value products = b.load(productType(), b.at(b.at(tileProducts, t, panel.tileRows() * 4), v * kLanes, 4));
      Value address = b.at(b.at(sums, t, panel.rows * 4), v * kLanes, 4), sum = b.load(sumType(), address);
      if (!codeSums.empty())
        products = b.sub(products, codeSums[v]);
      b.store(scales.empty() ? b.add(sum, products) : b.fma(b.convert(b.f32(), products), scales[v], sum), address);
    }
  });
}

/// Joins the sums of rows of x with the results of the chunks before; weight rows past the range's end are left alone.
void PackedMatmul::addToResults(Value firstToken, int64_t tokens, const Chunk &chunk) {
  b.loop(range.begin, range.end, kLanes, [&](Value row) {
    Value mask = rowMask(row), local = b.sub(row, range.begin), sums = b.at(tokenSums, local, 4);
    b.loop(b.size(0), b.min(b.sub(range.tokens, firstToken), tokens), 1, [&](Value t) {
      Value token = b.add(firstToken, t), address = outputAddress(token, row);
      Value sum = b.load(sumType(), b.at(sums, t, panel.rows * 4));
      LLVM::MaskedStoreOp::create(b, joinResults(sum, address, mask, b.at(panelScales, local, 4), token, chunk), address, mask,
                                  4);
    });
  });
}
