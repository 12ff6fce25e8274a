//===- NarrowFloats.cpp - narrow floats in arithmetic ---------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "dialects/rows/NarrowFloats.h"

#include <limits>

using namespace mlir;
using namespace quant::rows;

Value quant::rows::encodeE4M3(KernelBuilder &b, Value value) {
  Type words = KernelBuilder::withElement(value.getType(), b.i32());
  auto word = [&](int64_t bits) { return b.integer(words, bits); };
  auto number = [&](double number) { return b.constant(value.getType(), number); };
  Value bits = b.bitcast(b.i32(), value);
  Value sign = b.bitAnd(b.shiftRight(bits, word(24)), word(0x80));
  Value clamped = b.min(b.bitcast(b.f32(), b.bitAnd(bits, word(0x7FFFFFFF))), number(448.0));
  // Normal codes: round the 23-bit fraction to 3 bits, then move the exponent's bias from 127 to 7.
  Value normalBits = b.bitcast(b.i32(), clamped);
  Value odd = b.bitAnd(b.shiftRight(normalBits, word(20)), word(1));
  Value rounded = b.add(b.add(normalBits, word(0x7FFFF)), odd);
  Value normal = b.sub(b.shiftRight(rounded, word(20)), word(120 << 3));
  // Subnormal codes count steps of 2^-9, the spacing of f32 just above 2^14: adding 2^14 rounds to them.
  Value shifted = b.add(clamped, number(0x1p14));
  Value subnormal = b.sub(b.bitcast(b.i32(), shifted), b.bitcast(b.i32(), number(0x1p14)));
  Value code = b.select(b.less(clamped, number(0x1p-6)), subnormal, normal);
  return b.convert(b.i8(), b.bitOr(b.select(b.isNan(value), word(0x7F), code), sign));
}

// By way of f16: shifted into place the bits are value * 2^-8, subnormals included, and the conversion to f32 is exact. Only the
// NaN codes need care.
Value quant::rows::decodeE4M3(KernelBuilder &b, Value codes) {
  Type half = KernelBuilder::withElement(codes.getType(), b.getI16Type());
  auto number = [&](double number) { return b.constant(KernelBuilder::withElement(codes.getType(), b.f32()), number); };
  Value shifted = b.shiftLeft(b.convert(b.getI16Type(), codes), b.integer(half, 7));
  Value scaled = b.bitcast(b.getF16Type(), b.bitAnd(shifted, b.integer(half, 0xBF80)));
  Value value = b.mul(b.convert(b.f32(), scaled), number(256.0));
  Value nan = b.integer(codes.getType(), 0x7F);
  return b.select(b.equal(b.bitAnd(codes, nan), nan), number(std::numeric_limits<double>::quiet_NaN()), value);
}

Value quant::rows::encodeBF16(KernelBuilder &b, Value value) {
  Value bits = b.bitcast(b.i32(), value);
  auto word = [&](int64_t number) { return b.integer(bits.getType(), number); };
  Value odd = b.bitAnd(b.shiftRight(bits, word(16)), word(1));
  Value rounded = b.add(b.add(bits, word(0x7FFF)), odd), quiet = b.bitOr(bits, word(0x400000));
  return b.convert(b.getI16Type(), b.shiftRight(b.select(b.isNan(value), quiet, rounded), word(16)));
}

// By way of f16, as E4M3: the bits are value * 2^-14.
Value quant::rows::decodeE2M1(KernelBuilder &b, Value codes) {
  Type half = KernelBuilder::withElement(codes.getType(), b.getI16Type());
  Value wide = b.convert(b.getI16Type(), codes);
  Value magnitude = b.shiftLeft(b.bitAnd(wide, b.integer(half, 7)), b.integer(half, 9));
  Value sign = b.shiftLeft(b.bitAnd(wide, b.integer(half, 8)), b.integer(half, 12));
  Value scaled = b.convert(b.f32(), b.bitcast(b.getF16Type(), b.bitOr(magnitude, sign)));
  return b.mul(scaled, b.constant(scaled.getType(), 0x1p14));
}

Value quant::rows::roundUpToPowerOfTwo(KernelBuilder &b, Value value) {
  // One more in the exponent unless the fraction is zero.
  Value raised = b.add(b.bitcast(b.i32(), value), 0x7FFFFF);
  return b.bitcast(b.f32(), b.bitAnd(raised, 0x7F800000));
}

Value quant::rows::encodeE8M0(KernelBuilder &b, Value value) {
  Value bits = b.bitcast(b.i32(), value);
  return b.convert(b.i8(), b.shiftRight(bits, b.integer(bits.getType(), 23)));
}

Value quant::rows::decodeE8M0(KernelBuilder &b, Value codes) {
  // The exponent of an f32; 2^-127 is a subnormal.
  Value bits = b.zeroExtend(b.i32(), codes);
  auto word = [&](int64_t value) { return b.integer(bits.getType(), value); };
  Value finite = b.select(b.equal(bits, word(0)), word(0x00400000), b.shiftLeft(bits, word(23)));
  return b.bitcast(b.f32(), b.select(b.equal(bits, word(255)), word(0x7FC00000), finite));
}
