//===- gemm_test.cpp - our own GEMM kernels in the simulator ---------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "test/tools/quant-sim/gemm_case.h"

#include <gtest/gtest.h>

namespace quant::test {
namespace {

struct Case {
  const char *kernel;
  int64_t m;
};

void PrintTo(const Case &c, std::ostream *os) { *os << c.kernel << ", M = " << c.m; }

class Gemm : public testing::TestWithParam<Case> {};

/// Right numbers, no finding.
TEST_P(Gemm, Runs) {
  GemmKernel kernel(GetParam().kernel);
  GemmResult result = runGemm(kernel, kernel.ptx, GetParam().m);
  EXPECT_TRUE(result.clean()) << result.toString();
  EXPECT_GT(result.report.instructions, 0u);
}

// Committed, so that the simulator can be tested without the compiler; gemm_family_test.cpp runs what the compiler makes today.
constexpr const char *kK16 = "sm90_fp8_gemm_1d2d_n8_k16_bm128_bn128", *kK144 = "sm90_fp8_gemm_1d2d_n256_k144_bm128_bn128",
                     *kK2000 = "sm90_fp8_gemm_1d2d_n384_k2000_bm128_bn128", *kK7168 = "sm90_fp8_gemm_1d2d_n576_k7168_bm128_bn128";

std::vector<Case> cases() {
  std::vector<Case> all;
  for (const char *kernel : {kK16, kK144, kK2000})
    for (int64_t m : {1, 7, 64, 100, 129, 300})
      all.push_back({kernel, m});
  all.push_back({kK7168, 1});
  all.push_back({kK7168, 129});
  return all;
}

INSTANTIATE_TEST_SUITE_P(Kernels, Gemm, testing::ValuesIn(cases()), [](const auto &info) {
  std::string name = info.param.kernel;
  return name.substr(name.find("_n") + 1) + "_m" + std::to_string(info.param.m);
});

/// A grid of 0 blocks runs nothing.
TEST(Gemm, EmptyLaunch) {
  GemmKernel kernel(kK16);
  GemmResult result = runGemm(kernel, kernel.ptx, 0);
  EXPECT_TRUE(result.clean()) << result.toString();
  EXPECT_EQ(result.report.blocks, 0u);
}

} // namespace
} // namespace quant::test
