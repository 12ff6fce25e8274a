//===- E4M3.cpp - quantizing values that lie in registers --------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "lowering/target/sm90/simt/E4M3.h"

using namespace mlir;

namespace quant::nvvm {

Value largestMagnitude(SimtBuilder &b, ArrayRef<Value> values, double least) {
  Value amax = b.constF32(least);
  for (Value value : values)
    amax = b.maxF(b.absF(value), amax);
  return amax;
}

GroupScale groupScale(SimtBuilder &b, Value amax, bool powerOfTwo) {
  constexpr double kLargestE4M3 = 448.0;
  Value scale = b.divF(amax, b.constF32(kLargestE4M3));
  if (powerOfTwo) // One more in the exponent unless the fraction is zero.
    scale = b.f32OfBits(b.bitAnd(b.add(b.bitsOf(scale), b.constI32(0x7FFFFF)), 0x7F800000));
  return {scale, b.reciprocal(scale)};
}

Value divideByScale(SimtBuilder &b, Value value, const GroupScale &scale) {
  Value quotient = b.mulF32(value, scale.inverse);
  Value rest = b.fma(b.negF(quotient), scale.scale, value);
  return b.fma(rest, scale.inverse, quotient);
}

} // namespace quant::nvvm
