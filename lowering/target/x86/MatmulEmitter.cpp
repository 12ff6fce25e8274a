//===- MatmulEmitter.cpp - dot products straight from the file ------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "lowering/target/x86/MatmulEmitter.h"

#include "lowering/target/x86/Decode.h"

#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "llvm/ADT/STLExtras.h"

#include <numeric>

using namespace mlir;
using namespace quant;
using namespace quant::host;

/// How far ahead of its use a weight is fetched to the first-level cache and to the second.
static constexpr int64_t kNearBytes = 512, kFarBytes = 2048;
static constexpr int64_t kCacheLine = 64;
/// Weight rows at a time for one token.
static constexpr int64_t kStreams = 4;

static int64_t spanColumns(const Weight &weight) {
  if (!weight.scaleType || weight.blockColumns >= weight.columns)
    return std::min<int64_t>(128, weight.columns);
  return weight.blockColumns <= 128 ? weight.blockColumns : std::gcd<int64_t>(weight.blockColumns, 128);
}

MatmulEmitter::MatmulEmitter(KernelContext &context, const Weight &weight)
    : context(context), b(context.b), weight(weight), span(spanColumns(weight)) {}

void MatmulEmitter::emit(const RowRange &range) {
  auto upTo = [&](int64_t tokens) { return b.compare(arith::CmpIPredicate::sle, range.tokens, tokens); };
  std::function<void(int64_t)> dispatch = [&](int64_t tokens) {
    if (tokens > context.parameter("dot_tokens", b.target.dotTokens))
      return multiplyByPanel(range);
    b.ifThen(
        upTo(tokens), [&] { dots(range, tokens == 1 ? kStreams : context.parameter("dot_sums", b.target.dotSums) / tokens, tokens); },
        [&] { dispatch(2 * tokens); });
  };
  // A block of rows may lie outside this part of the weight.
  Value smaller = b.min(range.tokens, b.sub(range.end, range.begin));
  b.ifThen(b.compare(arith::CmpIPredicate::sgt, smaller, 0), [&] { dispatch(1); });
}

//===----------------------------------------------------------------------===//
// One weight row
//===----------------------------------------------------------------------===//

Value MatmulEmitter::storageOffset(Value elements) {
  unsigned bits = weight.storage.getIntOrFloatBitWidth();
  return bits < 8 ? b.div(elements, 8 / bits) : b.mul(elements, bits / 8);
}

Value MatmulEmitter::rowData(const RowRange &range, Value row) {
  return b.at(range.data, row, storageBytes(weight.storage, weight.columns));
}

Value MatmulEmitter::rowScale(Value row) { return b.mul(b.div(row, weight.blockRows), weight.scaleColumns()); }

Value MatmulEmitter::loadScale(const RowRange &range, Value rowScale, Value column) {
  if (!weight.scaleType)
    return {};
  Value index = b.add(rowScale, b.div(column, weight.blockColumns));
  return b.loadScalarAsF32(weight.scaleType, b.at(range.scale, index, bytesOf(weight.scaleType)));
}

Value MatmulEmitter::loadZero(const RowRange &range, Value rowScale, Value column) {
  if (!weight.zeroType)
    return {};
  Value index = b.add(rowScale, b.div(column, weight.blockColumns));
  return arith::SIToFPOp::create(b, b.f32(), b.load(b.i8(), b.at(range.zero, index, 1)));
}

void MatmulEmitter::forPieces(Value source, int64_t columns, Value scale, Value zero, Piece body, bool shuffled) {
  int64_t offset = 0;
  auto address = [&] { return b.at(source, storageBytes(weight.storage, offset), 1); };
  auto piece = [&](int64_t first, int64_t lanes, Value value) {
    if (zero)
      value = b.sub(value, b.splat(zero, lanes));
    if (scale)
      value = b.mul(value, b.splat(scale, lanes));
    body(first, lanes, value);
  };
  for (; offset + 64 <= columns; offset += 64)
    for (auto [quarter, value] : llvm::enumerate((shuffled ? decode64Shuffled : decode64)(b, weight.storage, address())))
      piece(offset + kLanes * quarter, kLanes, value);
  while (offset < columns) {
    int64_t lanes = std::min(kLanes, columns - offset);
    piece(offset, lanes, decode(b, weight.storage, address(), lanes));
    offset += lanes;
  }
}

void MatmulEmitter::decodeRow(const RowRange &range, Value row, Value target) {
  Value data = rowData(range, row), scales = rowScale(row);
  auto decodeSpan = [&](Value column, int64_t columns) {
    Value scale = loadScale(range, scales, column), zero = loadZero(range, scales, column);
    forPieces(b.at(data, storageOffset(column), 1), columns, scale, zero,
              [&](int64_t offset, int64_t lanes, Value value) { b.store(value, b.at(target, b.add(column, offset), 4)); });
  };
  int64_t whole = weight.columns / span * span;
  b.loop(b.size(0), b.size(whole), span, [&](Value column) { decodeSpan(column, span); });
  if (whole < weight.columns)
    decodeSpan(b.size(whole), weight.columns - whole);
  if (int64_t rest = llvm::alignTo(weight.columns, kLanes) - weight.columns)
    b.store(b.splatF32(rest, 0.0f), b.at(target, weight.columns, 4));
}

/// A narrower vector followed by zeros.
Value MatmulEmitter::widen(Value vector) {
  int64_t lanes = cast<VectorType>(vector.getType()).getNumElements();
  if (lanes == kLanes)
    return vector;
  SmallVector<int64_t> mask;
  for (int64_t lane = 0; lane < kLanes; ++lane)
    mask.push_back(std::min(lane, lanes));
  return vector::ShuffleOp::create(b, vector, b.splatF32(lanes, 0.0f), mask);
}

//===----------------------------------------------------------------------===//
// Few tokens
//===----------------------------------------------------------------------===//

/// Addresses of the weight rows and x rows whose products are computed together.
struct MatmulEmitter::DotRows {
  SmallVector<Value> data, scales, inputs;
};

/// All results of the range, `rows` x `tokens` at a time. The weight rows of a group lie far apart, so that each is part of a
/// long stream through the file: processors fetch a few long streams faster than one, or many short ones. Where the rows or the
/// tokens do not fill a group, the last one stands in and is stored twice.
void MatmulEmitter::dots(const RowRange &range, int64_t rows, int64_t tokens) {
  Value last = b.sub(range.end, b.size(1)), lastToken = b.sub(range.tokens, b.size(1));
  Value stride = b.div(b.add(b.sub(range.end, range.begin), rows - 1), rows);
  SmallVector<Value> tokenIndices;
  DotRows group;
  for (int64_t t = 0; t < tokens; ++t) {
    tokenIndices.push_back(tokens == 1 ? b.size(0) : b.min(b.size(t), lastToken));
    group.inputs.push_back(range.xAddress(tokenIndices.back()));
  }
  if (hasShuffledDecode(b, weight.storage))
    shuffleInputs(group.inputs);
  b.loop(range.begin, b.add(range.begin, stride), 1, [&](Value first) {
    SmallVector<Value> rowIndices;
    group.data.clear();
    group.scales.clear();
    for (int64_t r = 0; r < rows; ++r) {
      rowIndices.push_back(b.min(b.add(first, b.mul(stride, r)), last));
      group.data.push_back(rowData(range, rowIndices[r]));
      group.scales.push_back(r > 0 && range.oneScaleRow ? group.scales[0] : rowScale(rowIndices[r]));
    }
    SmallVector<Value> acc(rows * tokens, b.splatF32(kLanes, 0.0f));
    int64_t whole = weight.columns / span * span;
    acc = b.loop(b.size(0), b.size(whole), span, acc,
                 [&](Value column, ValueRange carried) { return dotSpan(range, group, column, span, carried); });
    if (whole < weight.columns)
      acc = dotSpan(range, group, b.size(whole), weight.columns - whole, acc);
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t t = 0; t < tokens; ++t)
        b.store(b.sumLanes(acc[r * tokens + t]), range.outAddress(tokenIndices[t], rowIndices[r]));
  });
}

/// Copies rows of x to scratch, in the order in which weights are decoded: once here instead of in every weight row.
void MatmulEmitter::shuffleInputs(MutableArrayRef<Value> inputs) {
  int64_t rowBytes = llvm::alignTo(weight.columns, kLanes) * 4, whole = weight.columns / span * span;
  Value copy = context.allocate(rowBytes * inputs.size());
  for (auto [index, input] : llvm::enumerate(inputs)) {
    Value source = input, target = b.at(copy, index * rowBytes, 1);
    auto copySpan = [&](Value column, int64_t columns) {
      Value from = b.at(source, column, 4), to = b.at(target, column, 4);
      int64_t offset = 0;
      for (; offset + 64 <= columns; offset += 64) {
        SmallVector<Value> vectors;
        for (int64_t vector = 0; vector < 4; ++vector)
          vectors.push_back(b.load(b.vecF32(), b.at(from, offset + vector * kLanes, 4)));
        for (auto [vector, value] : llvm::enumerate(shuffle64(b, vectors)))
          b.store(value, b.at(to, offset + vector * kLanes, 4));
      }
      for (int64_t lanes; offset < columns; offset += lanes) {
        lanes = std::min(kLanes, columns - offset);
        b.store(b.load(b.vecF32(lanes), b.at(from, offset, 4)), b.at(to, offset, 4));
      }
    };
    b.loop(b.size(0), b.size(whole), span, [&](Value column) { copySpan(column, span); });
    if (whole < weight.columns)
      copySpan(b.size(whole), weight.columns - whole);
    input = target;
  }
}

/// One token: each span's products are summed and then scaled ("promotion"). More: the weights are scaled, once for all tokens.
SmallVector<Value> MatmulEmitter::dotSpan(const RowRange &range, const DotRows &group, Value column, int64_t columns,
                                          ValueRange acc) {
  int64_t rows = group.data.size(), tokens = group.inputs.size();
  SmallVector<Value> result, inputs;
  for (Value input : group.inputs)
    inputs.push_back(b.at(input, column, 4));
  for (int64_t r = 0; r < rows; ++r) {
    Value source = b.at(group.data[r], storageOffset(column), 1);
    for (int64_t line = 0; line < storageBytes(weight.storage, columns); line += kCacheLine) {
      b.prefetch(b.at(source, kNearBytes + line, 1), 3);
      b.prefetch(b.at(source, kFarBytes + line, 1), 2);
    }
    Value scale = loadScale(range, group.scales[r], column), zero = loadZero(range, group.scales[r], column);
    if (tokens > 1 || !scale) {
      llvm::append_range(result,
                         spanProducts(source, columns, scale, zero, inputs, llvm::to_vector(acc.slice(r * tokens, tokens))));
      continue;
    }
    SmallVector<Value> products = spanProducts(source, columns, {}, zero, inputs, {b.splatF32(kLanes, 0.0f)});
    result.push_back(b.fma(products[0], b.splat(scale, kLanes), acc[r]));
  }
  return result;
}

/// Adds the products of one row's span with each of `inputs` to `acc`, lane by lane.
SmallVector<Value> MatmulEmitter::spanProducts(Value source, int64_t columns, Value scale, Value zero, ArrayRef<Value> inputs,
                                               SmallVector<Value> acc) {
  forPieces(
      source, columns, scale, zero,
      [&](int64_t offset, int64_t lanes, Value value) {
        for (auto [input, sum] : llvm::zip_equal(inputs, acc))
          sum = b.fma(widen(value), widen(b.load(b.vecF32(lanes), b.at(input, offset, 4))), sum);
      },
      hasShuffledDecode(b, weight.storage));
  return acc;
}
