//===- values_test.cpp - the random values --------------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/quant-convert/schemes/random_values.h"

#include <gtest/gtest.h>

#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <vector>

using namespace quant;
using namespace quant::convert;
using models::TensorRole;
using models::TensorSpec;
using quant::deepSeekFp8;
using quant::ScaleFmt;

namespace {

template <typename T>
std::vector<T> generate(const TensorSpec &tensor, int64_t in, ScaleFmt format = ScaleFmt::None, uint64_t seed = 1) {
  std::vector<T> values(static_cast<size_t>(tensor.elements()));
  RandomValues(tensor, in, deepSeekFp8(format), seed).fill(0, std::as_writable_bytes(std::span(values)));
  return values;
}

struct Moments {
  double mean, deviation;
};

Moments moments(const std::vector<float> &values) {
  double sum = 0, squares = 0;
  for (float value : values) {
    sum += value;
    squares += double(value) * value;
  }
  double mean = sum / double(values.size());
  return {mean, std::sqrt(squares / double(values.size()) - mean * mean)};
}

float fromFp8(uint8_t code) {
  int exponent = (code >> 3) & 15, fraction = code & 7;
  float magnitude = exponent ? std::ldexp(8.0f + float(fraction), exponent - 10) : std::ldexp(float(fraction), -9);
  return code & 0x80 ? -magnitude : magnitude;
}

TEST(RandomValues, EveryFp8CodeButNaN) {
  TensorSpec tensor{"w.weight", DType::F8E4M3FN, {4096, 2048}, TensorRole::Linear};
  std::array<int, 256> count{};
  std::vector<float> values;
  for (uint8_t code : generate<uint8_t>(tensor, 2048)) {
    ++count[code];
    values.push_back(fromFp8(code));
  }
  for (int code = 0; code < 256; ++code)
    EXPECT_EQ(count[code] > 0, (code & 0x7F) != 0x7F) << "code " << code;
  Moments found = moments(values);
  EXPECT_NEAR(found.mean, 0, 0.2);
  EXPECT_NEAR(found.deviation, 448 / 4.3, 1.0);
}

TEST(RandomValues, ScalesBringTheCodesToTheRightSize) {
  TensorSpec tensor{"w.weight_scale_inv", DType::F32, {100, 100}, TensorRole::Scale};
  double want = 1 / std::sqrt(7168.0) / (448 / 4.3);
  size_t tiny = 0;
  for (float scale : generate<float>(tensor, 7168)) {
    EXPECT_GT(scale, 0);
    EXPECT_TRUE(std::isnormal(scale));
    EXPECT_LT(scale, want * 1.5);
    tiny += scale < want * 1e-5;
  }
  EXPECT_NEAR(double(tiny), 10000 / 64.0, 50) << "one block in 64 is as good as zero";
}

TEST(RandomValues, Ue8m0ScalesArePowersOfTwo) {
  TensorSpec tensor{"w.weight_scale_inv", DType::F32, {10, 100}, TensorRole::Scale};
  for (float scale : generate<float>(tensor, 512, ScaleFmt::UE8M0))
    EXPECT_EQ(std::bit_cast<uint32_t>(scale) & 0x7FFFFF, 0u) << scale;
}

TEST(RandomValues, PlainTensors) {
  struct Case {
    TensorRole role;
    double mean, deviation;
  };
  for (Case test : {Case{TensorRole::Linear, 0, 0.0625}, Case{TensorRole::Embedding, 0, 1}, Case{TensorRole::Norm, 1, 0.1},
                    Case{TensorRole::GateBias, 0, 0.05}}) {
    TensorSpec tensor{"t", DType::F32, {1000, 256}, test.role};
    std::vector<float> values = generate<float>(tensor, 256);
    Moments f32 = moments(values);
    EXPECT_NEAR(f32.mean, test.mean, 0.01 * test.deviation + 1e-9);
    EXPECT_NEAR(f32.deviation, test.deviation, 0.01 * test.deviation);
    tensor.dtype = DType::BF16;
    std::vector<uint16_t> bf16 = generate<uint16_t>(tensor, 256);
    for (size_t i = 0; i < bf16.size(); ++i) {
      float value = std::bit_cast<float>(uint32_t(bf16[i]) << 16);
      ASSERT_NEAR(value, values[i], std::abs(values[i]) / 256) << "the same value, rounded";
    }
  }
}

TEST(RandomValues, DependOnSeedNameAndPositionOnly) {
  TensorSpec tensor{"a.weight", DType::F8E4M3FN, {1001}, TensorRole::Linear}, other = tensor;
  other.name = "b.weight";
  auto whole = generate<uint8_t>(tensor, 128);
  EXPECT_NE(whole, generate<uint8_t>(other, 128));
  EXPECT_NE(whole, generate<uint8_t>(tensor, 128, ScaleFmt::None, 2));
  for (size_t step : {4, 12, 400}) {
    std::vector<uint8_t> parts(whole.size());
    RandomValues values(tensor, 128, deepSeekFp8(), 1);
    for (size_t begin = 0; begin < parts.size(); begin += step)
      values.fill(int64_t(begin), std::as_writable_bytes(std::span(parts)).subspan(begin, std::min(step, parts.size() - begin)));
    EXPECT_EQ(parts, whole) << step;
  }
}

} // namespace
