//===- MachineTest.cpp - the tables of GPUs and CPUs -------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "dialects/machine/GemmPlan.h"
#include "dialects/machine/X86.h"

#include <gtest/gtest.h>

#include <bit>

using namespace quant;
using namespace quant::machine;

namespace {

Gpu gpu(const char *name) { return *findGpu(name); }

TEST(Gpu, IsFoundByName) {
  EXPECT_EQ(gpu("h200").sms, 132);
  EXPECT_GT(gpu("h200").hbmBytesPerSecond, gpu("h100").hbmBytesPerSecond);
  EXPECT_EQ(gpu("h800").hbmBytesPerSecond, gpu("h100").hbmBytesPerSecond);
  EXPECT_EQ(findGpu("b200").error().message, "there is no model of the GPU 'b200': h100, h200, h800");
  EXPECT_EQ(defaultGpu().name, "h200");
}

/// The data sheet's operations are the tensor cores' at a boost clock a little above the one that is held.
TEST(Gpu, FiguresAgree) {
  for (const Gpu &gpu : gpus()) {
    double held = static_cast<double>(gpu.sms) * gpu.tensorFlopsPerCycle * gpu.clockHz;
    EXPECT_LT(held, gpu.nominalTensorFlops) << gpu.name;
    EXPECT_GT(held, 0.9 * gpu.nominalTensorFlops) << gpu.name;
    EXPECT_GT(gpu.hbmBytesPerSecond, 1e12) << gpu.name;
    EXPECT_GT(gpu.l2BytesPerCycle * gpu.clockHz, gpu.hbmBytesPerSecond) << gpu.name;
  }
}

TEST(Gpu, Sm90aIsHoppers) {
  EXPECT_EQ(kSm90a.sharedBytesPerBlock, 232448);
  EXPECT_EQ(kSm90a.warpgroupThreads(), 128);
  EXPECT_EQ(kSm90a.registersAtLaunch(384), 168);
}

TEST(X86, UnitsAreFoundByName) {
  ASSERT_FALSE(x86Units().empty());
  EXPECT_EQ(x86Units().front().name, "amx");
  for (const X86Unit &unit : x86Units())
    EXPECT_EQ(findX86Unit(unit.name), &unit);
  EXPECT_EQ(findX86Unit("sse"), nullptr);
  EXPECT_EQ(x86UnitNames(), (std::vector<std::string>{"amx", "avx512bf16", "avx512", "avx2"}));
  EXPECT_EQ(x86UnitList(), "amx, avx512bf16, avx512 or avx2");
}

/// What the kernels' forms rest on.
TEST(X86, SizesFitTheKernels) {
  for (const X86Unit &unit : x86Units()) {
    EXPECT_TRUE(std::has_single_bit(static_cast<uint64_t>(unit.dotSums))) << unit.name;
    EXPECT_TRUE(std::has_single_bit(static_cast<uint64_t>(unit.dotTokens))) << unit.name;
    EXPECT_LE(unit.dotTokens, unit.dotSums) << unit.name;
    EXPECT_EQ(unit.tileTokens % 3, 0) << unit.name;
    EXPECT_EQ(128 % (16 * unit.tileVectors), 0) << unit.name;
    EXPECT_FALSE(unit.requiredFeatures.empty()) << unit.name;
  }
}

//===----------------------------------------------------------------------===//
// GemmPlan
//===----------------------------------------------------------------------===//

TEST(GemmPlan, CutsTheTileIntoSlices) {
  GemmPlan plain(GemmConfig{.n = 7168, .k = 2048}), tall(GemmConfig{.n = 7168, .k = 2048, .blockM = 256});
  GemmPlan swapped(GemmConfig{.n = 7168, .k = 2048, .blockM = 16, .blockN = 64, .swapAB = true});
  EXPECT_EQ(plain.slices(), 2);
  EXPECT_EQ(plain.warpgroups, 2);
  EXPECT_EQ(plain.slicesPerWarpgroup(), 1);
  EXPECT_EQ(tall.slicesPerWarpgroup(), 2);
  EXPECT_EQ(swapped.slices(), 1);
  EXPECT_EQ(swapped.wgmmaN(), 16);
}

TEST(GemmPlan, FillsSharedMemoryWithStages) {
  GemmConfig config{.n = 7168, .k = 2048};
  GemmPlan plan(config);
  EXPECT_LE(plan.sharedBytes, kSm90a.sharedBytesPerBlock);
  config.stages = plan.stages + 1;
  EXPECT_GT(GemmPlan(config).sharedBytes, kSm90a.sharedBytesPerBlock);
  EXPECT_FALSE(checkGemm(config));
}

TEST(GemmPlan, WalksTilesByTheGpusMultiprocessors) {
  GemmConfig config{.n = 7168, .k = 2048};
  Gpu few = gpu("h100");
  few.sms = 64;
  // A wave of 132: 8 x 17 tiles of 128 x 128 read 25 sides, 16 x 9 as many; of 64: 8 x 8 read 16, 16 x 4 read 20.
  EXPECT_EQ(GemmPlan(config, gpu("h100")).tilesPerGroup, 16);
  EXPECT_EQ(GemmPlan(config, few).tilesPerGroup, 8);
  EXPECT_EQ(GemmPlan(config, few).stages, GemmPlan(config).stages);
}

} // namespace
