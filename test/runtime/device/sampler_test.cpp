//===- sampler_test.cpp - choosing tokens ---------------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/api/sampler.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace quant::runtime {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

/// How often each of `count` ids comes in `draws` draws.
std::vector<double> frequencies(Sampler sampler, const std::vector<float> &logits, int draws) {
  std::vector<double> result(logits.size());
  for (int i = 0; i < draws; ++i)
    result[static_cast<size_t>(sampler.sample(logits).value())] += 1.0 / draws;
  return result;
}

/// The reference implementation's numbers for the state that splitmix64 gives from 0 (its first: e220a8397b1dcdaf).
TEST(Random, IsXoshiro256StarStar) {
  Random random(0);
  EXPECT_EQ(random.next(), 0x99ec5f36cb75f2b4ull);
  EXPECT_EQ(random.next(), 0xbf6e1f784956452aull);
  EXPECT_EQ(random.next(), 0x1a5f849d4933e6e0ull);
}

TEST(Random, IsUniform) {
  Random random(7);
  double sum = 0, squares = 0;
  constexpr int kDraws = 100000;
  for (int i = 0; i < kDraws; ++i) {
    double x = random.uniform();
    ASSERT_TRUE(x >= 0 && x < 1);
    sum += x;
    squares += x * x;
  }
  EXPECT_NEAR(sum / kDraws, 0.5, 0.005);
  EXPECT_NEAR(squares / kDraws, 1.0 / 3, 0.005);
}

TEST(Sampler, RefusesParameters) {
  EXPECT_EQ(Sampler::create(-1, 1, 0).error().message, "temperature is -1.000000, not a finite number of at least 0");
  EXPECT_FALSE(Sampler::create(NAN, 1, 0));
  EXPECT_FALSE(Sampler::create(INFINITY, 1, 0));
  EXPECT_EQ(Sampler::create(1, 0, 0).error().message, "top_p is 0.000000, not above 0 and at most 1");
  EXPECT_FALSE(Sampler::create(1, 1.5, 0));
  EXPECT_FALSE(Sampler::create(1, NAN, 0));
}

TEST(Sampler, RefusesLogits) {
  for (double temperature : {0.0, 1.0}) {
    Sampler sampler = Sampler::create(temperature, 0.9, 0).value();
    EXPECT_TRUE(sampler.sample(std::vector<float>{0, NAN}).error().message.starts_with("logit 1 is nan"));
    EXPECT_TRUE(sampler.sample(std::vector<float>{kInfinity, 0}).error().message.starts_with("logit 0 is inf"));
    EXPECT_EQ(sampler.sample(std::vector<float>{-kInfinity, -kInfinity}).error().message, "there is no logit above -infinity");
    EXPECT_FALSE(sampler.sample({}));
  }
}

TEST(Sampler, TakesTheLikeliestAtZero) {
  Sampler sampler = Sampler::create(0, 1, 0).value();
  EXPECT_EQ(sampler.sample(std::vector<float>{-3, 2, 1, 2}).value(), 1);
  EXPECT_EQ(sampler.sample(std::vector<float>{-kInfinity, -7}).value(), 1);
}

TEST(Sampler, FollowsSoftmax) {
  std::vector<float> logits = {0, std::log(2.0f), std::log(3.0f), -kInfinity, std::log(4.0f)};
  std::vector<double> plain = frequencies(Sampler::create(1, 1, 1).value(), logits, 50000);
  const double expected[] = {0.1, 0.2, 0.3, 0, 0.4};
  for (size_t i = 0; i < logits.size(); ++i)
    EXPECT_NEAR(plain[i], expected[i], 0.01) << i;
  EXPECT_EQ(plain[3], 0);

  // Temperature 0.5 squares the odds: 1, 4, 9, 16 of 30.
  std::vector<double> cold = frequencies(Sampler::create(0.5, 1, 2).value(), logits, 50000);
  const double squared[] = {1 / 30.0, 4 / 30.0, 9 / 30.0, 0, 16 / 30.0};
  for (size_t i = 0; i < logits.size(); ++i)
    EXPECT_NEAR(cold[i], squared[i], 0.01) << i;
}

TEST(Sampler, KeepsTheNucleus) {
  std::vector<float> logits = {0, std::log(2.0f), std::log(3.0f), std::log(4.0f)};
  std::vector<double> kept = frequencies(Sampler::create(1, 0.65, 3).value(), logits, 50000);
  EXPECT_EQ(kept[0], 0);
  EXPECT_EQ(kept[1], 0);
  EXPECT_NEAR(kept[2], 3 / 7.0, 0.01);
  EXPECT_NEAR(kept[3], 4 / 7.0, 0.01);
  EXPECT_NEAR(frequencies(Sampler::create(1, 1e-6, 3).value(), logits, 100)[3], 1, 1e-9);
}

/// More tokens in the nucleus than are sorted at once.
TEST(Sampler, KeepsALargeNucleus) {
  std::vector<float> logits(4000, 0.0f);
  std::vector<double> kept = frequencies(Sampler::create(1, 0.5, 4).value(), logits, 5000);
  for (size_t i = 2000; i < logits.size(); ++i)
    ASSERT_EQ(kept[i], 0);
  double firstHalf = 0;
  for (size_t i = 0; i < 1000; ++i)
    firstHalf += kept[i];
  EXPECT_NEAR(firstHalf, 0.5, 0.03);
}

TEST(Sampler, RepeatsWithItsSeed) {
  std::vector<float> logits(1000);
  for (size_t i = 0; i < logits.size(); ++i)
    logits[i] = static_cast<float>(i % 17);
  auto draw = [&](uint64_t seed) {
    Sampler sampler = Sampler::create(1, 0.9, seed).value();
    std::vector<int32_t> tokens;
    for (int i = 0; i < 20; ++i)
      tokens.push_back(sampler.sample(logits).value());
    return tokens;
  };
  EXPECT_EQ(draw(5), draw(5));
  EXPECT_NE(draw(5), draw(6));
}

} // namespace
} // namespace quant::runtime
