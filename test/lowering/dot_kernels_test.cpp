//===- dot_kernels_test.cpp - products with weights of all targets over widths ===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// mla_absorb and mla_expand with latents as wide as in row_kernels_test.cpp, weights in FP8 blocks and in bf16, on each x86 unit
// of this CPU and on sm_90a in the simulator, against the formula in double. QUANT_TEST_SEED repeats the inputs.
//
//===----------------------------------------------------------------------===//

#include "test/lowering/random_weight.h"
#include "test/lowering/test_seed.h"

#include <fmt/core.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>

using namespace quant;
using namespace quant::test;

namespace {

constexpr Sizes kSizes = {.tokens = 3, .outputs = 1};
constexpr int64_t kTokens = kSizes.tokens, kHeads = 2, kNope = 5, kRope = 6, kValues = 70, kHeadRows = kNope + kValues,
                  kRows = kHeads * kHeadRows;

using Floats = std::vector<float>;
using Doubles = std::vector<double>;

/// How kv_b [kRows, latent] is stored.
const WeightScheme kSchemes[] = {{"f8E4M3FN", 128, 128}, {"bf16"}};

class DotKernels : public testing::TestWithParam<int64_t> {
protected:
  std::mt19937_64 random{testSeed()};
  int64_t latent = GetParam();

  Floats normal(int64_t count) { return randomNormal(count, random); }

  /// Runs `op` on rows of `columns` for each unit; the results are rows of want.size() / kTokens.
  void check(const std::string &op, const RandomWeight &weight, const Floats &x, const Doubles &want) {
    std::string in = fmt::format("tensor<?x{}xf32>", x.size() / kTokens),
                out = fmt::format("tensor<?x{}xf32>", want.size() / kTokens);
    std::string text = fmt::format("func.func private @kernel(%x: {0}, {1}) -> {2} attributes {{program.grid = "
                                   "affine_map<(tokens, sequences, outputs, context) -> "
                                   "({3})>}} {{\n{4}  %y = deepseek.{5} %x, %w {{heads = {3}, nope_dim = {6}, rope_dim "
                                   "= {7}, v_dim = {8}}} : ({0}, {9}) "
                                   "-> {2}\n  return %y : {2}\n}}\n",
                                   in, weight.arguments, out, kHeads, weight.assemble, op, kNope, kRope, kValues, weight.type);
    double largest = 1;
    for (double value : want)
      largest = std::max(largest, std::abs(value));
    for (const std::string &unit : units()) {
      SCOPED_TRACE(unit + "\n" + text);
      std::vector<Memory> operands = {Memory::of(x)};
      operands.insert(operands.end(), weight.tensors.begin(), weight.tensors.end());
      operands.push_back(Memory::room<float>(static_cast<int64_t>(want.size())));
      Result<void> done = runKernel(text, unit, kSizes, operands);
      ASSERT_TRUE(done) << done.error().message;
      Floats got = operands.back().as<float>();
      for (size_t i = 0; i < want.size(); ++i)
        ASSERT_NEAR(got[i], want[i], 4e-6 * largest) << "element " << i;
    }
  }
};

TEST_P(DotKernels, MlaAbsorb) {
  constexpr int64_t kQuery = kNope + kRope;
  for (const WeightScheme &scheme : kSchemes) {
    RandomWeight weight = randomWeight(scheme, 0, kRows, latent, random);
    Floats q = normal(kTokens * kHeads * kQuery);
    Doubles want(static_cast<size_t>(kTokens * kHeads * latent));
    for (int64_t row = 0; row < kTokens * kHeads; ++row)
      for (int64_t d = 0; d < kNope; ++d)
        for (int64_t c = 0; c < latent; ++c)
          want[row * latent + c] += q[row * kQuery + d] * weight.values[(row % kHeads * kHeadRows + d) * latent + c];
    check("mla_absorb", weight, q, want);
  }
}

TEST_P(DotKernels, MlaExpand) {
  for (const WeightScheme &scheme : kSchemes) {
    RandomWeight weight = randomWeight(scheme, 0, kRows, latent, random);
    Floats y = normal(kTokens * kHeads * latent);
    Doubles want(static_cast<size_t>(kTokens * kHeads * kValues));
    for (int64_t row = 0; row < kTokens * kHeads; ++row)
      for (int64_t v = 0; v < kValues; ++v)
        for (int64_t c = 0; c < latent; ++c)
          want[row * kValues + v] += y[row * latent + c] * weight.values[(row % kHeads * kHeadRows + kNope + v) * latent + c];
    check("mla_expand", weight, y, want);
  }
}

INSTANTIATE_TEST_SUITE_P(Widths, DotKernels, testing::Values(1, 4, 37, 64, 128, 132, 145, 256, 384, 512, 640, 1024, 1100),
                         testing::PrintToStringParamName());

} // namespace
