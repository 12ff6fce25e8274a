//===- CostModelTest.cpp - what the choice of a kernel must always be --------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "passes/schedule/ChooseVariants.h"

#include <gtest/gtest.h>

#include <cmath>
#include <set>

using namespace quant;
using namespace quant::machine;
using namespace quant::schedule;

namespace {

struct Shape {
  int64_t n, k;
};

/// The seven dense shapes of DeepGEMM's table.
constexpr Shape kDense[] = {{2112, 7168}, {576, 7168}, {24576, 1536}, {32768, 512}, {7168, 16384}, {4096, 7168}, {7168, 2048}};
constexpr int64_t kSomeM[] = {1, 7, 8, 16, 17, 64, 100, 128, 129, 300, 512, 1000, 4096, 8192};

Gpu gpu(const char *name) { return *findGpu(name); }

GemmConfig plain(Shape shape, int64_t blockM = 128, int64_t blockN = 128) {
  GemmConfig config;
  config.n = shape.n;
  config.k = shape.k;
  config.blockM = blockM;
  config.blockN = blockN;
  return config;
}

double microseconds(const GemmConfig &config, int64_t m, const Gpu &model) { return 1e6 * predictCost(config, m, model).seconds; }

GemmConfig best(Shape shape, int64_t m, const Gpu &model) {
  return rankConfigs({.n = shape.n, .k = shape.k}, m, model).front().config;
}

//===----------------------------------------------------------------------===//
// The prediction
//===----------------------------------------------------------------------===//

/// DeepGEMM's own table for H800 (its README of 2025-02; shared/reference/hopper.md): TFLOPS at M = 4096, GB/s at M = 64. Its
/// kernel had blocks of 64 or 128 rows, no operand swap and no split.
TEST(CostModel, AgreesWithPublishedTimes) {
  struct Published {
    Shape shape;
    double tflops, gigabytes;
  };
  constexpr Published kTable[] = {{{2112, 7168}, 1296, 1688},  {{24576, 1536}, 1270, 2455}, {{32768, 512}, 938, 2143},
                                  {{7168, 16384}, 1519, 2668}, {{4096, 7168}, 1439, 2320},  {{7168, 2048}, 1215, 2470}};
  auto fastest = [](Shape shape, int64_t m) {
    double seconds = 1;
    for (int64_t blockM : {64, 128})
      for (int64_t blockN = 16; blockN <= 160; blockN += 16)
        for (Multicast multicast : {Multicast::none, Multicast::a, Multicast::b}) {
          GemmConfig config = plain(shape, blockM, blockN);
          config.multicast = multicast;
          seconds = std::min(seconds, predictCost(config, m, gpu("h800")).seconds);
        }
    return seconds;
  };
  for (const Published &row : kTable) {
    auto [n, k] = row.shape;
    double bytes = 64.0 * static_cast<double>(k) + static_cast<double>(n * k) + 2.0 * 64 * static_cast<double>(n);
    double tflops = 2e-12 * 4096 * static_cast<double>(n * k) / fastest(row.shape, 4096);
    double gigabytes = 1e-9 * bytes / fastest(row.shape, 64);
    EXPECT_NEAR(tflops / row.tflops, 1, 0.15) << n << " x " << k;
    EXPECT_NEAR(gigabytes / row.gigabytes, 1, 0.15) << n << " x " << k;
  }
}

/// Masked groups on an H100 (DeepGEMM's pull request 192): microseconds. Nothing is fitted to them.
TEST(CostModel, AgreesWithPublishedTimesOfGroups) {
  struct Published {
    int64_t groups, rows;
    Shape shape;
    double microseconds;
  };
  constexpr Published kTable[] = {{16, 32, {4096, 7168}, 168}, {16, 32, {7168, 2048}, 94}, {16, 96, {4096, 7168}, 176}};
  for (const Published &row : kTable) {
    GemmProblem problem{.n = row.shape.n, .k = row.shape.k, .groups = row.groups, .groupLayout = GroupLayout::masked};
    EXPECT_NEAR(1e6 * rankConfigs(problem, row.rows, gpu("h100")).front().cost.seconds / row.microseconds, 1, 0.15);
  }
}

TEST(CostModel, TokensSpreadOverGroups) {
  GemmConfig config = plain({4096, 7168}, 16, 128);
  config.swapAB = true;
  config.groups = 256;
  config.topK = 8;
  // One token has eight groups with a row; many have all of them, and 8 m / 256 rows each.
  EXPECT_EQ(loadOfGroups(config, 1).groups, 8);
  EXPECT_EQ(loadOfGroups(config, 1).rows, 1);
  EXPECT_EQ(loadOfGroups(config, 4096).groups, 256);
  EXPECT_EQ(loadOfGroups(config, 4096).rows, 128);
  EXPECT_EQ(predictCost(config, 1, gpu("h200")).units, 8 * 32);
  // Weights that no token wants are not read.
  EXPECT_LT(predictCost(config, 1, gpu("h200")).hbmBytes, 9.0 * 4096 * 7168);
  double last = 0;
  for (int64_t m : kSomeM) {
    double now = microseconds(config, m, gpu("h200"));
    EXPECT_GE(now, last) << m;
    last = now;
  }
}

TEST(CostModel, IsNeverBelowTheRoofline) {
  for (const Gpu &model : gpus())
    for (Shape shape : kDense)
      for (int64_t m : kSomeM) {
        GemmCost cost = rankConfigs({.n = shape.n, .k = shape.k}, m, model).front().cost;
        double tensor = cost.flops / (model.tensorFlopsPerCycle * model.clockHz * static_cast<double>(model.sms));
        EXPECT_GT(cost.seconds, tensor);
        EXPECT_GT(cost.seconds, cost.hbmBytes / model.hbmBytesPerSecond);
      }
}

TEST(CostModel, PartsMakeUpTheWhole) {
  for (int64_t m : kSomeM) {
    GemmCost cost = predictCost(plain({4096, 7168}), m, gpu("h200"));
    EXPECT_DOUBLE_EQ(cost.main, std::max({cost.tensor, cost.shared, cost.l2, cost.chain}) + cost.epilogue);
    EXPECT_DOUBLE_EQ(cost.seconds,
                     cost.launch + std::max(cost.main, cost.hbm) + 0.1 * std::min(cost.main, cost.hbm) + cost.reduction);
    EXPECT_EQ(cost.units, (m + 127) / 128 * 32);
    EXPECT_EQ(cost.waves, (cost.units + 131) / 132);
    EXPECT_LT(cost.waveIdle, cost.main);
    EXPECT_EQ(cost.reduction, 0);
  }
}

TEST(CostModel, GrowsWithKAndM) {
  for (const GemmConfig &config : candidateConfigs({.n = 4096, .k = 1024})) {
    double last = 0;
    for (int64_t k : {1024, 1025, 1152, 2048, 4096, 7168, 16384}) {
      GemmConfig longer = config;
      longer.k = k;
      double now = microseconds(longer, 128, gpu("h200"));
      EXPECT_GE(now, last) << longer.symbolName();
      last = now;
    }
    last = 0;
    for (int64_t m : kSomeM) {
      double now = microseconds(config, m, gpu("h200"));
      EXPECT_GE(now, last) << config.symbolName() << " at M = " << m;
      last = now;
    }
  }
}

TEST(CostModel, ABetterGpuIsNotSlower) {
  for (Shape shape : kDense)
    for (int64_t m : kSomeM) {
      Gpu base = gpu("h100"), memory = base, clock = base;
      memory.hbmBytesPerSecond *= 1.5;
      clock.clockHz *= 1.1;
      for (int64_t blockN : {64, 128}) {
        double before = microseconds(plain(shape, 128, blockN), m, base);
        EXPECT_LE(microseconds(plain(shape, 128, blockN), m, memory), before);
        EXPECT_LE(microseconds(plain(shape, 128, blockN), m, clock), before);
      }
    }
}

TEST(CostModel, FewStagesCostTime) {
  GemmConfig one = plain({4096, 7168});
  one.stages = 1;
  EXPECT_GT(microseconds(one, 4096, gpu("h200")), 1.1 * microseconds(plain({4096, 7168}), 4096, gpu("h200")));
}

//===----------------------------------------------------------------------===//
// The choice at one M
//===----------------------------------------------------------------------===//

TEST(CostModel, SmallMPrefersTheWeightOnWgmmasRows) {
  for (Shape shape : kDense)
    for (int64_t m : {1, 8, 16}) {
      GemmConfig swapped = plain(shape, 16, 64);
      swapped.swapAB = true;
      EXPECT_LT(microseconds(swapped, m, gpu("h200")), microseconds(plain(shape, 64, 64), m, gpu("h200")));
      // Wide weights have tiles enough, and HBM for a limit.
      if (shape.n <= 7168)
        EXPECT_TRUE(best(shape, m, gpu("h200")).swapAB) << shape.n << " x " << shape.k;
    }
}

TEST(CostModel, SplitsKWhereTilesLeaveTheGpuIdle) {
  GemmConfig split = plain({576, 7168}, 64, 64);
  split.splitK = 7;
  EXPECT_LT(microseconds(split, 64, gpu("h200")), microseconds(plain({576, 7168}, 64, 64), 64, gpu("h200")));
  EXPECT_GT(best({576, 7168}, 64, gpu("h200")).splitK, 1);
  GemmProblem whole{.n = 576, .k = 7168, .allowSplitK = false};
  EXPECT_EQ(rankConfigs(whole, 64, gpu("h200")).front().config.splitK, 1);
  // Enough tiles, one wave or many: nothing to split.
  EXPECT_EQ(best({24576, 1536}, 64, gpu("h200")).splitK, 1);
  EXPECT_EQ(best({4096, 7168}, 4096, gpu("h200")).splitK, 1);
}

TEST(CostModel, IsNeverWorseThanThe128Tile) {
  for (const Gpu &model : gpus())
    for (Shape shape : kDense)
      for (int64_t m : kSomeM) {
        RankedConfig choice = rankConfigs({.n = shape.n, .k = shape.k}, m, model).front();
        EXPECT_LE(choice.cost.seconds, predictCost(plain(shape), m, model).seconds);
        EXPECT_TRUE(checkGemm(choice.config)) << choice.config.symbolName();
        std::string why = explainConfig(choice, m, model);
        EXPECT_NE(why.find("% of the time"), std::string::npos) << why;
        EXPECT_EQ(why.find('\n'), std::string::npos);
      }
}

TEST(CostModel, HasAKernelForEveryLegalShape) {
  for (int64_t n : {8, 16, 24, 120, 128, 136, 1000, 129280})
    for (int64_t k : {1, 16, 100, 128, 144, 2001, 7168}) {
      GemmProblem problem{.n = n, .k = k};
      ASSERT_FALSE(candidateConfigs(problem).empty()) << n << " x " << k;
      for (int64_t m : {1, 128, 8192})
        EXPECT_EQ(rankConfigs(problem, m, gpu("h200")).size(), 1u);
    }
  EXPECT_TRUE(rankConfigs({.n = 12, .k = 128}, 64, gpu("h200")).empty());
  EXPECT_TRUE(chooseVariants({.n = 12, .k = 128}, gpu("h200")).empty());
}

TEST(CostModel, RanksByTime) {
  auto ranked = rankConfigs({.n = 4096, .k = 7168}, 300, gpu("h100"), 5);
  ASSERT_GE(ranked.size(), 2u);
  for (size_t i = 1; i < ranked.size(); ++i)
    EXPECT_LE(ranked[i - 1].cost.seconds, ranked[i].cost.seconds);
}

//===----------------------------------------------------------------------===//
// Kernels for a range of M
//===----------------------------------------------------------------------===//

size_t kernelsOf(const std::vector<GemmVariant> &variants) {
  std::set<std::string> names;
  for (const GemmVariant &variant : variants)
    names.insert(variant.config.symbolName());
  return names.size();
}

TEST(ChooseVariants, CoversTheRangeOnce) {
  for (Shape shape : kDense) {
    auto variants = chooseVariants({.n = shape.n, .k = shape.k}, gpu("h200"));
    ASSERT_FALSE(variants.empty());
    EXPECT_LE(kernelsOf(variants), 4u);
    EXPECT_EQ(variants.front().minM, 1);
    EXPECT_EQ(variants.back().maxM, 8192);
    for (size_t i = 0; i < variants.size(); ++i) {
      EXPECT_LE(variants[i].minM, variants[i].worstM);
      EXPECT_LE(variants[i].worstM, variants[i].maxM);
      EXPECT_TRUE(checkGemm(variants[i].config));
      if (i) {
        EXPECT_EQ(variants[i].minM, variants[i - 1].maxM + 1);
        EXPECT_NE(variants[i].config.symbolName(), variants[i - 1].config.symbolName());
      }
    }
  }
}

/// The bound that docs/gpu-kernels.md names.
TEST(ChooseVariants, LosesLittle) {
  for (const Gpu &model : gpus())
    for (Shape shape : kDense) {
      double all = 0, lost = 0;
      for (const GemmVariant &variant : chooseVariants({.n = shape.n, .k = shape.k}, model)) {
        double octaves = std::log2(static_cast<double>(variant.maxM + 1) / static_cast<double>(variant.minM));
        all += octaves;
        lost += octaves * variant.meanLoss;
        EXPECT_LE(variant.worstLoss, 0.5) << shape.n << " x " << shape.k << " at M = " << variant.worstM;
      }
      EXPECT_LE(lost / all, 0.15) << shape.n << " x " << shape.k;
    }
}

TEST(ChooseVariants, MoreKernelsLoseLess) {
  GemmProblem problem{.n = 4096, .k = 7168};
  auto meanLoss = [&](size_t kernels) {
    double lost = 0;
    for (const GemmVariant &variant : chooseVariants(problem, gpu("h200"), {.maxKernels = kernels, .enough = 0}))
      lost += std::log2(static_cast<double>(variant.maxM + 1) / static_cast<double>(variant.minM)) * variant.meanLoss;
    return lost;
  };
  double last = meanLoss(1);
  for (size_t kernels : {2, 4}) {
    double now = meanLoss(kernels);
    EXPECT_LE(now, last + 1e-9);
    last = now;
  }
}

TEST(ChooseVariants, OneMHasOneKernel) {
  for (int64_t m : kSomeM) {
    GemmProblem problem{.n = 4096, .k = 7168};
    auto variants = chooseVariants(problem, gpu("h200"), {.minM = m, .maxM = m});
    ASSERT_EQ(variants.size(), 1u);
    EXPECT_EQ(variants[0].minM, m);
    EXPECT_EQ(variants[0].maxM, m);
    EXPECT_EQ(variants[0].worstLoss, 0);
    EXPECT_EQ(predictCost(variants[0].config, m, gpu("h200")).seconds, rankConfigs(problem, m, gpu("h200"))[0].cost.seconds);
  }
}

TEST(ChooseVariants, CarriesWhatTheProblemAsksFor) {
  GemmProblem problem{.n = 4096, .k = 7168, .outputType = OutputType::f32, .bias = true, .accumulate = true};
  for (const GemmVariant &variant : chooseVariants(problem, gpu("h200"))) {
    EXPECT_TRUE(variant.config.bias && variant.config.accumulate);
    EXPECT_EQ(variant.config.outputType, OutputType::f32);
  }
}

} // namespace
