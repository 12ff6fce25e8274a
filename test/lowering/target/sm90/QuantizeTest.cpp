//===- QuantizeTest.cpp - quantize and dequantize in the simulator -----------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Bit for bit against a reference that divides and takes the nearest code.
//
//===----------------------------------------------------------------------===//

#include "lowering/target/sm90/simt/Quantize.h"
#include "runtime/support/narrow.h"
#include "tools/quant-sim/api/simulator.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <numeric>
#include <random>

namespace quant::nvvm {
namespace {

//===----------------------------------------------------------------------===//
// Formats
//===----------------------------------------------------------------------===//

float decodeE4M3(uint8_t code) { return static_cast<float>(decodeFloat(code, kE4M3FN)); }
uint8_t encodeE4M3(float value) { return static_cast<uint8_t>(encodeFloat(value, kE4M3FN)); }

int64_t ceilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }

template <typename T>
std::span<std::byte> bytesOf(std::vector<T> &data) {
  return std::as_writable_bytes(std::span<T>(data));
}

/// Runs the kernel on buffers in the recipe's order and fails the test at any finding.
void launch(const CompiledKernel &kernel, const sim::Dims &dims, std::vector<sim::Buffer> buffers) {
  auto module = sim::Module::load(kernel.artifact.ptx);
  ASSERT_TRUE(module) << module.error().message;
  auto recipe = sim::Recipe::parse(kernel.recipe.toJson().dump(), "");
  ASSERT_TRUE(recipe) << recipe.error().message;
  auto operands = recipe->operands(dims);
  ASSERT_TRUE(operands) << operands.error().message;
  for (size_t i = 0; i < buffers.size(); ++i)
    ASSERT_EQ(buffers[i].bytes.size(), (*operands)[i].bytes) << (*operands)[i].name;
  auto prepared = recipe->launch(dims, std::move(buffers));
  ASSERT_TRUE(prepared) << prepared.error().message;
  auto report = sim::run(**module, *prepared, {});
  ASSERT_TRUE(report) << report.error().message;
  for (const sim::Finding &finding : report->findings)
    ADD_FAILURE() << finding.toString();
}

//===----------------------------------------------------------------------===//
// Quantize
//===----------------------------------------------------------------------===//

/// Rows of all magnitudes, with zeros, a group of zeros, NaN and a value on a tie of two codes.
std::vector<float> activations(int64_t m, int64_t k) {
  std::mt19937 random(static_cast<uint32_t>(m * 1000003 + k));
  std::normal_distribution<float> normal;
  std::vector<float> x(static_cast<size_t>(m * k));
  for (size_t i = 0; i < x.size(); ++i)
    x[i] = i % 17 == 0 ? 0.0f : normal(random) * std::ldexp(1.0f, static_cast<int>(i / 64 % 24) - 12);
  for (int64_t column = 0; column < std::min<int64_t>(k, 128); ++column)
    x[static_cast<size_t>(column)] = 0;
  if (m > 1) {
    x[static_cast<size_t>(k)] = NAN;
    x[static_cast<size_t>(2 * k - 1)] = 448.0f;
  }
  return x;
}

void checkQuantized(const QuantizeConfig &config, int64_t m) {
  SCOPED_TRACE(config.symbolName() + " M=" + std::to_string(m));
  auto kernel = compileQuantize(config);
  ASSERT_TRUE(kernel) << kernel.error().message;
  EXPECT_TRUE(kernel->artifact.findings().empty()) << kernel->artifact.findings().front();
  int64_t k = config.k, groups = ceilDiv(k, 128), paddedM = ceilDiv(m, 4) * 4, pitch = ceilDiv(k, 16) * 16;
  std::vector<float> x = activations(m, k);
  std::vector<uint16_t> narrow;
  for (float &value : x) {
    narrow.push_back(toBf16(value));
    if (config.input == FloatKind::bf16 && !std::isnan(value))
      value = fromBf16(narrow.back());
  }
  std::vector<uint8_t> q(static_cast<size_t>(m * pitch), 0xff);
  std::vector<float> scale(static_cast<size_t>(groups * paddedM), NAN);
  sim::Buffer input{"x", config.input == FloatKind::bf16 ? bytesOf(narrow) : bytesOf(x), false};
  launch(*kernel, {{Dim::M, m}}, {input, {"q", bytesOf(q), true}, {"scale", bytesOf(scale), true}});
  for (int64_t row = 0; row < m; ++row)
    for (int64_t group = 0; group < groups; ++group) {
      float amax = static_cast<float>(config.amaxFloor);
      for (int64_t column = group * 128; column < std::min(k, (group + 1) * 128); ++column)
        amax = std::fmax(std::abs(x[static_cast<size_t>(row * k + column)]), amax);
      float want = amax / 448.0f;
      if (config.powerOfTwo)
        want = std::exp2(std::ceil(std::log2(want)));
      ASSERT_EQ(scale[static_cast<size_t>(group * paddedM + row)], want) << "scale of row " << row << ", group " << group;
      for (int64_t column = group * 128; column < std::min(k, (group + 1) * 128); ++column) {
        float value = x[static_cast<size_t>(row * k + column)];
        ASSERT_EQ(q[static_cast<size_t>(row * pitch + column)], encodeE4M3(value / want))
            << "row " << row << ", column " << column;
      }
    }
}

TEST(Quantize, MatchesTheReference) {
  for (FloatKind input : {FloatKind::bf16, FloatKind::f32})
    for (int64_t k : {7168, 576, 200, 100, 1}) {
      checkQuantized({.k = k, .input = input}, 5);
      checkQuantized({.k = k, .input = input, .powerOfTwo = true}, 8);
    }
  checkQuantized({.k = 2048}, 1);
  checkQuantized({.k = 2048, .amaxFloor = 1.0}, 130);
}

/// Codes and the midpoints between them, with the floats next to each, in groups whose scale is 1: what the kernel makes of them
/// is what runtime/support/narrow.h has.
TEST(Quantize, RoundsAtEveryMidpoint) {
  std::vector<float> x;
  for (uint8_t code = 0; code < 0x7E; ++code) {
    float value = decodeE4M3(code), middle = (value + decodeE4M3(code + 1)) / 2;
    for (float magnitude : {value, middle, std::nextafter(middle, 0.0f), std::nextafter(middle, 448.0f)})
      x.insert(x.end(), {magnitude, -magnitude});
  }
  x.insert(x.end(), {448.0f, -448.0f});
  auto k = static_cast<int64_t>(x.size()), groups = ceilDiv(k, 128), pitch = ceilDiv(k, 16) * 16;
  auto kernel = compileQuantize({.k = k, .input = FloatKind::f32, .amaxFloor = 448});
  ASSERT_TRUE(kernel) << kernel.error().message;
  std::vector<uint8_t> q(static_cast<size_t>(pitch), 0xff);
  std::vector<float> scale(static_cast<size_t>(groups * 4), NAN);
  launch(*kernel, {{Dim::M, 1}}, {{"x", bytesOf(x), false}, {"q", bytesOf(q), true}, {"scale", bytesOf(scale), true}});
  for (size_t i = 0; i < x.size(); ++i)
    EXPECT_EQ(int(q[i]), int(x[i] == 0 ? 0 : encodeE4M3(x[i]))) << x[i]; // the division loses the sign of -0
}

TEST(Quantize, RefusesConfigs) {
  EXPECT_EQ(compileQuantize({.k = 0}).error().message, "sm90_fp8_quantize_bf16_k0: K must be 1 to 16777216");
  EXPECT_EQ(compileQuantize({.k = 128, .amaxFloor = -1}).error().message,
            "sm90_fp8_quantize_bf16_k128: amax_floor must be finite and not negative");
  EXPECT_EQ(compileDequantize({.n = 128, .k = -1}).error().message,
            "sm90_fp8_dequantize_bf16_n128_k-1: N and K must be 1 to 16777216");
}

//===----------------------------------------------------------------------===//
// Dequantize
//===----------------------------------------------------------------------===//

void checkDequantized(const DequantizeConfig &config) {
  SCOPED_TRACE(config.symbolName());
  auto kernel = compileDequantize(config);
  ASSERT_TRUE(kernel) << kernel.error().message;
  EXPECT_TRUE(kernel->artifact.findings().empty()) << kernel->artifact.findings().front();
  int64_t blocksN = ceilDiv(config.n, 128), blocksK = ceilDiv(config.k, 128);
  std::vector<uint8_t> q(static_cast<size_t>(config.n * config.k));
  for (size_t i = 0; i < q.size(); ++i)
    q[i] = static_cast<uint8_t>(i * 7 % 255 == 0x7f ? 0x7e : i * 7 % 255);
  std::vector<float> scale(static_cast<size_t>(blocksN * blocksK));
  for (size_t i = 0; i < scale.size(); ++i)
    scale[i] = 0.01f * static_cast<float>(i + 1);
  std::vector<uint16_t> narrow(q.size(), 0xffff);
  std::vector<float> wide(q.size(), NAN);
  bool isNarrow = config.output == FloatKind::bf16;
  sim::Buffer output{"x", isNarrow ? bytesOf(narrow) : bytesOf(wide), true};
  launch(*kernel, {}, {{"q", bytesOf(q), false}, {"scale", bytesOf(scale), false}, output});
  for (int64_t row = 0; row < config.n; ++row)
    for (int64_t column = 0; column < config.k; ++column) {
      auto at = static_cast<size_t>(row * config.k + column);
      float want = decodeE4M3(q[at]) * scale[static_cast<size_t>(row / 128 * blocksK + column / 128)];
      if (isNarrow)
        ASSERT_EQ(narrow[at], toBf16(want)) << "row " << row << ", column " << column;
      else
        ASSERT_EQ(wide[at], want) << "row " << row << ", column " << column;
    }
}

/// Every code but the NaNs by itself, exactly as runtime/support/narrow.h has it; the NaNs are NaN.
TEST(Dequantize, EveryCode) {
  auto kernel = compileDequantize({.n = 2, .k = 128, .output = FloatKind::f32});
  ASSERT_TRUE(kernel) << kernel.error().message;
  std::vector<uint8_t> q(256);
  std::iota(q.begin(), q.end(), 0);
  std::vector<float> scale = {1}, x(256, -1);
  launch(*kernel, {}, {{"q", bytesOf(q), false}, {"scale", bytesOf(scale), false}, {"x", bytesOf(x), true}});
  for (size_t code = 0; code < q.size(); ++code) {
    double value = decodeFloat(static_cast<uint32_t>(code), kE4M3FN);
    EXPECT_TRUE(std::isnan(value) ? std::isnan(x[code]) : x[code] == value) << code << " is " << x[code];
  }
}

TEST(Dequantize, MatchesTheReference) {
  checkDequantized({.n = 130, .k = 7168});
  checkDequantized({.n = 257, .k = 136});
  checkDequantized({.n = 3, .k = 133});
  checkDequantized({.n = 66, .k = 264, .output = FloatKind::f32});
  checkDequantized({.n = 1, .k = 1, .output = FloatKind::f32});
}

} // namespace
} // namespace quant::nvvm
