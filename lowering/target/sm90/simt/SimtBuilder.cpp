//===- SimtBuilder.cpp - arithmetic, reductions and loops --------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "lowering/target/sm90/simt/SimtBuilder.h"

#include "mlir/Dialect/LLVMIR/LLVMDialect.h"

#include <numbers>

using namespace mlir;

namespace quant::nvvm {

void SimtBuilder::begin() {
  // A matmul behind this kernel may set itself up already, and fetch its weights.
  launchDependents();
  thread = threadIndex();
  lane = bitAnd(thread, kWarpLanes - 1);
  warp = shiftRight(thread, 5);
  block = blockIndex();
}

//===----------------------------------------------------------------------===//
// Integers
//===----------------------------------------------------------------------===//

Value SimtBuilder::constI64(int64_t value) { return create<arith::ConstantOp>(getI64IntegerAttr(value)); }
Value SimtBuilder::minSigned(Value a, Value b) { return create<arith::MinSIOp>(a, b); }
Value SimtBuilder::remainder(Value a, int64_t b) { return create<arith::RemUIOp>(a, constI32(b)); }
Value SimtBuilder::shiftLeft(Value a, int64_t bits) { return create<arith::ShLIOp>(a, constI32(bits)); }
Value SimtBuilder::bitOr(Value a, Value b) { return create<arith::OrIOp>(a, b); }
Value SimtBuilder::logicalAnd(Value a, Value b) { return create<arith::AndIOp>(a, b); }
Value SimtBuilder::logicalOr(Value a, Value b) { return create<arith::OrIOp>(a, b); }
Value SimtBuilder::compare(IntPredicate predicate, Value a, Value b) { return create<arith::CmpIOp>(predicate, a, b); }

//===----------------------------------------------------------------------===//
// Floats
//===----------------------------------------------------------------------===//

Value SimtBuilder::constF32(double value) { return create<arith::ConstantOp>(getF32FloatAttr(static_cast<float>(value))); }
Value SimtBuilder::addF(Value a, Value b) { return create<arith::AddFOp>(a, b); }
Value SimtBuilder::subF(Value a, Value b) { return create<arith::SubFOp>(a, b); }
Value SimtBuilder::divF(Value a, Value b) { return create<arith::DivFOp>(a, b); }
Value SimtBuilder::maxF(Value a, Value b) { return create<arith::MaxNumFOp>(a, b); }
Value SimtBuilder::absF(Value a) { return create<LLVM::FAbsOp>(a); }
Value SimtBuilder::negF(Value a) { return create<arith::NegFOp>(a); }
Value SimtBuilder::sqrt(Value a) { return create<LLVM::SqrtOp>(a); }
Value SimtBuilder::compare(FloatPredicate predicate, Value a, Value b) { return create<arith::CmpFOp>(predicate, a, b); }
Value SimtBuilder::bitsOf(Value f32) { return create<LLVM::BitcastOp>(getI32Type(), f32); }
Value SimtBuilder::f32OfBits(Value i32) { return create<LLVM::BitcastOp>(getF32Type(), i32); }

Value SimtBuilder::intrinsic(Type result, StringRef name, ValueRange operands) {
  return create<LLVM::CallIntrinsicOp>(result, getStringAttr(name), operands).getResult(0);
}

Value SimtBuilder::exp(Value a) {
  // 2^(a log2 e), the product in two parts: ex2 takes the rounded one, the rest is a factor 1 + rest * ln 2.
  constexpr double kLog2E = std::numbers::log2e;
  const auto high = static_cast<float>(kLog2E);
  // Beyond these bounds the result is 0 or infinity; inside, no part is infinite. Minimum and maximum keep NaN.
  Value x = create<arith::MinimumFOp>(create<arith::MaximumFOp>(a, constF32(-104.0)), constF32(89.0));
  Value product = mulF32(x, constF32(high));
  Value rest = fma(x, constF32(high), negF(product));
  rest = fma(x, constF32(kLog2E - static_cast<double>(high)), rest);
  Value power = intrinsic(getF32Type(), "llvm.nvvm.ex2.approx", product);
  return fma(mulF32(power, rest), constF32(std::numbers::ln2), power);
}

//===----------------------------------------------------------------------===//
// Warps and blocks
//===----------------------------------------------------------------------===//

Value SimtBuilder::shuffleXor(Value value, int64_t mask) {
  bool isFloat = value.getType().isF32();
  return intrinsic(value.getType(), isFloat ? "llvm.nvvm.shfl.sync.bfly.f32" : "llvm.nvvm.shfl.sync.bfly.i32",
                   {constI32(-1), value, constI32(mask), constI32(kWarpLanes - 1)});
}

Value SimtBuilder::shuffleFrom(Value value, Value from) {
  bool isFloat = value.getType().isF32();
  return intrinsic(value.getType(), isFloat ? "llvm.nvvm.shfl.sync.idx.f32" : "llvm.nvvm.shfl.sync.idx.i32",
                   {constI32(-1), value, from, constI32(kWarpLanes - 1)});
}

Value SimtBuilder::reduceWarp(Value value, Combine combine, int64_t width) {
  for (int64_t mask = width / 2; mask > 0; mask /= 2)
    value = combine(value, shuffleXor(value, mask));
  return value;
}

Value SimtBuilder::sumWarp(Value value, int64_t width) {
  return reduceWarp(value, [&](Value a, Value b) { return addF(a, b); }, width);
}

Value SimtBuilder::maxWarp(Value value, int64_t width) {
  return reduceWarp(value, [&](Value a, Value b) { return maxF(a, b); }, width);
}

Value SimtBuilder::sumBlock(Value value) {
  value = sumWarp(value);
  if (warps() == 1)
    return value;
  Value slots = allocateShared(warps() * 4);
  ifThen(equal(lane, constI32(0)), [&] { store(value, at(slots, getF32Type(), warp)); });
  syncBlock();
  Value sum = loadFloat(getF32Type(), slots);
  for (int64_t other = 1; other < warps(); ++other)
    sum = addF(sum, loadFloat(getF32Type(), at(slots, getF32Type(), other)));
  return sum;
}

//===----------------------------------------------------------------------===//
// Loops
//===----------------------------------------------------------------------===//

void SimtBuilder::loop(Value begin, Value end, int64_t step, Body body) {
  forLoop(begin, end, constI32(step), {}, [&](Value index, ValueRange) {
    body(index);
    return SmallVector<Value>();
  });
}

SmallVector<Value> SimtBuilder::loop(Value begin, Value end, int64_t step, ValueRange init, LoopBody body) {
  return forLoop(begin, end, constI32(step), init, body);
}

void SimtBuilder::forGroups(int64_t columns, function_ref<void(Value, Value)> body) {
  forGroups(columns, {}, [&](Value group, Value column, ValueRange) {
    body(group, column);
    return SmallVector<Value>();
  });
}

SmallVector<Value> SimtBuilder::forGroups(int64_t columns, ValueRange init,
                                          function_ref<SmallVector<Value>(Value, Value, ValueRange)> body) {
  int64_t groups = (columns + kWarpColumns - 1) / kWarpColumns;
  return forLoop(warp, constI32(groups), constI32(warps()), init, [&](Value group, ValueRange carried) {
    return body(group, add(mul(group, kWarpColumns), mul(lane, kQuad)), carried);
  });
}

} // namespace quant::nvvm
