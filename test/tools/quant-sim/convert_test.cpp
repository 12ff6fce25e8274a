//===- convert_test.cpp - every fp8, bf16 and f16 conversion -------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

//
// The simulator's cvt against the nearest value of a table, looked for in exact arithmetic: nothing is shared with the code under
// test.
//
//===----------------------------------------------------------------------===//

#include "tools/quant-sim/api/simulator.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>

namespace quant::test {
namespace {

/// out[i] = op(in[i]) of 32-bit words: `body` turns %r1 into %r2.
std::vector<uint32_t> compute(const std::string &body, const std::vector<uint32_t> &in) {
  std::string ptx = ".version 8.6\n.target sm_90a\n.address_size 64\n.visible .entry k(.param .u64 in, .param .u64 out)\n{\n"
                    ".reg .b16 %h<9>;\n.reg .b32 %r<9>;\n.reg .b64 %rd<9>;\n"
                    "mov.u32 %r3, %ctaid.x;\nmov.u32 %r4, %tid.x;\nshl.b32 %r3, %r3, 8;\nadd.s32 %r3, %r3, %r4;\n"
                    "mul.wide.u32 %rd1, %r3, 4;\nld.param.u64 %rd2, [in];\nld.param.u64 %rd3, [out];\n"
                    "add.s64 %rd2, %rd2, %rd1;\nadd.s64 %rd3, %rd3, %rd1;\nld.global.u32 %r1, [%rd2];\n" +
                    body + "\nst.global.u32 [%rd3], %r2;\nret;\n}\n";
  auto module = sim::Module::load(ptx);
  EXPECT_TRUE(module) << module.error().message;
  std::vector<uint32_t> from = in, out(in.size());
  sim::Launch launch{
      .kernel = "k",
      .grid = {static_cast<uint32_t>(in.size() / 256), 1, 1},
      .block = {256, 1, 1},
      .dynamicSharedBytes = 0,
      .buffers = {{"in", std::as_writable_bytes(std::span(from)), false}, {"out", std::as_writable_bytes(std::span(out)), true}},
      .arguments = {sim::PointerArgument{0, 0}, sim::PointerArgument{1, 0}}};
  auto report = sim::run(**module, launch, {});
  EXPECT_TRUE(report) << report.error().message;
  for (const sim::Finding &finding : report->findings)
    ADD_FAILURE() << finding.toString();
  return out;
}

struct Format {
  const char *name;
  int exponentBits, mantissaBits;
  double largest;
  uint32_t nan;
  bool saturates;
};
void PrintTo(const Format &format, std::ostream *os) { *os << format.name; }

constexpr Format kE4m3{"e4m3", 4, 3, 448, 0x7f, true}, kE5m2{"e5m2", 5, 2, 57344, 0x7f, true};
constexpr Format kBf16{"bf16", 8, 7, 0x1.fep127, 0x7fff, false}, kF16{"f16", 5, 10, 65504, 0x7fff, false};

/// The value of a non-negative code, from the formats' definition.
double valueOf(uint32_t code, const Format &f) {
  int bias = (1 << (f.exponentBits - 1)) - 1, exponent = static_cast<int>(code >> f.mantissaBits);
  double mantissa = (code & ((1u << f.mantissaBits) - 1)) * std::ldexp(1.0, -f.mantissaBits);
  return exponent ? std::ldexp(1 + mantissa, exponent - bias) : std::ldexp(mantissa, 1 - bias);
}

uint32_t largestCode(const Format &f) {
  uint32_t code = 0;
  while (valueOf(code + 1, f) <= f.largest)
    ++code;
  return code;
}

/// The code nearest to `x`, of two equally near the even one: a search over all codes.
uint32_t nearest(float x, const Format &f) {
  static std::map<std::string, uint32_t> largest;
  auto [at, isNew] = largest.try_emplace(f.name, 0);
  if (isNew)
    at->second = largestCode(f);
  if (std::isnan(x))
    return f.nan;
  uint32_t sign = std::signbit(x) ? 1u << (f.exponentBits + f.mantissaBits) : 0, low = 0, high = at->second;
  double size = std::abs(double(x));
  double step = f.largest - valueOf(high - 1, f);
  if (size >= f.largest)
    return sign | (f.saturates || size < f.largest + step / 2 ? high : high + 1);
  while (high - low > 1) {
    uint32_t middle = (low + high) / 2;
    (valueOf(middle, f) <= size ? low : high) = middle;
  }
  double below = size - valueOf(low, f), above = valueOf(high, f) - size;
  return sign | (below < above || (below == above && low % 2 == 0) ? low : high);
}

/// Every sign, exponent and leading mantissa bits, with the rest zero, just above and just below a tie, and random ones.
std::vector<uint32_t> interestingFloats() {
  std::vector<uint32_t> values;
  for (uint32_t high = 0; high < 1 << 16; ++high)
    for (uint32_t low : {0u, 1u, 0x7fffu, 0x8000u, 0x8001u, 0xffffu})
      values.push_back(high << 16 | low);
  std::mt19937 random(1);
  while (values.size() % 256)
    values.push_back(random());
  return values;
}

class Narrow : public testing::TestWithParam<Format> {};

TEST_P(Narrow, FromFloat) {
  const Format &f = GetParam();
  std::string type = f.name;
  // The second operand becomes the lower half, the first, here -x, the upper.
  bool fp8 = f.saturates;
  std::string body = "neg.f32 %r5, %r1;\n" + (fp8 ? "cvt.rn.satfinite." + type + "x2.f32 %h1, %r5, %r1;\nmov.b32 %r2, {%h1, %h1};"
                                                  : "cvt.rn." + type + "x2.f32 %r2, %r5, %r1;");
  std::vector<uint32_t> in = interestingFloats(), out = compute(body, in);
  int bits = fp8 ? 8 : 16, wrong = 0;
  for (size_t i = 0; i < in.size() && wrong < 5; ++i) {
    float x = std::bit_cast<float>(in[i]);
    uint32_t lower = out[i] & ((1u << bits) - 1), upper = out[i] >> bits & ((1u << bits) - 1);
    EXPECT_EQ(lower, nearest(x, f)) << x << " in " << f.name << (++wrong, "");
    EXPECT_EQ(upper, nearest(-x, f)) << -x << " in the upper half, in " << f.name;
    wrong += lower == nearest(x, f) ? -1 : 0;
  }
}

/// Every code becomes the f32 (fp8: f16) of its value.
TEST_P(Narrow, ToFloat) {
  const Format &f = GetParam();
  std::string type = f.name;
  std::string body = f.saturates ? "mov.b32 {%h1, %h2}, %r1;\ncvt.rn.f16x2." + type + "x2 %r5, %h1;\nmov.b32 {%h3, %h4}, %r5;\n" +
                                       "cvt.f32.f16 %r2, %h3;"
                                 : "mov.b32 {%h1, %h2}, %r1;\ncvt.f32." + type + " %r2, %h1;";
  uint32_t codes = f.saturates ? 256 : 65536, sign = codes / 2;
  std::vector<uint32_t> in(codes);
  for (uint32_t code = 0; code < codes; ++code)
    in[code] = code;
  std::vector<uint32_t> out = compute(body, in);
  uint32_t most = largestCode(f);
  for (uint32_t code = 0; code < codes; ++code) {
    float got = std::bit_cast<float>(out[code]);
    uint32_t size = code & (sign - 1);
    bool infinite = size == most + 1 && f.nan != most + 1;
    if (size > most && !infinite)
      EXPECT_TRUE(std::isnan(got)) << code;
    else
      EXPECT_EQ(got, (code & sign ? -1 : 1) * (infinite ? std::numeric_limits<double>::infinity() : valueOf(size, f))) << code;
  }
}

INSTANTIATE_TEST_SUITE_P(Formats, Narrow, testing::Values(kE4m3, kE5m2, kBf16, kF16),
                         [](const auto &info) { return info.param.name; });

TEST(Convert, Integers) {
  std::vector<uint32_t> in(256);
  const float values[] = {0, 0.5f, 1.5f, 2.5f, -0.5f, -1.5f, 2147483648.0f, -2147483904.0f, NAN, 3e9f, 1e-40f};
  for (size_t i = 0; i < 256; ++i)
    in[i] = std::bit_cast<uint32_t>(values[i % std::size(values)]);
  std::vector<uint32_t> even = compute("cvt.rni.s32.f32 %r2, %r1;", in), cut = compute("cvt.rzi.u32.f32 %r2, %r1;", in);
  const int32_t wantEven[] = {0, 0, 2, 2, 0, -2, 2147483647, -2147483647 - 1, 0, 2147483647, 0};
  const uint32_t wantCut[] = {0, 0, 1, 2, 0, 0, 2147483648u, 0, 0, 3000000000u, 0};
  for (size_t i = 0; i < std::size(values); ++i) {
    EXPECT_EQ(static_cast<int32_t>(even[i]), wantEven[i]) << values[i];
    EXPECT_EQ(cut[i], wantCut[i]) << values[i];
  }
}

} // namespace
} // namespace quant::test
