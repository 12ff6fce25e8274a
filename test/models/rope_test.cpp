//===- rope_test.cpp - YaRN against numbers computed elsewhere ------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The expected numbers come from transformers' _compute_yarn_parameters, evaluated in f64 by numpy.
//
//===----------------------------------------------------------------------===//

#include "models/config/read.h"
#include "models/rope.h"

#include <gtest/gtest.h>

#include <cmath>

using namespace quant::models;

namespace {

ModelConfig load(const char *name) {
  auto config = loadConfig(std::filesystem::path(QUANT_MODEL_CONFIGS) / name);
  EXPECT_TRUE(config) << config.error().message;
  return config.value_or(ModelConfig{});
}

void expectNear(double value, double expected) { EXPECT_NEAR(value, expected, 1e-14 * std::abs(expected)); }

TEST(Rope, FrequenciesOfV3) {
  std::vector<double> frequencies = yarnInverseFrequencies(load("671B.json"));
  ASSERT_EQ(frequencies.size(), 32u);
  expectNear(frequencies[0], 1.0);
  expectNear(frequencies[9], 0.07498942093324558);
  expectNear(frequencies[10], 0.056234132519034905); // the ramp begins
  expectNear(frequencies[11], 0.03900692656714386);
  expectNear(frequencies[16], 0.0055);
  expectNear(frequencies[22], 0.0001778279410038922);
  expectNear(frequencies[23], 3.33380358040831e-05); // and ends: divided by 40
  expectNear(frequencies[31], 3.33380358040831e-06);
}

TEST(Rope, FrequenciesOfTheToy) {
  const double expected[] = {1.0,
                             0.49204865954155547,
                             0.23717082451262847,
                             0.11114246312743269,
                             0.05000000000000001,
                             0.021087799694638087,
                             0.00790569415042095,
                             0.0022228492625486537,
                             0.00125,
                             0.0007029266564879364,
                             0.0003952847075210475,
                             0.00022228492625486537,
                             0.000125,
                             7.029266564879364e-05,
                             3.952847075210474e-05,
                             2.2228492625486537e-05};
  std::vector<double> frequencies = yarnInverseFrequencies(load("toy_v3.json"));
  ASSERT_EQ(frequencies.size(), std::size(expected));
  for (size_t i = 0; i < frequencies.size(); ++i)
    expectNear(frequencies[i], expected[i]);
}

TEST(Rope, WithoutYarn) {
  ModelConfig config = load("671B.json");
  config.hasRopeScaling = false;
  std::vector<double> frequencies = yarnInverseFrequencies(config);
  expectNear(frequencies[16], 0.01); // 10000^(-32/64)
  EXPECT_EQ(yarnCosSinFactor(config), 1.0);
  expectNear(softmaxScale(config), 1 / std::sqrt(192.0));
}

TEST(Rope, SoftmaxScale) {
  expectNear(softmaxScale(load("671B.json")), 0.1352337788608801);
  expectNear(softmaxScale(load("16B.json")), 0.1147213867929261);
  ModelConfig config = load("671B.json");
  config.mscaleAllDim = 0;
  expectNear(softmaxScale(config), 1 / std::sqrt(192.0));
}

TEST(Rope, CosSinFactor) {
  ModelConfig config = load("671B.json");
  EXPECT_EQ(yarnCosSinFactor(config), 1.0);
  EXPECT_EQ(yarnCosSinFactor(load("16B.json")), 1.0) << "mscale and mscale_all_dim are both 0.707";
  config.mscaleAllDim = 0.707;
  expectNear(yarnCosSinFactor(config), 1.0857263992561355);
  config.ropeAttentionFactor = 1.5;
  EXPECT_EQ(yarnCosSinFactor(config), 1.5);
}

/// Few positions: the ramp's ends meet or lie outside; the frequencies stay finite and between f / factor and f.
TEST(Rope, OddRanges) {
  ModelConfig config = load("toy_v3.json");
  for (int64_t length : {1, 2, 7, 4096, 1 << 30})
    for (int64_t dim : {2, 4, 64, 2048}) {
      config.originalSeqLen = length;
      config.qkRopeHeadDim = dim;
      for (double frequency : yarnInverseFrequencies(config)) {
        EXPECT_TRUE(std::isfinite(frequency));
        EXPECT_GT(frequency, 0);
        EXPECT_LE(frequency, 1);
      }
    }
}

} // namespace
