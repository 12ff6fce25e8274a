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
// Arithmetic
//===----------------------------------------------------------------------===//

Value SimtBuilder::intrinsic(Type result, StringRef name, ValueRange operands) {
  return LLVM::CallIntrinsicOp::create(*this, result, getStringAttr(name), operands).getResult(0);
}

Value SimtBuilder::dot(Value left, Value right, Value sum) {
  for (int64_t lane = 0; lane < laneCount(left.getType()); ++lane)
    sum = fma(extract(left, lane), extract(right, lane), sum);
  return sum;
}

Value SimtBuilder::exp(Value a) {
  // 2^(a log2 e), the product in two parts: ex2 takes the rounded one, the rest is a factor 1 + rest * ln 2.
  constexpr double kLog2E = std::numbers::log2e;
  const auto high = static_cast<float>(kLog2E);
  auto number = [&](double value) { return constant(a.getType(), value); };
  // Beyond these bounds the result is 0 or infinity; inside, no part is infinite. Minimum and maximum keep NaN.
  Value x = arith::MinimumFOp::create(*this, arith::MaximumFOp::create(*this, a, number(-104.0)), number(89.0));
  Value product = mul(x, number(high));
  Value rest = fma(x, number(high), neg(product));
  rest = fma(x, number(kLog2E - static_cast<double>(high)), rest);
  SmallVector<Value> powers;
  for (int64_t lane = 0; lane < laneCount(a.getType()); ++lane)
    powers.push_back(intrinsic(f32(), "llvm.nvvm.ex2.approx", extract(product, lane)));
  Value power = pack(powers);
  return fma(mul(power, rest), number(std::numbers::ln2), power);
}

//===----------------------------------------------------------------------===//
// Warps and blocks
//===----------------------------------------------------------------------===//

Value SimtBuilder::shuffleXor(Value value, int64_t mask) {
  bool isFloat = value.getType().isF32();
  return intrinsic(value.getType(), isFloat ? "llvm.nvvm.shfl.sync.bfly.f32" : "llvm.nvvm.shfl.sync.bfly.i32",
                   {int32(-1), value, int32(mask), int32(kWarpLanes - 1)});
}

Value SimtBuilder::shuffleFrom(Value value, Value from) {
  bool isFloat = value.getType().isF32();
  return intrinsic(value.getType(), isFloat ? "llvm.nvvm.shfl.sync.idx.f32" : "llvm.nvvm.shfl.sync.idx.i32",
                   {int32(-1), value, from, int32(kWarpLanes - 1)});
}

Value SimtBuilder::reduceWarp(Value value, Combine combine, int64_t width) {
  for (int64_t mask = width / 2; mask > 0; mask /= 2)
    value = combine(value, shuffleXor(value, mask));
  return value;
}

Value SimtBuilder::sumWarp(Value value, int64_t width) {
  return reduceWarp(value, [&](Value a, Value b) { return add(a, b); }, width);
}

Value SimtBuilder::maxWarp(Value value, int64_t width) {
  return reduceWarp(value, [&](Value a, Value b) { return max(a, b); }, width);
}

//===----------------------------------------------------------------------===//
// Loops
//===----------------------------------------------------------------------===//

SmallVector<Value> SimtBuilder::forGroups(int64_t columns, ValueRange init,
                                          function_ref<SmallVector<Value>(Value, Value, ValueRange)> body) {
  int64_t groups = (columns + kWarpColumns - 1) / kWarpColumns;
  return loop(warp, int32(groups), int32(warps()), init, [&](Value group, ValueRange carried) {
    return body(group, add(mul(group, kWarpColumns), mul(lane, kQuad)), carried);
  });
}

} // namespace quant::nvvm
