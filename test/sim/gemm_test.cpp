//===- gemm_test.cpp - our own GEMM kernels in the simulator ---------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "test/sim/gemm_case.h"

#include <gtest/gtest.h>

namespace quant::test {
namespace {

struct Case {
  const char *kernel;
  int64_t m;
};

class Gemm : public testing::TestWithParam<Case> {};

/// Right numbers, no finding.
TEST_P(Gemm, Runs) {
  GemmKernel kernel(GetParam().kernel);
  GemmResult result = runGemm(kernel, kernel.ptx, GetParam().m);
  EXPECT_TRUE(result.clean()) << result.toString();
  EXPECT_GT(result.report.instructions, 0u);
}

constexpr const char *kSmall = "sm90_fp8_gemm_1d2d_n256_k144_bm128_bn128";

INSTANTIATE_TEST_SUITE_P(Kernels, Gemm, testing::Values(Case{kSmall, 1}, Case{kSmall, 7}, Case{kSmall, 300}));

} // namespace
} // namespace quant::test
