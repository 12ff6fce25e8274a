//===- narrow.h - numbers of 16 bits and less -------------------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The formats of OCP's 8-bit floating point (OFP8 1.0) and microscaling (MX 1.0) specifications, of IEEE 754 and of bfloat16, and
// 4-bit integers. This is the definition that every other decoder and encoder is tested against: the vector loops of
// quant-convert, the simulator's conversions, the decoders that the compiler generates.
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_RUNTIME_SUPPORT_NARROW_H
#define QUANT_RUNTIME_SUPPORT_NARROW_H

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>

namespace quant {

//===----------------------------------------------------------------------===//
// Floats
//===----------------------------------------------------------------------===//

/// What a format does with its last codes.
enum class Specials : uint8_t {
  Infinities, ///< the highest exponent means infinity and NaN, as in IEEE 754
  OneNaN,     ///< "FN" of 8 bits: the code of all ones is NaN, nothing is infinite
  None,       ///< "FN" of 4 and 6 bits: every code is a finite number
  MinusZero   ///< "FNUZ": the code of -0 is NaN, nothing is infinite
};

/// Sign, exponent and fraction, from the highest bit.
struct FloatFormat {
  int exponentBits, fractionBits, bias;
  Specials specials;

  constexpr int bits() const { return 1 + exponentBits + fractionBits; }
  constexpr uint32_t signBit() const { return 1u << (exponentBits + fractionBits); }
  /// Code of the largest finite value.
  constexpr uint32_t largest() const {
    uint32_t taken = specials == Specials::Infinities ? 1u << fractionBits : specials == Specials::OneNaN ? 1 : 0;
    return signBit() - 1 - taken;
  }
};

inline constexpr FloatFormat kE2M1FN = {2, 1, 1, Specials::None};         ///< to 6: MXFP4, NVFP4
inline constexpr FloatFormat kE4M3FN = {4, 3, 7, Specials::OneNaN};       ///< to 448
inline constexpr FloatFormat kE5M2 = {5, 2, 15, Specials::Infinities};    ///< to 57344
inline constexpr FloatFormat kE4M3FNUZ = {4, 3, 8, Specials::MinusZero};  ///< to 240
inline constexpr FloatFormat kE5M2FNUZ = {5, 2, 16, Specials::MinusZero}; ///< to 57344
inline constexpr FloatFormat kF16 = {5, 10, 15, Specials::Infinities};    ///< IEEE 754 binary16
inline constexpr FloatFormat kBF16 = {8, 7, 127, Specials::Infinities};   ///< the upper half of an f32

enum class Rounding : uint8_t { NearestEven, Zero, Down, Up, NearestAway };

/// What a value beyond the largest finite one becomes.
enum class Overflow : uint8_t {
  Saturate, ///< the largest finite value, also where the value is infinite: conversions to FP8
  Infinity  ///< infinity, where the format has it: conversions to bf16 and f16
};

/// The code of `value`. Subnormals are kept. NaN becomes all ones but the sign (as PTX's conversions have it), minus zero's code
/// in FNUZ formats, and the largest value where there is no NaN.
uint32_t encodeFloat(double value, const FloatFormat &format, Rounding rounding = Rounding::NearestEven,
                     Overflow overflow = Overflow::Saturate);

/// The value of a code, exactly.
double decodeFloat(uint32_t code, const FloatFormat &format);

/// The values of a format's codes of 8 bits, made once.
using CodeValues = std::array<float, 256>;
/// @pre format.bits() == 8
CodeValues valuesOf(const FloatFormat &format);

/// bf16 to f32, exactly; for vector loops.
inline float fromBf16(uint16_t code) { return std::bit_cast<float>(uint32_t{code} << 16); }

/// The nearest bf16, ties to even; infinity beyond the largest. NaN may become infinity: for values that are none.
inline uint16_t toBf16(float value) {
  uint32_t bits = std::bit_cast<uint32_t>(value);
  return static_cast<uint16_t>((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}

/// f16 to f32, exactly; for vector loops. No operand is a subnormal float, which CPUs are slow with.
inline float fromF16(uint16_t code) {
  constexpr uint32_t kInfinity = 0x7C00;
  uint32_t magnitude = code & 0x7FFFu, shifted = magnitude << 13;
  // 2^-14 is the smallest normal number; below it the fraction counts steps, which a float at 2^-14 has, too.
  float normal = std::bit_cast<float>(shifted + (112u << 23));
  float subnormal = std::bit_cast<float>(shifted | (113u << 23)) - 0x1p-14f;
  float finite = (magnitude & kInfinity) != 0 ? normal : subnormal;
  uint32_t result = magnitude >= kInfinity ? shifted | 0x7F800000 : std::bit_cast<uint32_t>(finite);
  return std::bit_cast<float>(result | (code & 0x8000u) << 16);
}

//===----------------------------------------------------------------------===//
// E8M0: scales
//===----------------------------------------------------------------------===//

/// 2^(code - 127); 255 is NaN. Neither zero nor a sign.
float decodeE8M0(uint8_t code);

/// The nearest power of two, a tie upwards (to the even significand); what is below 2^-127, zero too, becomes 2^-127, what is
/// beyond 2^127 becomes that. NaN and negative numbers become NaN.
uint8_t encodeE8M0(float value);

/// The power of two at or above a value: DeepSeek's rule for scales, with which no element is clipped. Otherwise as encodeE8M0.
uint8_t encodeE8M0Up(float value);

const CodeValues &e8m0Values();

//===----------------------------------------------------------------------===//
// Four bits
//===----------------------------------------------------------------------===//

/// A nibble as a number in two's complement: -8 to 7.
inline int fromI4(uint8_t nibble) { return static_cast<int>(nibble ^ 8) - 8; }
/// @pre -8 <= value && value <= 7
inline uint8_t toI4(int value) { return static_cast<uint8_t>(value & 0xF); }

/// Which half of a byte has the first of two elements.
enum class NibbleOrder : uint8_t { LowFirst, HighFirst };

uint8_t nibbleAt(std::span<const std::byte> bytes, size_t index, NibbleOrder order);
/// Leaves the other half of the byte as it is.
void setNibble(std::span<std::byte> bytes, size_t index, NibbleOrder order, uint8_t nibble);

/// Which nibble of a 32-bit word, counted from the lowest bit, has which of its eight elements.
enum class WordOrder : uint8_t {
  Sequential, ///< element i in nibble i: compressed-tensors (along a row), GPTQ (down a column)
  Awq         ///< nibble i has element 0, 2, 4, 6, 1, 3, 5, 7: AWQ's "gemm"
};

using WordNibbles = std::array<uint8_t, 8>;
uint32_t packWord(const WordNibbles &elements, WordOrder order);
WordNibbles unpackWord(uint32_t word, WordOrder order);

} // namespace quant

#endif // QUANT_RUNTIME_SUPPORT_NARROW_H
