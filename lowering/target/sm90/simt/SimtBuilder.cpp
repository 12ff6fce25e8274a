//===- SimtBuilder.cpp - arithmetic, reductions and loops --------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "lowering/target/sm90/simt/SimtBuilder.h"

#include "mlir/Dialect/LLVMIR/LLVMDialect.h"

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

Value SimtBuilder::dot(Value left, Value right, Value sum) {
  for (int64_t lane = 0; lane < laneCount(left.getType()); ++lane)
    sum = fma(extract(left, lane), extract(right, lane), sum);
  return sum;
}

//===----------------------------------------------------------------------===//
// Warps and blocks
//===----------------------------------------------------------------------===//

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
