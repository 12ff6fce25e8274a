//===- grouped_gemm_test.cpp - FP8 GEMMs of groups, compiled and simulated --===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "test/tools/quant-sim/gemm_family.h"

#include <gtest/gtest.h>

namespace quant::test {
namespace {

using machine::GemmConfig;
using machine::GroupLayout;
using machine::Multicast;

/// A kernel with the groups to run it on.
struct Case {
  GemmConfig config;
  std::vector<std::vector<int64_t>> rows;
  int64_t capacity = 0;
};

void PrintTo(const Case &c, std::ostream *out) { *out << c.config.symbolName(); }

class GroupedGemm : public testing::TestWithParam<Case> {};

TEST_P(GroupedGemm, Runs) {
  const GemmConfig &config = GetParam().config;
  std::optional<LoadedKernel> kernel = loadKernel(config);
  ASSERT_TRUE(kernel);
  for (const std::vector<int64_t> &rows : GetParam().rows)
    EXPECT_EQ(GroupedGemmCase(config, rows, GetParam().capacity).run(*kernel->module, kernel->recipe, /*sms=*/4, /*threads=*/2),
              "")
        << testing::PrintToString(rows);
}

GemmConfig grouped(int64_t groups, int64_t n, int64_t k, int64_t blockM, int64_t blockN, void (*adjust)(GemmConfig &) = nullptr) {
  GemmConfig config = {n, k, blockM, blockN};
  config.groups = groups;
  if (adjust)
    adjust(config);
  return config;
}

void masked(GemmConfig &c) { c.groupLayout = GroupLayout::masked; }
void swapped(GemmConfig &c) { c.swapAB = true; }
void maskedSwapped(GemmConfig &c) { masked(c), swapped(c); }
void aligned(GemmConfig &c) { c.groupAlignment = 128; }

/// Counts around the edges of pieces, tiles and K blocks; the first, the last and all groups without rows.
std::vector<std::vector<int64_t>> edges(int64_t most) {
  return {{0, 1, 15, 16, 17, 63, 64, 65}, {127, 128, 129, 0, 0, most, 1, 0}, {0, 0, 0, 0, 0, 0, 0, 0}, {0, 0, 0, 0, 0, 0, 0, 3}};
}

/// As many rows as there is place for, in one group of each.
std::vector<int64_t> every(int64_t groups, int64_t step) {
  std::vector<int64_t> rows(static_cast<size_t>(groups));
  for (int64_t g = 0; g < groups; g += step)
    rows[static_cast<size_t>(g)] = 1 + g % 5;
  return rows;
}

std::vector<Case> layouts() {
  return {{grouped(8, 136, 272, 128, 128, masked), edges(200), 200},
          {grouped(8, 136, 272, 16, 64, maskedSwapped), edges(130), 130},
          {grouped(8, 136, 272, 128, 128), edges(200), 600},
          {grouped(8, 136, 272, 16, 128, swapped), edges(70), 500},
          {grouped(8, 72, 256, 64, 64, aligned), edges(130), 1000}};
}

/// Few groups and many; more than lanes, and a number that is no power of two.
std::vector<Case> numbers() {
  return {{grouped(1, 72, 144, 128, 128, masked), {{129}, {0}}, 130},
          {grouped(1, 72, 144, 8, 64, swapped), {{7}, {0}}, 9},
          {grouped(32, 72, 144, 8, 64, maskedSwapped), {every(32, 1), every(32, 7)}, 5},
          {grouped(61, 72, 144, 8, 64, swapped), {every(61, 2)}, 100},
          {grouped(256, 72, 144, 8, 64, swapped), {every(256, 9)}, 100}};
}

/// Tokens of a mixture of experts: eight rows each, sorted.
std::vector<Case> tokens() {
  return {{grouped(16, 136, 256, 16, 128, [](GemmConfig &c) { c.swapAB = true, c.topK = 8; }), {every(16, 1)}, 48}};
}

/// Tiles of every kind, and D as f32 or added to.
std::vector<Case> tiles() {
  auto f32 = [](GemmConfig &c) { c.outputType = machine::OutputType::f32; };
  auto odd = [](GemmConfig &c) { c.swapAB = true, c.outputType = machine::OutputType::f32; };
  std::vector<std::vector<int64_t>> some = {{70, 0, 300}};
  return {{grouped(3, 136, 272, 64, 128), some},
          {grouped(3, 264, 272, 128, 160), some},
          {grouped(3, 392, 1024, 128, 192), {{1, 0, 129}}},
          {grouped(3, 136, 272, 256, 128), some},
          {grouped(3, 136, 272, 128, 112, f32), some},
          {grouped(3, 136, 270, 64, 64, masked), {{65, 1, 70}}},
          {grouped(3, 200, 272, 64, 128, swapped), some},
          {grouped(3, 136, 272, 32, 64, odd), {{33, 0, 31}}}};
}

std::vector<Case> multicast() {
  auto a = [](GemmConfig &c) { c.multicast = Multicast::a; };
  auto b = [](GemmConfig &c) { c.multicast = Multicast::b; };
  auto aSwapped = [](GemmConfig &c) { c.multicast = Multicast::a, c.swapAB = true; };
  auto bMasked = [](GemmConfig &c) { c.multicast = Multicast::b, c.groupLayout = GroupLayout::masked; };
  // N and rows with an odd number of tiles: a block without one loads its neighbour's coordinates.
  std::vector<std::vector<int64_t>> some = {{70, 0, 300}};
  return {{grouped(3, 264, 640, 128, 128, a), some},
          {grouped(3, 264, 640, 128, 128, b), some},
          {grouped(3, 328, 640, 16, 64, aSwapped), {{1, 0, 40}}},
          {grouped(3, 264, 640, 64, 96, bMasked), {{70, 0, 200}}}};
}

std::string caseName(const testing::TestParamInfo<Case> &info) {
  std::string name = info.param.config.symbolName();
  return name.substr(name.find("1d2d_") + 5);
}

INSTANTIATE_TEST_SUITE_P(Layouts, GroupedGemm, testing::ValuesIn(layouts()), caseName);
INSTANTIATE_TEST_SUITE_P(Numbers, GroupedGemm, testing::ValuesIn(numbers()), caseName);
INSTANTIATE_TEST_SUITE_P(Tokens, GroupedGemm, testing::ValuesIn(tokens()), caseName);
INSTANTIATE_TEST_SUITE_P(Tiles, GroupedGemm, testing::ValuesIn(tiles()), caseName);
INSTANTIATE_TEST_SUITE_P(Multicast, GroupedGemm, testing::ValuesIn(multicast()), caseName);

/// Gate, up, SwiGLU and quantization in one kernel are what they are one after the other.
class GroupedSwiglu : public testing::TestWithParam<Case> {};

TEST_P(GroupedSwiglu, IsTheProductThenTheFunction) {
  GemmConfig fused = GetParam().config, product = fused;
  product.n = 2 * fused.n;
  product.swiglu = product.powerOfTwoScales = false;
  auto kernel = nvvm::compileGemm(fused), unfused = nvvm::compileGemm(product);
  ASSERT_TRUE(kernel) << kernel.error().message;
  ASSERT_TRUE(unfused) << unfused.error().message;
  EXPECT_EQ(kernel->artifact.findings(), std::vector<std::string>()) << kernel->artifact.ptxasLog;
  auto module = sim::Module::load(kernel->artifact.ptx), other = sim::Module::load(unfused->artifact.ptx);
  ASSERT_TRUE(module) << module.error().message;
  ASSERT_TRUE(other) << other.error().message;
  for (const std::vector<int64_t> &rows : GetParam().rows) {
    GroupedGemmCase problem(product, rows, GetParam().capacity);
    ASSERT_EQ(problem.run(**other, unfused->recipe, /*sms=*/4, /*threads=*/2), "");
    EXPECT_EQ(problem.runSwiglu(**module, kernel->recipe, fused.powerOfTwoScales, /*sms=*/4, /*threads=*/2), "")
        << testing::PrintToString(rows);
  }
}

std::vector<Case> swiglu() {
  auto fused = [](GemmConfig &c) { c.swiglu = true; };
  auto everything = [](GemmConfig &c) {
    masked(c);
    c.swiglu = c.powerOfTwoScales = true;
    c.multicast = Multicast::a;
  };
  auto shared = [](GemmConfig &c) { c.swiglu = true, c.multicast = Multicast::b; };
  return {{grouped(0, 256, 640, 128, 128, fused), {{100}}},
          {grouped(0, 128, 272, 64, 128, shared), {{150}}},
          {grouped(3, 128, 272, 64, 128, shared), {{65, 0, 17}}},
          {grouped(3, 256, 512, 128, 128, fused), {{130, 0, 70}}, 210},
          {grouped(3, 256, 384, 128, 128, everything), {{130, 0, 7}}, 131}};
}

INSTANTIATE_TEST_SUITE_P(Swiglu, GroupedSwiglu, testing::ValuesIn(swiglu()), caseName);

/// Counts that are wrong reach nobody else's rows.
TEST(GroupedGemmCounts, BeyondThePlaceOfAGroup) {
  GemmConfig config = grouped(3, 72, 144, 16, 64, maskedSwapped);
  auto kernel = nvvm::compileGemm(config);
  ASSERT_TRUE(kernel) << kernel.error().message;
  auto module = sim::Module::load(kernel->artifact.ptx);
  ASSERT_TRUE(module) << module.error().message;
  GroupedGemmCase problem(config, {20, 0, 5}, 20);
  problem.counts = {1 << 30, -7, 5};
  EXPECT_EQ(problem.run(**module, kernel->recipe, /*sms=*/4, /*threads=*/2), "");
}

/// Behind a kernel that writes the counts and may still run.
TEST(GroupedGemmCounts, AreReadAfterTheWait) {
  GemmConfig config = grouped(3, 72, 144, 16, 64, maskedSwapped);
  auto kernel = nvvm::compileGemm(config);
  ASSERT_TRUE(kernel) << kernel.error().message;
  std::string ptx = kernel->artifact.ptx, wait = "griddepcontrol.wait;";
  ASSERT_NE(ptx.find(wait), std::string::npos);
  ptx.erase(ptx.find(wait), wait.size());
  auto module = sim::Module::load(ptx);
  ASSERT_TRUE(module) << module.error().message;
  std::string found = GroupedGemmCase(config, {20, 0, 5}).run(**module, kernel->recipe, /*sms=*/4, /*threads=*/2);
  EXPECT_NE(found.find("early-access"), std::string::npos) << found;
}

/// A loading lane that reads another number of tiles than the math warps, as a table would give it that changes in between.
TEST(GroupedGemmCounts, RolesThatDisagreeWaitForEver) {
  GemmConfig config = grouped(3, 72, 144, 16, 64, maskedSwapped);
  auto kernel = nvvm::compileGemm(config);
  ASSERT_TRUE(kernel) << kernel.error().message;
  std::string ptx = kernel->artifact.ptx, wait = "griddepcontrol.wait;", load = "ld.shared.b32";
  // The third wait, behind those of the scan and of math, is the loading lane's, and its first load from shared memory the
  // number.
  size_t at = 0;
  for (int waits = 0; waits < 3 && at != std::string::npos; ++waits)
    at = ptx.find(wait, at + 1);
  ASSERT_NE(at, std::string::npos);
  at = ptx.find(load, at);
  ASSERT_NE(at, std::string::npos);
  // The next word of that entry is 0.
  ptx.insert(ptx.find(']', at), "+4");
  auto module = sim::Module::load(ptx);
  ASSERT_TRUE(module) << module.error().message;
  std::string found = GroupedGemmCase(config, {20, 0, 5}).run(**module, kernel->recipe, /*sms=*/4, /*threads=*/2);
  EXPECT_NE(found.find("deadlock"), std::string::npos) << found;
}

} // namespace
} // namespace quant::test
