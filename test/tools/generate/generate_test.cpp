//===- generate_test.cpp - sampling and stop strings ----------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/generate/sampling.h"
#include "tools/generate/stop_strings.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <map>

namespace quant::generate {
namespace {

int32_t choose(const SamplingOptions &options, std::vector<float> logits, const std::vector<int32_t> &before = {}) {
  Result<TokenSampler> sampler = TokenSampler::create(options);
  return sampler->sample(logits, before).value();
}

/// How often each token comes.
std::map<int32_t, int> counts(SamplingOptions options, const std::vector<float> &logits) {
  std::map<int32_t, int> result;
  Result<TokenSampler> sampler = TokenSampler::create(options);
  for (int i = 0; i < 4000; ++i) {
    std::vector<float> copy = logits;
    ++result[sampler->sample(copy, {}).value()];
  }
  return result;
}

TEST(SamplingTest, TemperatureZeroTakesTheLikeliest) { EXPECT_EQ(choose({}, {1, 3, 2}), 1); }

TEST(SamplingTest, TopKKeepsTheLikeliest) {
  SamplingOptions options = {.temperature = 1, .topK = 2};
  std::map<int32_t, int> seen = counts(options, {1, 3, 2, 2.5});
  EXPECT_EQ(seen.size(), 2u);
  EXPECT_TRUE(seen.contains(1) && seen.contains(3));
  options.topK = 1;
  EXPECT_EQ(counts(options, {2, 2, 1}).size(), 1u); // of equals the lowest id
  EXPECT_TRUE(counts(options, {2, 2, 1}).contains(0));
  options.topK = 100;
  EXPECT_EQ(counts(options, {1, 1, 1}).size(), 3u);
}

TEST(SamplingTest, MinPIsAFractionOfTheLikeliest) {
  // Probabilities 8 : 4 : 2 : 1.
  std::vector<float> logits = {std::log(8.F), std::log(4.F), std::log(2.F), 0};
  EXPECT_EQ(counts({.temperature = 1, .minP = 0.3}, logits).size(), 2u);
  EXPECT_EQ(counts({.temperature = 2, .minP = 0.4}, logits).size(), 3u); // sqrt(2/8) is 0.5, sqrt(1/8) is 0.35
  EXPECT_EQ(counts({.temperature = 1, .minP = 1}, logits).size(), 1u);
}

TEST(SamplingTest, PenaltyPushesWhatCameBeforeDown) {
  EXPECT_EQ(choose({.repetitionPenalty = 2}, {3, 2, 1}, {0, 0}), 1);   // 1.5, once however often it came
  EXPECT_EQ(choose({.repetitionPenalty = 2}, {-1, -1.5, -3}, {0}), 1); // -2
  EXPECT_EQ(choose({.repetitionPenalty = 2}, {3, 2, 1}, {-1, 99}), 0); // ids outside the vocabulary
}

TEST(SamplingTest, RefusesWhatIsOutOfRange) {
  auto error = [](const SamplingOptions &options) { return TokenSampler::create(options).error().message; };
  EXPECT_EQ(error({.topK = -1}), "top_k is -1, not 0 (all) or more");
  EXPECT_EQ(error({.minP = 1.5}), "min_p is 1.500000, not from 0 to 1");
  EXPECT_EQ(error({.repetitionPenalty = 0}), "repetition_penalty is 0.000000, not a finite number above 0");
  EXPECT_EQ(error({.temperature = -1}), "temperature is -1.000000, not a finite number of at least 0");
  Result<TokenSampler> sampler = TokenSampler::create({.temperature = 1, .topK = 1, .minP = 0.5, .repetitionPenalty = 2});
  std::vector<float> bad = {1, std::numeric_limits<float>::quiet_NaN()};
  EXPECT_NE(sampler->sample(bad, {}).error().message.find("logit 1 is nan"), std::string::npos);
}

TEST(SamplingTest, LogprobsAreALogSoftmax) {
  std::vector<TokenLogprob> all = logprobsOf(std::vector<float>{1000, 1001, 999, 1001}, 2, 10);
  ASSERT_EQ(all.size(), 5u);
  EXPECT_EQ(all[0].token, 2);
  EXPECT_EQ(all[1].token, 1); // of equals the lowest id
  EXPECT_EQ(all[2].token, 3);
  EXPECT_EQ(all[0].logprob, all[4].logprob);
  double sum = 0;
  for (size_t i = 1; i < all.size(); ++i)
    sum += std::exp(all[i].logprob);
  EXPECT_NEAR(sum, 1, 1e-4);
}

TEST(StopStringsTest, KeepsBackWhatCouldBeOne) {
  StopStrings stops({"END", "", "Na\n"});
  EXPECT_EQ(stops.push("one E"), "one ");
  EXPECT_EQ(stops.push("N"), "");
  EXPECT_EQ(stops.push("!"), "EN!");
  EXPECT_EQ(stops.push("N"), "");
  EXPECT_FALSE(stops.stopped());
  EXPECT_EQ(stops.push("a\nxEND"), ""); // the first in the text
  EXPECT_TRUE(stops.stopped());
  EXPECT_EQ(stops.push("more") + stops.finish(), "");
}

TEST(StopStringsTest, GivesTheRestWhenNoneCame) {
  StopStrings stops({"aab"});
  EXPECT_EQ(stops.push("xaa"), "x");
  EXPECT_EQ(stops.push("a"), "a"); // "aa" may still begin it
  EXPECT_EQ(stops.finish(), "aa");
  StopStrings none({});
  EXPECT_EQ(none.push("all"), "all");
}

} // namespace
} // namespace quant::generate
