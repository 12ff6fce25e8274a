//===- wgmma_test.cpp - every swizzle against every element type ------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

//
// D[64, 64] = A[64, K] * B[64, K]^T of one warpgroup: TMA loads both, wgmma multiplies, each thread stores its fragment by the
// layout of the PTX manual. What TMA swizzles, the descriptor must undo.
//
//===----------------------------------------------------------------------===//

#include "tools/quant-sim/api/simulator.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>

namespace quant::test {
namespace {

constexpr int kSize = 64;

struct Format {
  const char *element, *accumulator;
  int bytes, k;
  const char *scales;
};
constexpr Format kFormats[] = {
    {"e4m3", "f32", 1, 32, ", 1, 1"},       {"e5m2", "f32", 1, 32, ", 1, 1"},      {"s8", "s32", 1, 32, ""},
    {"bf16", "f32", 2, 16, ", 1, 1, 0, 0"}, {"f16", "f32", 2, 16, ", 1, 1, 0, 0"}, {"tf32", "f32", 4, 8, ", 1, 1"}};

void PrintTo(const Format &format, std::ostream *os) { *os << format.element; }

/// Small integers: exact in every format. Their codes.
uint32_t codeOf(int value, const std::string &element) {
  if (element == "s8")
    return static_cast<uint8_t>(value);
  uint32_t sign = value < 0, size = static_cast<uint32_t>(std::abs(value));
  if (size == 0)
    return 0;
  int exponent = 31 - __builtin_clz(size), mantissaBits = element == "e4m3"   ? 3
                                                          : element == "e5m2" ? 2
                                                          : element == "bf16" ? 7
                                                          : element == "f16"  ? 10
                                                                              : 23;
  int bias = element == "e4m3" ? 7 : element == "e5m2" || element == "f16" ? 15 : 127;
  int bits = element[0] == 'e' ? 8 : element == "tf32" ? 32 : 16;
  uint32_t mantissa = static_cast<uint32_t>((uint64_t(size) << mantissaBits >> exponent) & ((1u << mantissaBits) - 1));
  return sign << (bits - 1) | static_cast<uint32_t>(exponent + bias) << mantissaBits | mantissa;
}

std::string registers(int n) {
  std::string text = "{";
  for (int i = 0; i < n; ++i)
    text += (i ? ", %a" : "%a") + std::to_string(i);
  return text + "}";
}

std::string kernelText(const Format &f, int swizzle) {
  uint64_t layout = swizzle == 128 ? 1 : swizzle == 64 ? 2 : 3;
  uint64_t high = layout << 62 | uint64_t(swizzle * 8 / 16) << 32 | 1 << 16;
  std::string bytes = std::to_string(2 * kSize * swizzle), sizeA = std::to_string(kSize * swizzle);
  std::string text =
      ".version 8.6\n.target sm_90a\n.address_size 64\n.extern .shared .align 1024 .b8 tiles[];\n"
      ".visible .entry k(.param .align 64 .b8 mapA[128], .param .align 64 .b8 mapB[128], .param .u64 out)\n"
      ".maxntid 128, 1, 1\n{\n.shared .align 8 .b64 full;\n.reg .pred %p<4>;\n.reg .b32 %r<40>;\n.reg .b32 %a<32>;\n"
      ".reg .b64 %rd<20>;\nmov.u32 %r1, %tid.x;\nsetp.ne.u32 %p1, %r1, 0;\nmov.u32 %r2, full;\nmov.u32 %r3, tiles;\n"
      "@%p1 bra START;\nmbarrier.init.shared.b64 [%r2], 1;\nfence.mbarrier_init.release.cluster;\nSTART:\nbar.sync 0;\n"
      "mov.u64 %rd1, mapA;\ncvta.param.u64 %rd1, %rd1;\nmov.u64 %rd2, mapB;\ncvta.param.u64 %rd2, %rd2;\nmov.u32 %r4, 0;\n"
      "@%p1 bra LOADED;\nmbarrier.arrive.expect_tx.shared.b64 _, [%r2], " +
      bytes + ";\nadd.s32 %r5, %r3, " + sizeA + ";\n";
  for (const char *load : {"[%r3], [%rd1, ", "[%r5], [%rd2, "})
    text += "cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes " + std::string(load) +
            "{%r4, %r4}], [%r2];\n";
  text += "LOADED:\nWAIT:\nmbarrier.try_wait.parity.shared.b64 %p2, [%r2], 0;\n@!%p2 bra WAIT;\nwgmma.fence.sync.aligned;\n";
  for (int step = 0; step < swizzle / 32; ++step) {
    for (int operand = 0; operand < 2; ++operand)
      text += "add.s32 %r6, %r3, " + std::to_string(operand * kSize * swizzle + step * 32) +
              ";\nshr.u32 %r6, %r6, 4;\ncvt.u64.u32 %rd" + std::to_string(3 + operand) + ", %r6;\nor.b64 %rd" +
              std::to_string(3 + operand) + ", %rd" + std::to_string(3 + operand) + ", " +
              std::to_string(static_cast<int64_t>(high)) + ";\n";
    // scale-d: a predicate, or a literal.
    std::string scaleD = swizzle == 64 ? std::to_string(step != 0) : "%p3";
    text += "setp.ne.u32 %p3, " + std::to_string(step) + ", 0;\nwgmma.mma_async.sync.aligned.m64n64k" + std::to_string(f.k) +
            "." + f.accumulator + "." + f.element + "." + f.element + " " + registers(32) + ", %rd3, %rd4, " + scaleD + f.scales +
            ";\n";
  }
  text += "wgmma.commit_group.sync.aligned;\nwgmma.wait_group.sync.aligned 0;\nld.param.u64 %rd5, [out];\n"
          // Row warp * 16 + lane / 4 (+ 8), column 8 * (i / 4) + lane % 4 * 2 + i % 2.
          "shr.u32 %r7, %r1, 5;\nand.b32 %r8, %r1, 31;\nshr.u32 %r9, %r8, 2;\nand.b32 %r10, %r8, 3;\nshl.b32 %r11, %r7, 4;\n"
          "add.s32 %r11, %r11, %r9;\nshl.b32 %r11, %r11, 6;\nshl.b32 %r10, %r10, 1;\nadd.s32 %r11, %r11, %r10;\nmul.wide.u32 "
          "%rd6, %r11, 4;\n"
          "add.s64 %rd5, %rd5, %rd6;\n";
  for (int i = 0; i < 32; ++i)
    text += "st.global.b32 [%rd5+" + std::to_string(4 * (i / 2 % 2 * 8 * kSize + i / 4 * 8 + i % 2)) + "], %a" +
            std::to_string(i) + ";\n";
  return text + "ret;\n}\n";
}

class Wgmma : public testing::TestWithParam<std::tuple<Format, int>> {};

TEST_P(Wgmma, MultipliesWhatTmaLoads) {
  auto [f, swizzle] = GetParam();
  int k = swizzle / f.bytes;
  auto valueA = [&](int row, int i) { return (row * 5 + i * 3) % 7 - 3; };
  auto valueB = [&](int row, int i) { return (row * 3 + i * 11) % 5 - 2; };
  std::vector<uint8_t> a(kSize * swizzle), b(a.size());
  for (int row = 0; row < kSize; ++row)
    for (int i = 0; i < k; ++i) {
      uint32_t codeA = codeOf(valueA(row, i), f.element), codeB = codeOf(valueB(row, i), f.element);
      std::memcpy(&a[row * swizzle + i * f.bytes], &codeA, f.bytes);
      std::memcpy(&b[row * swizzle + i * f.bytes], &codeB, f.bytes);
    }
  std::vector<uint32_t> out(kSize * kSize);
  auto module = sim::Module::load(kernelText(f, swizzle));
  ASSERT_TRUE(module) << module.error().message;
  sim::TensorMap map;
  map.rank = 2;
  map.elementBytes = static_cast<uint32_t>(f.bytes);
  map.swizzleBytes = static_cast<uint32_t>(swizzle);
  map.dim = {static_cast<uint64_t>(k), kSize};
  map.stride = {map.elementBytes, static_cast<uint64_t>(swizzle)};
  map.box = {static_cast<uint32_t>(k), kSize};
  sim::Launch launch;
  launch.kernel = "k";
  launch.block = {128, 1, 1};
  launch.dynamicSharedBytes = 2 * kSize * swizzle;
  launch.buffers = {{"a", std::as_writable_bytes(std::span(a)), false},
                    {"b", std::as_writable_bytes(std::span(b)), false},
                    {"out", std::as_writable_bytes(std::span(out)), true}};
  launch.arguments = {sim::TensorMapArgument{0, map}, sim::TensorMapArgument{1, map}, sim::PointerArgument{2, 0}};
  auto report = sim::run(**module, launch, {});
  ASSERT_TRUE(report) << report.error().message;
  for (const sim::Finding &finding : report->findings)
    ADD_FAILURE() << finding.toString();
  int wrong = 0;
  for (int row = 0; row < kSize; ++row)
    for (int column = 0; column < kSize; ++column) {
      int sum = 0;
      for (int i = 0; i < k; ++i)
        sum += valueA(row, i) * valueB(column, i);
      float got = std::string(f.accumulator) == "s32" ? static_cast<float>(static_cast<int32_t>(out[row * kSize + column]))
                                                      : std::bit_cast<float>(out[row * kSize + column]);
      wrong += got != static_cast<float>(sum);
    }
  EXPECT_EQ(wrong, 0);
}

INSTANTIATE_TEST_SUITE_P(Swizzles, Wgmma, testing::Combine(testing::ValuesIn(kFormats), testing::Values(32, 64, 128)),
                         [](const auto &info) {
                           return std::string(std::get<0>(info.param).element) + "_" + std::to_string(std::get<1>(info.param)) +
                                  "B";
                         });

} // namespace
} // namespace quant::test
