//===- gemm_family_test.cpp - the FP8 GEMM family, compiled and simulated --===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "test/tools/quant-sim/gemm_family.h"

#include <gtest/gtest.h>

#include <sstream>

namespace quant::test {
namespace {

using machine::GemmConfig;
using machine::Multicast;
using machine::OutputType;

constexpr int64_t kSms = 4;

/// A kernel of the family with the M to run it at.
struct Case {
  GemmConfig config;
  std::vector<int64_t> m;
};

void PrintTo(const Case &c, std::ostream *out) { *out << c.config.symbolName(); }

class GemmFamily : public testing::TestWithParam<Case> {};

/// ptxas has no complaint, the simulator none either, and the numbers are right.
TEST_P(GemmFamily, Runs) {
  const GemmConfig &config = GetParam().config;
  std::optional<LoadedKernel> kernel = loadKernel(config);
  ASSERT_TRUE(kernel);
  for (int64_t m : GetParam().m)
    EXPECT_EQ(GemmFamilyCase(config, m).run(*kernel->module, kernel->recipe, kSms, /*threads=*/2), "") << "M = " << m;
}

/// A config by what differs from the default.
GemmConfig gemm(int64_t n, int64_t k, int64_t blockM, int64_t blockN, void (*adjust)(GemmConfig &) = nullptr) {
  GemmConfig config = {n, k, blockM, blockN};
  if (adjust)
    adjust(config);
  return config;
}

void swapped(GemmConfig &c) { c.swapAB = true; }

/// The seven dense shapes of DeepSeek-V3 with all of K and a piece of N, each at every M with the tiles that M calls for.
std::vector<Case> denseShapes() {
  std::vector<Case> cases;
  for (auto [n, k] :
       {std::pair<int64_t, int64_t>{192, 7168}, {128, 7168}, {136, 1536}, {264, 512}, {64, 16384}, {72, 7168}, {200, 2048}}) {
    cases.push_back({gemm(n, k, 8, 64, swapped), {1, 7}});
    cases.push_back({gemm(n, k, 64, 128, swapped), {64}});
    cases.push_back({gemm(n, k, 128, 128), {100, 128, 129, 300}});
  }
  return cases;
}

/// Every tile on a small shape with a ragged N, at M below, at and above the tile.
std::vector<Case> tiles() {
  std::vector<Case> cases;
  for (int64_t blockN = 16; blockN <= 192; blockN += 16)
    cases.push_back({gemm(3 * blockN + 8, 272, 128, blockN), {129}});
  // From 112 on, where a tile of 176 meets three block scales.
  cases.push_back({gemm(9 * 176, 272, 128, 176), {100}});
  for (int64_t blockN : {16, 64, 96, 128, 192})
    cases.push_back({gemm(264, 640, 64, blockN), {61, 129}});
  for (int64_t blockN : {16, 64, 96, 112, 128})
    cases.push_back({gemm(264, 640, 256, blockN), {253, 513}});
  for (int64_t blockN : {64, 128})
    for (int64_t blockM : {8, 16, 32, 48, 64, 96, 128})
      cases.push_back({gemm(200, 640, blockM, blockN, swapped), {blockM - 1, blockM + 9}});
  return cases;
}

/// K that is no multiple of 16: rows with a pitch.
std::vector<Case> anyK() {
  std::vector<Case> cases;
  for (int64_t k : {1, 100, 129, 577, 1000})
    cases.push_back({gemm(136, k, 128, 128), {100}});
  cases.push_back({gemm(136, 1001, 16, 64, swapped), {13}});
  return cases;
}

/// Options, alone and together.
std::vector<Case> options() {
  auto f32 = [](GemmConfig &c) { c.outputType = OutputType::f32; };
  auto bias = [](GemmConfig &c) { c.bias = true; };
  auto everything = [](GemmConfig &c) { c.bias = c.accumulate = true, c.outputType = OutputType::f32; };
  auto everythingSwapped = [](GemmConfig &c) { c.swapAB = c.bias = c.accumulate = true, c.outputType = OutputType::f32; };
  auto accumulate = [](GemmConfig &c) { c.accumulate = true; };
  auto biasSwapped = [](GemmConfig &c) { c.swapAB = c.bias = true; };
  return {{gemm(264, 640, 128, 128, f32), {100, 129}},   {gemm(216, 640, 64, 48, f32), {100}},
          {gemm(264, 640, 256, 112, f32), {300}},        {gemm(264, 640, 128, 128, bias), {100}},
          {gemm(264, 640, 128, 96, bias), {100}},        {gemm(264, 640, 128, 128, accumulate), {100}},
          {gemm(264, 640, 128, 128, everything), {100}}, {gemm(200, 640, 16, 128, everythingSwapped), {13, 40}},
          {gemm(200, 640, 8, 64, biasSwapped), {5}}};
}

std::vector<Case> splitK() {
  auto parts = [](GemmConfig config, int64_t count) {
    config.splitK = count;
    return config;
  };
  auto everything = [](GemmConfig &c) { c.bias = c.accumulate = true, c.outputType = OutputType::f32; };
  return {{parts(gemm(200, 1664, 128, 128), 3), {100, 129}},   {parts(gemm(576, 7168, 64, 64), 8), {64}},
          {parts(gemm(200, 1000, 256, 128), 2), {300}},        {parts(gemm(200, 1000, 16, 64, swapped), 8), {7, 20}},
          {parts(gemm(200, 1000, 64, 128, swapped), 4), {64}}, {parts(gemm(200, 1000, 64, 128, everything), 4), {64}}};
}

std::vector<Case> multicast() {
  auto a = [](GemmConfig &c) { c.multicast = Multicast::a; };
  auto b = [](GemmConfig &c) { c.multicast = Multicast::b; };
  std::vector<Case> cases;
  for (auto adjust : {+a, +b}) {
    // M and N with an odd number of tiles: one block of the last pairs has nothing to do.
    cases.push_back({gemm(264, 1152, 128, 128, adjust), {1, 100, 300}});
    cases.push_back({gemm(264, 640, 256, 128, adjust), {300}});
    cases.push_back({gemm(264, 640, 64, 96, adjust), {100}});
    cases.push_back({gemm(392, 640, 128, 192, adjust), {129}});
    // With the weight on wgmma's M, and with parts of K.
    for (auto [blockM, blockN] : {std::pair<int64_t, int64_t>{16, 64}, {48, 128}, {128, 128}}) {
      cases.push_back({gemm(328, 640, blockM, blockN, adjust), {blockM - 1, 2 * blockM + 9}});
      cases.back().config.swapAB = true;
    }
    cases.push_back({gemm(264, 1152, 128, 128, adjust), {300}});
    cases.back().config.splitK = 4;
    cases.push_back({gemm(200, 1152, 32, 64, adjust), {7, 70}});
    cases.back().config.swapAB = true;
    cases.back().config.splitK = 3;
  }
  return cases;
}

std::string caseName(const testing::TestParamInfo<Case> &info) {
  std::string name = info.param.config.symbolName();
  return name.substr(name.find("1d2d_") + 5);
}

INSTANTIATE_TEST_SUITE_P(Dense, GemmFamily, testing::ValuesIn(denseShapes()), caseName);
INSTANTIATE_TEST_SUITE_P(Tiles, GemmFamily, testing::ValuesIn(tiles()), caseName);
INSTANTIATE_TEST_SUITE_P(AnyK, GemmFamily, testing::ValuesIn(anyK()), caseName);
INSTANTIATE_TEST_SUITE_P(Options, GemmFamily, testing::ValuesIn(options()), caseName);
INSTANTIATE_TEST_SUITE_P(SplitK, GemmFamily, testing::ValuesIn(splitK()), caseName);
INSTANTIATE_TEST_SUITE_P(Multicast, GemmFamily, testing::ValuesIn(multicast()), caseName);

/// The parts are added in their order, whoever comes last: the same bits with blocks in any order.
TEST(GemmSplitK, SameBitsInAnyOrder) {
  GemmConfig config = gemm(200, 1664, 64, 64);
  config.splitK = 5;
  config.outputType = OutputType::f32;
  auto kernel = nvvm::compileGemm(config);
  ASSERT_TRUE(kernel) << kernel.error().message;
  auto module = sim::Module::load(kernel->artifact.ptx);
  ASSERT_TRUE(module) << module.error().message;
  GemmFamilyCase problem(config, 70);
  EXPECT_EQ(problem.run(**module, kernel->recipe, /*sms=*/1, /*threads=*/1), "");
  std::vector<std::byte> alone = problem.result();
  for (int64_t sms : {3, 40}) {
    EXPECT_EQ(problem.run(**module, kernel->recipe, sms, /*threads=*/2), "");
    EXPECT_EQ(problem.result(), alone) << sms << " blocks";
  }
}

/// What is wrong in the PTX is told by the op that it comes from.
TEST(GemmLocations, AFindingNamesTheLineInTheHopperDialect) {
  GemmConfig config = gemm(64, 256, 64, 64);
  auto kernel = nvvm::compileGemm(config);
  ASSERT_TRUE(kernel) << kernel.error().message;
  std::string ptx = kernel->artifact.ptx, fence = "fence.proxy.async.shared::cta;";
  ASSERT_NE(ptx.find(fence), std::string::npos);
  ptx.erase(ptx.find(fence), fence.size());
  auto module = sim::Module::load(ptx);
  ASSERT_TRUE(module) << module.error().message;
  std::string found = GemmFamilyCase(config, 64).run(**module, kernel->recipe, /*sms=*/1, /*threads=*/1);
  EXPECT_NE(found.find("missing-proxy-fence"), std::string::npos) << found;
  std::string file = kernel->recipe.kernel + ".mlir:";
  size_t at = found.find(file);
  ASSERT_NE(at, std::string::npos) << found;
  std::istringstream ir(kernel->artifact.ir);
  std::string line;
  for (int number = std::stoi(found.substr(at + file.size())); number > 0; --number)
    std::getline(ir, line);
  EXPECT_NE(line.find("hopper.store_tile"), std::string::npos) << found << line;
}

} // namespace
} // namespace quant::test
