//===- amax_test.cpp - histories of largest inputs, and their scales ------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/quant-convert/calibrate/amax.h"

#include <gtest/gtest.h>

#include <limits>

using namespace quant;
using namespace quant::convert;

namespace {

constexpr AmaxOptions kMax{};
const std::string kExperts = "model.layers.3.mlp.experts.";

std::shared_ptr<const InputRange> range(std::vector<float> largest, std::vector<int64_t> tokens) {
  return std::make_shared<InputRange>(InputRange{std::move(largest), std::move(tokens)});
}

std::shared_ptr<const InputRange> range(std::vector<float> largest) {
  size_t pieces = largest.size();
  return range(std::move(largest), std::vector<int64_t>(pieces, 10));
}

std::string errorOf(const InputRanges &ranges) {
  auto made = staticScales(ranges, kMax, 0);
  return made ? "" : made.error().message;
}

} // namespace

TEST(Amax, RunningMaximumIsTheLargestPiece) {
  EXPECT_EQ(reduceAmax(*range({1, 8, 2, 4}), kMax), 8);
  EXPECT_EQ(reduceAmax(*range({1, 8, 2, 4}, {1, 0, 1, 1}), kMax), 4) << "no token of the piece";
  EXPECT_EQ(reduceAmax(*range({0, 0}, {0, 0}), kMax), std::nullopt);
}

/// quantization.md 4.9: amaxes 1, 4, 2, 1, 1 with a history of three.
TEST(Amax, DelayedScalingForgetsWhatIsOlder) {
  const std::vector<float> all = {1, 4, 2, 1, 1}, wanted = {1, 4, 4, 4, 2};
  for (size_t i = 0; i < all.size(); ++i)
    EXPECT_EQ(reduceAmax(*range({all.begin(), all.begin() + static_cast<std::ptrdiff_t>(i) + 1}), {AmaxRecipe::Delayed, 3}),
              wanted[i])
        << i;
  EXPECT_EQ(reduceAmax(*range({9, 4, 0, 1}, {1, 1, 0, 1}), {AmaxRecipe::Delayed, 2}), 4) << "of pieces with tokens";
}

/// numpy.percentile([3, 1, 10, 2], ...).
TEST(Amax, PercentileLiesBetweenPieces) {
  auto of = [](double percentile) { return *reduceAmax(*range({3, 1, 10, 2}), {AmaxRecipe::Percentile, 1, percentile}); };
  EXPECT_EQ(of(0), 1);
  EXPECT_EQ(of(50), 2.5f);
  EXPECT_EQ(of(75), 4.75f);
  EXPECT_FLOAT_EQ(of(99.9), 9.979f);
  EXPECT_EQ(of(100), 10);
  EXPECT_EQ(reduceAmax(*range({7}), {AmaxRecipe::Percentile, 1, 99.9}), 7);
}

TEST(Amax, FusedProjectionsShareAScale) {
  const std::string attention = "model.layers.0.self_attn.", mlp = "model.layers.0.mlp.";
  auto made = staticScales({{attention + "q_a_proj", range({448, 896})},
                            {attention + "kv_a_proj_with_mqa", range({1792, 1})},
                            {attention + "q_b_proj", range({44.8f, 1})},
                            {mlp + "gate_proj", range({1, 2})},
                            {mlp + "up_proj", range({3, 1})},
                            {mlp + "down_proj", range({5, 1})}},
                           kMax, 256);
  ASSERT_TRUE(made) << made.error().message;
  EXPECT_EQ(made->at(attention + "q_a_proj").scale, 4);
  EXPECT_EQ(made->at(attention + "kv_a_proj_with_mqa").scale, 4);
  EXPECT_EQ(made->at(attention + "q_b_proj").scale, 44.8f / 448);
  EXPECT_EQ(made->at(mlp + "gate_proj").amax, 3);
  EXPECT_EQ(made->at(mlp + "up_proj").amax, 3);
  EXPECT_EQ(made->at(mlp + "down_proj").amax, 5);
  EXPECT_FALSE(made->at(mlp + "down_proj").isBorrowed) << "only experts borrow";
}

TEST(Amax, FewTokensTakeTheLargestOfTheLayersExperts) {
  InputRanges ranges = {
      {kExperts + "0.up_proj", range({2, 6}, {200, 100})},       {kExperts + "1.up_proj", range({9, 0}, {1, 0})},
      {kExperts + "2.up_proj", range({0, 0}, {0, 0})},           {kExperts + "0.down_proj", range({50, 60})},
      {kExperts + "2.down_proj", range({0, 0}, {0, 0})},         {"model.layers.4.mlp.experts.0.up_proj", range({99})},
      {kExperts + "2.gate_proj", range({0, 0}, {0, 0})},         {kExperts + "0.gate_proj", range({2, 6}, {200, 100})},
      {"model.layers.3.mlp.shared_experts.up_proj", range({77})}};
  auto amax = [&](const char *layer, int64_t floor) {
    auto made = staticScales(ranges, kMax, floor);
    EXPECT_TRUE(made) << made.error().message;
    const StaticScale &scale = made->at(kExperts + layer);
    return std::pair(scale.amax, scale.isBorrowed);
  };
  EXPECT_EQ(amax("0.up_proj", 256), std::pair(6.0f, false));
  EXPECT_EQ(amax("0.up_proj", 301), std::pair(9.0f, true));
  EXPECT_EQ(amax("1.up_proj", 256), std::pair(9.0f, true));
  EXPECT_EQ(amax("1.up_proj", 0), std::pair(9.0f, false));
  EXPECT_EQ(amax("2.up_proj", 0), std::pair(9.0f, true)) << "without a token whatever the floor is";
  EXPECT_EQ(amax("2.gate_proj", 0), std::pair(9.0f, true)) << "gate and up share it";
  EXPECT_EQ(amax("2.down_proj", 0), std::pair(60.0f, true)) << "of down_proj's inputs";
}

TEST(Amax, CountsPiecesThatSaturate) {
  InputRanges ranges = {{"model.layers.0.self_attn.o_proj", range({1, 2, 3, 9, 4}, {5, 5, 5, 0, 5})}};
  auto made = staticScales(ranges, {AmaxRecipe::Percentile, 1, 50}, 0);
  ASSERT_TRUE(made) << made.error().message;
  const StaticScale &scale = made->begin()->second;
  EXPECT_EQ(scale.amax, 2.5f);
  EXPECT_EQ(scale.tokens, 20);
  EXPECT_EQ(scale.pieces, 4);
  EXPECT_EQ(scale.beyond, 2);
}

TEST(Amax, Errors) {
  const std::string layer = "model.layers.0.self_attn.o_proj";
  EXPECT_NE(errorOf({{layer, range({0, 0}, {0, 0})}}).find(layer + ": no token of the calibration text reached it"),
            std::string::npos);
  EXPECT_NE(errorOf({{kExperts + "0.up_proj", range({0}, {0})}}).find("nor any expert of its layer"), std::string::npos);
  EXPECT_NE(errorOf({{layer, range({0, 0})}}).find("the largest magnitude of its inputs on the calibration text is 0, which"),
            std::string::npos);
  EXPECT_NE(errorOf({{layer, range({1e-36f})}}).find("gives no scale"), std::string::npos);
  EXPECT_NE(errorOf({{layer, range({std::numeric_limits<float>::infinity()})}}).find("is inf, which"), std::string::npos);
}
