//===- RangeMatmul.cpp - x times a range of a weight's rows ------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "lowering/target/x86/RangeMatmul.h"

#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace quant::host;

void RangeMatmul::forChunks(int64_t chunk, function_ref<void(Value, Value)> body) {
  b.loop(b.size(0), weight.columns, chunk,
         [&](Value firstColumn) { body(firstColumn, b.min(b.sub(weight.columns, firstColumn), chunk)); });
}

void RangeMatmul::forSpansOfPanel(Value firstColumn, Value columns, function_ref<void(Value, Value, int64_t)> body) {
  Value end = b.add(firstColumn, columns);
  b.loop(range.begin, range.end, kLanes, [&](Value row) {
    b.loop(firstColumn, b.min(end, whole), form.span, [&](Value column) { body(row, column, form.span); });
    if (form.rest)
      b.ifThen(b.compare(arith::CmpIPredicate::sgt, end, whole), [&] { body(row, whole, form.rest); });
  });
}

void RangeMatmul::forTokenTiles(int64_t tokens, int64_t unit, function_ref<void(Value, int64_t)> body) {
  Value full = b.mul(b.div(b.add(range.tokens, unit - 1), tokens), tokens), rest = b.sub(range.tokens, full);
  b.loop(b.size(0), full, tokens, [&](Value token) { body(token, tokens); });
  for (int64_t low = unit; low < tokens; low += unit)
    b.ifThen(b.bitAnd(b.greater(rest, b.size(low - unit)), b.compare(arith::CmpIPredicate::sle, rest, low)),
             [&] { body(full, low); });
}

/// Codes of x in i8 as f32; f32 as they are.
static Value asF32(HostBuilder &b, Value values, bool isInt8) {
  return isInt8 ? b.convert(b.f32(), b.convert(b.i32(), values)) : values;
}

Value RangeMatmul::inputIndex(Value m) {
  const RangeInput &input = range.input;
  auto row = scf::IfOp::create(b, TypeRange(b.i64()), b.greater(input.topK, b.size(0)), /*withElseRegion=*/true);
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPointToStart(row.thenBlock());
  scf::YieldOp::create(b, b.div(b.loadNumber(b.i32(), b.at(input.gather, m, 4)), input.topK));
  b.setInsertionPointToStart(row.elseBlock());
  scf::YieldOp::create(b, m);
  b.setInsertionPointAfter(row);
  return row.getResult(0);
}

Value RangeMatmul::loadInput(Value address, int64_t lanes) {
  Type element = range.hasInt8Inputs ? b.i8() : b.f32();
  Value values = b.load(lanes == 1 ? element : Type(b.vec(lanes, element)), address);
  return asF32(b, values, range.hasInt8Inputs);
}

Value RangeMatmul::loadInputs(Value address, int64_t first, Value count) {
  VectorType type = b.vec(kLanes, range.hasInt8Inputs ? b.i8() : b.f32());
  Value none = range.hasInt8Inputs ? b.integer(type, 0) : b.constant(type, 0.0);
  Value mask = b.firstLanes(b.sub(count, b.size(first)));
  Value values = LLVM::MaskedLoadOp::create(b, type, b.at(address, first, inputBytes()), mask, none, inputBytes());
  return asF32(b, values, range.hasInt8Inputs);
}

Value RangeMatmul::scaleSums(Value sums, Value rowScales, Value inputScale) {
  int64_t lanes = rows::KernelBuilder::laneCount(sums.getType());
  auto spread = [&](Value scale) { return lanes == 1 || isa<VectorType>(scale.getType()) ? scale : b.splat(scale, lanes); };
  if (hasIntegerSums())
    sums = b.mul(b.convert(b.f32(), sums), spread(rowScales));
  return inputScale ? b.mul(sums, spread(inputScale)) : sums;
}

RangeMatmul::Chunk RangeMatmul::chunkOf(Value firstColumn, Value columns) {
  return {b.compare(arith::CmpIPredicate::eq, firstColumn, 0), b.equal(b.add(firstColumn, columns), weight.columns)};
}

Value RangeMatmul::joinResults(Value sums, Value address, Value mask, Value rowScales, Value token, const Chunk &chunk) {
  Value zero = b.splatF32(kLanes, 0.0f);
  Value before = LLVM::MaskedLoadOp::create(b, b.vecF32(), address, mask, zero, 4);
  before = b.select(chunk.isFirst, zero, before);
  if (!range.hasInt8Inputs)
    return b.add(sums, before);
  Value scale = inputScale(token);
  if (!hasIntegerSums())
    return b.add(scaleSums(sums, {}, scale), before);
  Value all = b.add(sums, b.bitcast(b.i32(), before));
  return b.select(chunk.isLast, scaleSums(all, b.load(b.vecF32(), rowScales), scale), b.bitcast(b.f32(), all));
}

Value RangeMatmul::widen(Value vector, int64_t lanes) {
  auto type = cast<VectorType>(vector.getType());
  int64_t given = type.getNumElements();
  if (given == lanes)
    return vector;
  SmallVector<int64_t> order;
  for (int64_t lane = 0; lane < lanes; ++lane)
    order.push_back(std::min(lane, given));
  bool isFloat = isa<FloatType>(type.getElementType());
  return vector::ShuffleOp::create(b, vector, isFloat ? b.constant(type, 0.0) : b.integer(type, 0), order);
}

/// Pairs, then fours within 128 bits, then the four 128-bit parts.
SmallVector<Value> RangeMatmul::transposed(ArrayRef<Value> in) {
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
  SmallVector<Value> fours(kLanes), result(kLanes);
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
        result[4 * (2 * upper + odd) + c] = parts(low, high, upper);
    }
  return result;
}

void RangeMatmul::transpose(Value source, int64_t stride, Value target, int64_t targetStride, int64_t rows) {
  SmallVector<Value> in;
  for (int64_t r = 0; r < kLanes; ++r)
    in.push_back(b.load(b.vecF32(), b.at(source, r * stride, 1)));
  SmallVector<Value> out = transposed(in);
  for (int64_t row = 0; row < rows; ++row)
    b.store(out[row], b.at(target, row * targetStride, 1));
}
