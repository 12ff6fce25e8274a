//===- narrow_test.cpp - every code of every narrow number ------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The reference is the formats' definition, written down a second time: values as multiples of the smallest subnormal, found
// without a logarithm, and rounding as a search among all values.
//
//===----------------------------------------------------------------------===//

#include "runtime/support/narrow.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

using namespace quant;

namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

struct Named {
  const char *name;
  FloatFormat format;
  double largest, smallestNormal, smallest; ///< as the specifications list them
  uint32_t nan;                             ///< the code that NaN gets; without NaN the largest
};

const Named kFormats[] = {
    {"E2M1FN", kE2M1FN, 6, 1, 0.5, 0x7},
    {"E4M3FN", kE4M3FN, 448, 0x1p-6, 0x1p-9, 0x7F},
    {"E5M2", kE5M2, 57344, 0x1p-14, 0x1p-16, 0x7F},
    {"E4M3FNUZ", kE4M3FNUZ, 240, 0x1p-7, 0x1p-10, 0x80},
    {"E5M2FNUZ", kE5M2FNUZ, 57344, 0x1p-15, 0x1p-17, 0x80},
    {"F16", kF16, 65504, 0x1p-14, 0x1p-24, 0x7FFF},
    {"BF16", kBF16, 0x1.FEp127, 0x1p-126, 0x1p-133, 0x7FFF},
};

/// A code's magnitude by counting: from one code to the next goes a step, which doubles at each power of two from the second on.
std::vector<double> magnitudes(const Named &named) {
  std::vector<double> values = {0};
  double step = named.smallest;
  uint32_t perBinade = 1u << named.format.fractionBits;
  for (uint32_t code = 1; values.back() < named.largest; ++code) {
    values.push_back(values.back() + step);
    if (code % perBinade == 0 && code > perBinade)
      EXPECT_EQ(std::exp2(std::round(std::log2(values.back()))), values.back()) << named.name << " code " << code;
    if (code % perBinade == 0 && code >= 2 * perBinade)
      step *= 2;
  }
  return values;
}

class Narrow : public testing::TestWithParam<Named> {};

} // namespace

INSTANTIATE_TEST_SUITE_P(Formats, Narrow, testing::ValuesIn(kFormats),
                         [](const auto &info) { return std::string(info.param.name); });

TEST_P(Narrow, HasTheSpecifiedRange) {
  const FloatFormat &format = GetParam().format;
  EXPECT_EQ(decodeFloat(format.largest(), format), GetParam().largest);
  EXPECT_EQ(decodeFloat(1u << format.fractionBits, format), GetParam().smallestNormal);
  EXPECT_EQ(decodeFloat(1, format), GetParam().smallest);
}

TEST_P(Narrow, DecodesEveryCode) {
  const FloatFormat &format = GetParam().format;
  std::vector<double> expected = magnitudes(GetParam());
  ASSERT_EQ(expected.size(), format.largest() + 1);
  for (uint32_t code = 0; code < 2 * format.signBit(); ++code) {
    uint32_t size = code & (format.signBit() - 1);
    double value = decodeFloat(code, format);
    if (code == format.signBit() && format.specials == Specials::MinusZero) {
      EXPECT_TRUE(std::isnan(value));
    } else if (size < expected.size()) {
      EXPECT_EQ(value, code == size ? expected[size] : -expected[size]) << code;
      EXPECT_EQ(std::signbit(value), code != size) << code;
    } else if (size == expected.size() && format.specials == Specials::Infinities) {
      EXPECT_EQ(value, code == size ? kInfinity : -kInfinity);
    } else {
      EXPECT_TRUE(std::isnan(value)) << code;
    }
  }
}

TEST_P(Narrow, EncodesWhatItDecodes) {
  const FloatFormat &format = GetParam().format;
  for (uint32_t code = 0; code < 2 * format.signBit(); ++code) {
    double value = decodeFloat(code, format);
    if (std::isnan(value))
      EXPECT_EQ(encodeFloat(value, format), GetParam().nan) << code;
    else
      EXPECT_EQ(encodeFloat(value, format, Rounding::NearestEven, Overflow::Infinity), code) << value;
  }
}

TEST_P(Narrow, RoundsAtAndAroundEveryMidpoint) {
  const FloatFormat &format = GetParam().format;
  std::vector<double> values = magnitudes(GetParam());
  for (uint32_t code = 0; code + 1 < values.size(); ++code) {
    double middle = (values[code] + values[code + 1]) / 2; // exact in f64
    uint32_t even = code + code % 2;
    for (uint32_t sign : {0u, format.signBit()}) {
      auto expect = [&](double magnitude, uint32_t size, Rounding rounding) {
        uint32_t expected = size == 0 && format.specials == Specials::MinusZero ? 0 : sign | size;
        EXPECT_EQ(encodeFloat(sign ? -magnitude : magnitude, format, rounding), expected) << magnitude;
      };
      expect(middle, even, Rounding::NearestEven);
      expect(std::nextafter(middle, 0), code, Rounding::NearestEven);
      expect(std::nextafter(middle, kInfinity), code + 1, Rounding::NearestEven);
      expect(middle, code + 1, Rounding::NearestAway);
      expect(std::nextafter(values[code + 1], 0), code, Rounding::Zero);
      expect(std::nextafter(values[code], kInfinity), sign ? code : code + 1, Rounding::Up);
      expect(std::nextafter(values[code], kInfinity), sign ? code + 1 : code, Rounding::Down);
    }
  }
}

TEST_P(Narrow, SaturatesOrBecomesInfinite) {
  const FloatFormat &format = GetParam().format;
  uint32_t largest = format.largest(), beyond = format.specials == Specials::Infinities ? largest + 1 : largest;
  double step = GetParam().largest - decodeFloat(largest - 1, format);
  // Halfway to what would be the next value, which has the even code but where the largest has.
  double limit = GetParam().largest + step / 2;
  EXPECT_EQ(encodeFloat(std::nextafter(limit, 0), format, Rounding::NearestEven, Overflow::Infinity), largest);
  EXPECT_EQ(encodeFloat(std::nextafter(limit, kInfinity), format, Rounding::NearestEven, Overflow::Infinity), beyond);
  EXPECT_EQ(encodeFloat(kInfinity, format, Rounding::Zero, Overflow::Infinity), beyond);
  EXPECT_EQ(encodeFloat(1e300, format, Rounding::Zero, Overflow::Infinity), largest);
  for (double value : {limit, 1e300, kInfinity}) {
    EXPECT_EQ(encodeFloat(value, format), largest);
    EXPECT_EQ(encodeFloat(-value, format), format.signBit() | largest);
  }
}

TEST(Narrow, ShortFormsForVectorLoopsAreTheSame) {
  for (uint32_t code = 0; code < 0x10000; ++code) {
    for (auto [value, expected] : {std::pair<double, double>(fromBf16(uint16_t(code)), decodeFloat(code, kBF16)),
                                   std::pair<double, double>(fromF16(uint16_t(code)), decodeFloat(code, kF16))}) {
      EXPECT_EQ(std::isnan(value), std::isnan(expected)) << code;
      if (!std::isnan(expected))
        EXPECT_EQ(value, expected) << code;
    }
    // Each f32 between this bf16 and the next one that is near it, near the midpoint, or odd.
    for (uint32_t rest : {0u, 1u, 0x7FFFu, 0x8000u, 0x8001u, 0xFFFFu}) {
      float value = std::bit_cast<float>(code << 16 | rest);
      if (!std::isnan(value))
        EXPECT_EQ(toBf16(value), encodeFloat(value, kBF16, Rounding::NearestEven, Overflow::Infinity)) << value;
    }
  }
}

TEST(Narrow, AgreesWithTheCompilersHalf) {
  for (uint32_t code = 0; code < 0x10000; ++code) {
    auto half = std::bit_cast<_Float16>(uint16_t(code));
    if (half != half)
      continue;
    EXPECT_EQ(static_cast<double>(half), decodeFloat(code, kF16));
    float next = std::nextafter(static_cast<float>(half) * 1.0003f, 1e9f);
    EXPECT_EQ(std::bit_cast<uint16_t>(static_cast<_Float16>(next)),
              encodeFloat(next, kF16, Rounding::NearestEven, Overflow::Infinity));
  }
}

TEST(Narrow, ValuesOfCodes) {
  CodeValues e4m3 = valuesOf(kE4M3FN);
  EXPECT_EQ(e4m3[0x38], 1);
  EXPECT_EQ(e4m3[0xFE], -448);
  EXPECT_TRUE(std::isnan(e4m3[0x7F]) && std::isnan(e4m3[0xFF]));
  EXPECT_EQ(valuesOf(kE5M2)[0x7C], kInfinity);
}

TEST(E8M0, EveryCode) {
  double value = 0x1p-127;
  for (int code = 0; code < 255; ++code, value *= 2) {
    auto exact = static_cast<float>(value);
    EXPECT_EQ(decodeE8M0(uint8_t(code)), exact);
    EXPECT_EQ(e8m0Values()[size_t(code)], exact);
    EXPECT_EQ(encodeE8M0(exact), code);
    EXPECT_EQ(encodeE8M0Up(exact), code);
    int next = std::min(code + 1, 254);
    EXPECT_EQ(encodeE8M0(exact * 1.5f), next) << "a tie goes up";
    EXPECT_EQ(encodeE8M0(std::nextafter(exact * 1.5f, 0.0f)), code);
    EXPECT_EQ(encodeE8M0Up(std::nextafter(exact, float(kInfinity))), next);
    if (code > 0)
      EXPECT_EQ(encodeE8M0Up(std::nextafter(exact, 0.0f)), code);
  }
  EXPECT_TRUE(std::isnan(decodeE8M0(255)) && std::isnan(e8m0Values()[255]));
}

TEST(E8M0, WhatIsNoPositiveNumber) {
  for (auto encode : {encodeE8M0, encodeE8M0Up}) {
    EXPECT_EQ(encode(0), 0);
    EXPECT_EQ(encode(1e-45f), 0);
    EXPECT_EQ(encode(float(kInfinity)), 254);
    EXPECT_EQ(encode(-1), 255);
    EXPECT_EQ(encode(NAN), 255);
  }
}

TEST(Nibbles, SignedAndInEitherOrder) {
  for (int value = -8; value < 8; ++value) {
    EXPECT_EQ(fromI4(toI4(value)), value);
    EXPECT_EQ(toI4(value), value < 0 ? value + 16 : value);
  }
  std::vector<std::byte> bytes(4);
  for (NibbleOrder order : {NibbleOrder::LowFirst, NibbleOrder::HighFirst}) {
    for (size_t i = 0; i < 8; ++i)
      setNibble(bytes, i, order, uint8_t(15 - i));
    for (size_t i = 0; i < 8; ++i)
      EXPECT_EQ(nibbleAt(bytes, i, order), 15 - i);
    EXPECT_EQ(bytes[0], order == NibbleOrder::LowFirst ? std::byte{0xEF} : std::byte{0xFE});
    setNibble(bytes, 3, order, 1);
    EXPECT_EQ(nibbleAt(bytes, 2, order), 13);
    EXPECT_EQ(nibbleAt(bytes, 3, order), 1);
  }
}

/// Words that the formats' own libraries write (compressed-tensors 0.20, AutoGPTQ 0.7, AutoAWQ 0.2).
TEST(Words, AreTheLibraries) {
  WordNibbles codes = {0, 1, 8, 15, 9, 7, 10, 6}; // -8 -7 0 7 1 -1 2 -2, plus 8
  EXPECT_EQ(packWord(codes, WordOrder::Sequential), 0x6A79F810u);
  WordNibbles counting = {0, 1, 2, 3, 4, 5, 6, 7};
  EXPECT_EQ(packWord(counting, WordOrder::Sequential), 0x76543210u);
  EXPECT_EQ(packWord(counting, WordOrder::Awq), 0x75316420u);
  for (WordOrder order : {WordOrder::Sequential, WordOrder::Awq}) {
    EXPECT_EQ(unpackWord(packWord(codes, order), order), codes);
    EXPECT_EQ(packWord(unpackWord(0x89ABCDEF, order), order), 0x89ABCDEFu);
  }
}
