//===- gptq_test.cpp - GPTQ against its definition ------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "test_tensors.h"

#include "tools/quant-convert/calibrate/gptq.h"
#include "tools/quant-convert/quantize/scheme_choice.h"

#include <Eigen/LU>
#include <gtest/gtest.h>

using namespace quant;
using namespace quant::convert;
using namespace quant::test;
using Eigen::MatrixXd;

namespace {

constexpr int64_t kRows = 24, kColumns = 64, kTokens = 500;

/// Inputs whose columns go together, and a weight.
struct Problem {
  explicit Problem(uint32_t seed) : values(normal(kRows * kColumns, seed, 0.1f)) {
    auto noise = normal(kTokens * kColumns, seed + 1), mix = normal(kColumns * kColumns, seed + 2, 0.3f);
    MatrixXd inputs =
        Eigen::Map<Eigen::MatrixXf>(noise.data(), kTokens, kColumns).cast<double>() *
        (MatrixXd::Identity(kColumns, kColumns) + Eigen::Map<Eigen::MatrixXf>(mix.data(), kColumns, kColumns).cast<double>());
    sums = inputs.transpose() * inputs;
  }
  RowBlock block() const { return {values, kRows, kColumns, 0}; }

  std::vector<float> values;
  MatrixXd sums;
};

MatrixXd damped(const MatrixXd &sums, double damp) {
  MatrixXd result = sums;
  result.diagonal().array() += damp * sums.diagonal().mean();
  return result;
}

/// The algorithm as it is defined: for each column the inverse of H over the columns that are left, made anew in f64. With
/// `isGuides` the update of a well-known guide, by H in the place of its inverse.
std::vector<uint8_t> byDefinition(const Problem &problem, const NumberFormat &format, const Scheme &scheme,
                                  bool isGuides = false) {
  EncodedRows out = encodeRows(format, scheme, problem.block(), {});
  MatrixXd hessian = damped(problem.sums, 0.01);
  int64_t groups = kColumns / scheme.block[1];
  for (int64_t row = 0; row < kRows; ++row) {
    Eigen::VectorXd rest(kColumns);
    for (int64_t i = 0; i < kColumns; ++i)
      rest(i) = problem.values[static_cast<size_t>(row * kColumns + i)];
    for (int64_t j = 0; j < kColumns; ++j) {
      MatrixXd left = hessian.bottomRightCorner(kColumns - j, kColumns - j);
      if (!isGuides)
        left = left.fullPivLu().inverse().eval();
      auto group = static_cast<size_t>(row * groups + j / scheme.block[1]);
      Parameters parameters = {out.scales[group], out.zeros.empty() ? 0 : out.zeros[group]};
      uint8_t &code = out.codes[static_cast<size_t>(row * kColumns + j)];
      double error = rest(j) - format.round(static_cast<float>(rest(j)), parameters, 1, code);
      rest.tail(kColumns - j) -= (error / left(0, 0)) * left.col(0);
    }
  }
  return out.codes;
}

double errorOf(const Problem &problem, const NumberFormat &format, const Scheme &scheme, const std::vector<uint8_t> &codes) {
  EncodedRows encoded = encodeRows(format, scheme, problem.block(), {});
  encoded.codes = codes;
  return outputError(problem.sums, problem.block(), decodeRows(format, scheme, problem.block(), encoded));
}

Target target(bool zeroPoints = false) { return *chooseTarget({"w4a16", 16, zeroPoints}, FileLayout::CompressedTensors); }

} // namespace

TEST(Gptq, CodesAreThoseOfTheDefinition) {
  for (bool zeroPoints : {false, true})
    for (uint32_t seed : {1u, 20u, 300u}) {
      Problem problem(seed);
      Target w4 = target(zeroPoints);
      NumberFormat format(w4.scheme, zeroPoints);
      GptqFactor factor = *factorize(problem.sums, {});
      EXPECT_EQ(factor.damp, 0.01);
      EncodedRows encoded =
          encodeByGptq(format, w4.scheme, problem.block(), encodeRows(format, w4.scheme, problem.block(), {}), factor);
      EXPECT_EQ(encoded.codes, byDefinition(problem, format, w4.scheme)) << "seed " << seed;
      std::vector<uint8_t> nearest = encodeRows(format, w4.scheme, problem.block(), {}).codes;
      EXPECT_NE(encoded.codes, nearest);
      EXPECT_LT(errorOf(problem, format, w4.scheme, encoded.codes), 0.9 * errorOf(problem, format, w4.scheme, nearest));
    }
}

TEST(Gptq, TheGuidesUpdateIsWrong) {
  Problem problem(7);
  Target w4 = target();
  NumberFormat format(w4.scheme, false);
  std::vector<uint8_t> guides = byDefinition(problem, format, w4.scheme, true);
  double nearest = errorOf(problem, format, w4.scheme, encodeRows(format, w4.scheme, problem.block(), {}).codes);
  EXPECT_GT(errorOf(problem, format, w4.scheme, guides), 2 * nearest);
}

TEST(Gptq, ActOrderKeepsTheFilesOrder) {
  Problem problem(11);
  problem.sums.row(5) *= 40;
  problem.sums.col(5) *= 40;
  Target w4 = target();
  NumberFormat format(w4.scheme, false);
  GptqFactor factor = *factorize(problem.sums, {.damp = 0.01, .actOrder = true});
  EXPECT_EQ(factor.order.front(), 5);
  EncodedRows encoded =
      encodeByGptq(format, w4.scheme, problem.block(), encodeRows(format, w4.scheme, problem.block(), {}), factor);
  EncodedRows nearest = encodeRows(format, w4.scheme, problem.block(), {});
  EXPECT_EQ(encoded.scales, nearest.scales);
  for (int64_t row = 0; row < kRows; ++row) // what comes first is rounded to the nearest
    EXPECT_EQ(encoded.codes[static_cast<size_t>(row * kColumns + 5)], nearest.codes[static_cast<size_t>(row * kColumns + 5)]);
  EXPECT_LT(errorOf(problem, format, w4.scheme, encoded.codes), errorOf(problem, format, w4.scheme, nearest.codes));
}

TEST(Gptq, ColumnsWithoutInputAndFewTokens) {
  Problem problem(3);
  problem.sums.row(9).setZero();
  problem.sums.col(9).setZero();
  Target w4 = target();
  NumberFormat format(w4.scheme, false);
  EncodedRows nearest = encodeRows(format, w4.scheme, problem.block(), {});
  EncodedRows encoded = encodeByGptq(format, w4.scheme, problem.block(), nearest, *factorize(problem.sums, {}));
  for (int64_t row = 0; row < kRows; ++row) // not made zero, as the plain algorithm would
    EXPECT_EQ(encoded.codes[static_cast<size_t>(row * kColumns + 9)], nearest.codes[static_cast<size_t>(row * kColumns + 9)]);
  // One token: rank 1, which has no factor undamped.
  Eigen::VectorXd one = problem.sums.col(0);
  auto factor = factorize(one * one.transpose(), {.damp = 0});
  ASSERT_TRUE(factor) << factor.error().message;
  EXPECT_TRUE(factor->upper.allFinite());
  EXPECT_FALSE(factorize(MatrixXd::Constant(4, 4, std::numeric_limits<double>::quiet_NaN()), {}));
}
