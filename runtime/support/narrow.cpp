//===- narrow.cpp - numbers of 16 bits and less ---------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/support/narrow.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace quant {

//===----------------------------------------------------------------------===//
// Floats
//===----------------------------------------------------------------------===//

/// `value` >= 0, to an integer.
static double roundToInteger(double value, Rounding rounding, bool negative) {
  double below = std::floor(value), rest = value - below;
  switch (rounding) {
  case Rounding::NearestEven:
    return below + (rest > 0.5 || (rest == 0.5 && std::fmod(below, 2) == 1));
  case Rounding::NearestAway:
    return below + (rest >= 0.5);
  case Rounding::Down:
    return below + (negative && rest > 0);
  case Rounding::Up:
    return below + (!negative && rest > 0);
  case Rounding::Zero:
    break;
  }
  return below;
}

static uint32_t nanOf(const FloatFormat &format) {
  return format.specials == Specials::MinusZero ? format.signBit() : format.signBit() - 1;
}

/// The code of a value beyond the largest one.
static uint32_t overflowed(const FloatFormat &format, Rounding rounding, Overflow overflow, bool negative) {
  bool inwards =
      rounding == Rounding::Zero || (rounding == Rounding::Down && !negative) || (rounding == Rounding::Up && negative);
  bool infinite = overflow == Overflow::Infinity && format.specials == Specials::Infinities && !inwards;
  return format.largest() + infinite;
}

uint32_t encodeFloat(double value, const FloatFormat &format, Rounding rounding, Overflow overflow) {
  if (std::isnan(value))
    return nanOf(format);
  bool negative = std::signbit(value);
  uint32_t sign = negative ? format.signBit() : 0;
  double size = std::abs(value);
  if (std::isinf(size))
    return sign | overflowed(format, Rounding::NearestEven, overflow, negative);
  int exponent = size == 0 ? 1 - format.bias : std::max(std::ilogb(size), 1 - format.bias);
  double units = roundToInteger(std::ldexp(size, format.fractionBits - exponent), rounding, negative);
  // A subnormal's units are its code; a carry into the next exponent comes out right by itself.
  uint64_t code = (uint64_t(exponent + format.bias - 1) << format.fractionBits) + static_cast<uint64_t>(units);
  if (code > format.largest())
    return sign | overflowed(format, rounding, overflow, negative);
  return code == 0 && format.specials == Specials::MinusZero ? 0 : sign | static_cast<uint32_t>(code);
}

double decodeFloat(uint32_t code, const FloatFormat &format) {
  double sign = code & format.signBit() ? -1 : 1;
  uint32_t size = code & (format.signBit() - 1);
  if (size > format.largest())
    return format.specials == Specials::Infinities && size == format.largest() + 1
               ? sign * std::numeric_limits<double>::infinity()
               : std::numeric_limits<double>::quiet_NaN();
  if (format.specials == Specials::MinusZero && code == format.signBit())
    return std::numeric_limits<double>::quiet_NaN();
  int exponent = static_cast<int>(size >> format.fractionBits);
  double fraction = size & ((1u << format.fractionBits) - 1);
  if (exponent > 0)
    fraction += 1u << format.fractionBits;
  return sign * std::ldexp(fraction, std::max(exponent, 1) - format.bias - format.fractionBits);
}

CodeValues valuesOf(const FloatFormat &format) {
  CodeValues values;
  for (uint32_t code = 0; code < values.size(); ++code)
    values[code] = static_cast<float>(decodeFloat(code, format));
  return values;
}

//===----------------------------------------------------------------------===//
// E8M0
//===----------------------------------------------------------------------===//

static constexpr uint8_t kE8M0NaN = 255;

float decodeE8M0(uint8_t code) {
  return code == kE8M0NaN ? std::numeric_limits<float>::quiet_NaN() : std::ldexp(1.0f, code - 127);
}

/// `threshold` in (1, 2]: from there on a significand goes to the next power of two.
static uint8_t encodeE8M0From(float value, float threshold) {
  if (std::isnan(value) || value < 0)
    return kE8M0NaN;
  if (value < 0x1p-127f)
    return 0;
  if (std::isinf(value))
    return kE8M0NaN - 1;
  int exponent = std::ilogb(value);
  exponent += std::ldexp(value, -exponent) >= threshold;
  return static_cast<uint8_t>(std::min(exponent, 127) + 127);
}

uint8_t encodeE8M0(float value) { return encodeE8M0From(value, 1.5f); }
uint8_t encodeE8M0Up(float value) { return encodeE8M0From(value, std::nextafter(1.0f, 2.0f)); }

const CodeValues &e8m0Values() {
  static const CodeValues values = [] {
    CodeValues all;
    for (size_t code = 0; code < all.size(); ++code)
      all[code] = decodeE8M0(static_cast<uint8_t>(code));
    return all;
  }();
  return values;
}

//===----------------------------------------------------------------------===//
// Four bits
//===----------------------------------------------------------------------===//

static int shiftOf(size_t index, NibbleOrder order) { return (index % 2 == 0) == (order == NibbleOrder::LowFirst) ? 0 : 4; }

uint8_t nibbleAt(std::span<const std::byte> bytes, size_t index, NibbleOrder order) {
  return std::to_integer<uint8_t>(bytes[index / 2] >> shiftOf(index, order) & std::byte{0xF});
}

void setNibble(std::span<std::byte> bytes, size_t index, NibbleOrder order, uint8_t nibble) {
  int shift = shiftOf(index, order);
  std::byte &byte = bytes[index / 2];
  byte = (byte & ~(std::byte{0xF} << shift)) | std::byte(nibble & 0xF) << shift;
}

static constexpr WordNibbles kSequential = {0, 1, 2, 3, 4, 5, 6, 7}, kAwq = {0, 2, 4, 6, 1, 3, 5, 7};

static const WordNibbles &elementsOf(WordOrder order) { return order == WordOrder::Awq ? kAwq : kSequential; }

uint32_t packWord(const WordNibbles &elements, WordOrder order) {
  uint32_t word = 0;
  for (size_t i = 0; i < elements.size(); ++i)
    word |= uint32_t(elements[elementsOf(order)[i]] & 0xF) << (4 * i);
  return word;
}

WordNibbles unpackWord(uint32_t word, WordOrder order) {
  WordNibbles elements;
  for (size_t i = 0; i < elements.size(); ++i)
    elements[elementsOf(order)[i]] = word >> (4 * i) & 0xF;
  return elements;
}

} // namespace quant
