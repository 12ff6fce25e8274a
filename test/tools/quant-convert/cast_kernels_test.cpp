//===- cast_kernels_test.cpp - every input of the cast kernels ------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/quant-convert/schemes/cast_kernels.h"

#include "cast_oracle.h"
#include "tools/quant-convert/schemes/scales.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <random>

using namespace quant;
using namespace quant::convert;
using namespace quant::test;

namespace {

/// e4m3Code() with a memory: it is slow.
uint8_t expectedCode(float value) {
  static std::map<uint32_t, uint8_t> known;
  auto [at, isNew] = known.try_emplace(std::bit_cast<uint32_t>(value));
  if (isNew)
    at->second = e4m3Code(value);
  return at->second;
}

/// Every finite value of `inputs` over every divisor, on every instruction set.
template <typename Bits>
void expectCodes(DType dtype, const std::vector<Bits> &inputs, float (*value)(Bits), const std::vector<float> &divisors) {
  std::vector<uint8_t> codes(inputs.size());
  for (float divisor : divisors) {
    std::vector<uint8_t> expected;
    for (Bits bits : inputs)
      expected.push_back(expectedCode(value(bits) / divisor));
    for (Isa isa : supportedIsas()) {
      // One block over all: a block's columns have no limit.
      quantizeKernels(dtype, isa)
          .quantizeRow(reinterpret_cast<const std::byte *>(inputs.data()), static_cast<int64_t>(inputs.size()),
                       static_cast<int64_t>(inputs.size()), &divisor, codes.data());
      for (size_t i = 0; i < inputs.size(); ++i)
        ASSERT_EQ(int(codes[i]), int(expected[i])) << name(isa) << " " << value(inputs[i]) << " / " << divisor;
    }
  }
}

const std::vector<float> kDivisors = {1, 1.0f / 448, 0.0123f, 3.1e-5f, 0x1p-20f, 7e30f, 1e-39f, 0x1p-149f};

TEST(CastKernels, EveryBf16ToFp8) {
  std::vector<uint16_t> inputs;
  for (uint32_t bits = 0; bits < 0x10000; ++bits)
    if (std::isfinite(bf16Value(static_cast<uint16_t>(bits))))
      inputs.push_back(static_cast<uint16_t>(bits));
  expectCodes(DType::BF16, inputs, bf16Value, kDivisors);
}

TEST(CastKernels, EveryF16ToFp8) {
  std::vector<uint16_t> inputs;
  for (uint32_t bits = 0; bits < 0x10000; ++bits)
    if (std::isfinite(f16Value(static_cast<uint16_t>(bits))))
      inputs.push_back(static_cast<uint16_t>(bits));
  expectCodes(DType::F16, inputs, f16Value, {1, 0.0123f, 0x1p-10f});
}

TEST(CastKernels, F32ToFp8AtEveryRoundingBoundary) {
  std::vector<uint32_t> inputs;
  for (int code = 0; code < 0x7E; ++code) {
    auto middle = static_cast<float>((e4m3Value(uint8_t(code)) + e4m3Value(uint8_t(code + 1))) / 2);
    for (float value : {static_cast<float>(e4m3Value(uint8_t(code))), middle, std::nextafter(middle, 0.0f),
                        std::nextafter(middle, 1000.0f), 448.0f, 464.0f, 465.0f, 1e30f})
      for (float sign : {1.0f, -1.0f})
        inputs.push_back(std::bit_cast<uint32_t>(sign * value));
  }
  std::mt19937 random(1);
  for (int i = 0; i < 20000; ++i)
    if (uint32_t bits = random(); std::isfinite(std::bit_cast<float>(bits)))
      inputs.push_back(bits);
  expectCodes<uint32_t>(DType::F32, inputs, [](uint32_t bits) { return std::bit_cast<float>(bits); }, {1, 0.0123f, 3e-5f});
}

TEST(CastKernels, EveryCodeToBf16AndF32) {
  std::vector<std::byte> codes;
  for (int code = 0; code < 256; ++code)
    if ((code & 0x7F) != 0x7F)
      codes.push_back(std::byte(code));
  std::vector<float> scales = {0, 1, 1.0f / 448, 0x1p-149f, 1e-40f, 0x1p-127f, 1e35f, 0x1p118f};
  std::mt19937 random(2);
  for (int i = 0; i < 500; ++i)
    scales.push_back(std::bit_cast<float>(uint32_t(0x20000000 + random() % 0x40000000)));
  for (float scale : scales)
    for (Isa isa : supportedIsas()) {
      std::vector<uint16_t> bf16(codes.size());
      std::vector<float> f32(codes.size());
      auto size = static_cast<int64_t>(codes.size());
      bool fits = bf16Value(bf16Bits(448 * scale)) < HUGE_VALF;
      ASSERT_EQ(dequantizeRow(DType::BF16, isa)(codes.data(), size, size, &scale, reinterpret_cast<std::byte *>(bf16.data())),
                fits);
      dequantizeRow(DType::F32, isa)(codes.data(), size, size, &scale, reinterpret_cast<std::byte *>(f32.data()));
      for (size_t i = 0; i < codes.size(); ++i) {
        float product = static_cast<float>(e4m3Value(uint8_t(codes[i])) * static_cast<double>(scale));
        ASSERT_EQ(std::bit_cast<uint32_t>(f32[i]), std::bit_cast<uint32_t>(product)) << name(isa) << " " << i << " " << scale;
        if (fits)
          ASSERT_EQ(bf16[i], bf16Bits(product)) << name(isa) << " code " << int(codes[i]) << " scale " << scale;
      }
    }
}

TEST(CastKernels, NaNCodesAndOverflowAreTold) {
  for (Isa isa : supportedIsas())
    for (int code : {0x7F, 0xFF, 0x7E}) {
      std::vector<std::byte> row(200, std::byte{0x10});
      row[130] = std::byte(code);
      float scales[2] = {1, code == 0x7E ? 1e37f : 1};
      std::byte out[400];
      EXPECT_FALSE(dequantizeRow(DType::BF16, isa)(row.data(), 200, 128, scales, out)) << name(isa) << " " << code;
    }
}

TEST(CastKernels, AmaxOfRaggedUnalignedRows) {
  std::mt19937 random(3);
  for (int64_t columns : {1, 7, 127, 128, 129, 576, 1000})
    for (int64_t block : {1, 3, 128, 1000}) {
      std::vector<std::byte> memory(static_cast<size_t>(columns) * 2 + 1);
      std::vector<uint32_t> expected(static_cast<size_t>((columns + block - 1) / block), 5);
      for (int64_t i = 0; i < columns; ++i) {
        auto bits = static_cast<uint16_t>(random());
        std::memcpy(&memory[static_cast<size_t>(2 * i + 1)], &bits, 2);
        uint32_t &largest = expected[static_cast<size_t>(i / block)];
        largest = std::max<uint32_t>(largest, bits & 0x7FFF);
      }
      for (Isa isa : supportedIsas()) {
        std::vector<uint32_t> found(expected.size(), 5); // what earlier rows had
        quantizeKernels(DType::BF16, isa).amaxRow(memory.data() + 1, columns, block, found.data());
        EXPECT_EQ(found, expected) << name(isa) << " " << columns << " " << block;
      }
    }
}

TEST(Scales, TheRule) {
  using quant::ScaleFmt;
  EXPECT_EQ(blockScale(448, ScaleFmt::None), 1);
  EXPECT_EQ(blockScale(0.3f, ScaleFmt::None), 0.3f / 448.0f);
  EXPECT_EQ(blockScale(0, ScaleFmt::None), 1);
  EXPECT_EQ(blockScale(0, ScaleFmt::UE8M0), 1);
  EXPECT_EQ(blockScale(0x1p-149f, ScaleFmt::None), 0x1p-149f) << "positive, where the quotient is 0";
  EXPECT_EQ(blockScale(448, ScaleFmt::UE8M0), 1);
  EXPECT_EQ(blockScale(std::nextafter(448.0f, 1000.0f), ScaleFmt::UE8M0), 2);
  EXPECT_EQ(blockScale(1, ScaleFmt::UE8M0), 0x1p-8f);
  EXPECT_EQ(blockScale(0x1p-149f, ScaleFmt::UE8M0), 0x1p-127f);
  EXPECT_EQ(blockScale(3e38f, ScaleFmt::UE8M0), 0x1p120f);
}

TEST(Scales, WhatFits) {
  using quant::ScaleFmt;
  EXPECT_TRUE(scaleFits(1, 448, ScaleFmt::None));
  EXPECT_TRUE(scaleFits(1, 464, ScaleFmt::None)) << "a tie, which goes to the even 448";
  EXPECT_FALSE(scaleFits(1, 465, ScaleFmt::None));
  EXPECT_TRUE(scaleFits(1, 0, ScaleFmt::None));
  EXPECT_TRUE(scaleFits(0, 0, ScaleFmt::None));
  EXPECT_FALSE(scaleFits(0, 1, ScaleFmt::None));
  EXPECT_FALSE(scaleFits(0, 0, ScaleFmt::UE8M0));
  EXPECT_FALSE(scaleFits(-1, 0, ScaleFmt::None));
  EXPECT_FALSE(scaleFits(HUGE_VALF, 1, ScaleFmt::None));
  EXPECT_FALSE(scaleFits(3, 1, ScaleFmt::UE8M0));
  EXPECT_TRUE(scaleFits(4, 1, ScaleFmt::UE8M0));
}

/// What --reuse-scales rests on: a code times its scale, rounded to bf16, over the scale is the code again.
TEST(Scales, EveryCodeComesBackThroughBf16) {
  std::mt19937 random(4);
  for (int i = 0; i < 2000; ++i) {
    float scale = std::bit_cast<float>(uint32_t(0x30000000 + random() % 0x18000000)); // 2^-31 .. 2^17
    for (int code = 0; code < 256; ++code) {
      if ((code & 0x7F) == 0x7F)
        continue;
      float value = bf16Value(bf16Bits(static_cast<float>(e4m3Value(uint8_t(code))) * scale));
      ASSERT_TRUE(scaleFits(scale, std::fabs(value), ScaleFmt::None));
      uint8_t again;
      quantizeKernels(DType::F32).quantizeRow(reinterpret_cast<const std::byte *>(&value), 1, 1, &scale, &again);
      ASSERT_EQ(int(again), code) << scale;
    }
  }
}

} // namespace
