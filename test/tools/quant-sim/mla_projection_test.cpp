//===- mla_projection_test.cpp - mla_absorb and mla_expand on tensor cores ----===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/support/narrow.h"
#include "test/lowering/test_seed.h"
#include "test/tools/quant-sim/gemm_family.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <random>

namespace quant::test {
namespace {

using machine::GemmConfig;
using machine::MlaProjection;
using machine::OutputType;

/// A kernel with the numbers of tokens to run it at.
struct Case {
  GemmConfig config;
  std::vector<int64_t> tokens;
};

void PrintTo(const Case &c, std::ostream *out) { *out << c.config.symbolName(); }

/// Operands of the recipe and what the kernel makes of them. Rows of kv_b and columns of a that it must not use are NaN, and so
/// is all of D before.
class ProjectionCase {
public:
  ProjectionCase(const GemmConfig &config, int64_t tokens, uint64_t seed);

  /// An error, the findings, or what is wrong with the result; empty if all is well.
  std::string run(const sim::Module &module, const nvvm::LaunchRecipe &recipe);

private:
  uint16_t randomBf16() {
    auto value = std::normal_distribution<float>(0, 1)(random);
    uint32_t bits;
    std::memcpy(&bits, &value, 4);
    return static_cast<uint16_t>(bits >> 16);
  }
  double valueOfA(int64_t token, int64_t head, int64_t column) const {
    return fromBf16(a[(token * mla.heads + head) * columnsA + column]);
  }
  /// What D is, and by how much the kernel's may differ.
  std::pair<double, double> expected(int64_t token, int64_t head, int64_t column) const;
  std::pair<double, double> product(int64_t token, int64_t head, int64_t column) const;
  std::pair<double, double> turned(int64_t token, int64_t head, int64_t number) const;

  GemmConfig config;
  MlaProjection mla;
  bool isAbsorb;
  int64_t tokens, latents, columnsA, columnsD;
  std::mt19937_64 random;
  std::vector<uint16_t> a, kvB;
  std::vector<float> rope;
  std::vector<std::byte> d;
};

ProjectionCase::ProjectionCase(const GemmConfig &config, int64_t tokens, uint64_t seed)
    : config(config), mla(config.mla), isAbsorb(mla.kind == MlaProjection::Kind::absorb), tokens(tokens),
      latents(isAbsorb ? config.n / mla.heads : config.k), columnsA(isAbsorb ? mla.nopeDim + mla.ropeDim : latents),
      columnsD(isAbsorb ? latents + (mla.completes ? mla.ropeDim : 0) : mla.vDim), random(seed) {
  constexpr uint16_t kNaN = 0x7fc0;
  for (int64_t i = 0; i < tokens * mla.heads * columnsA; ++i)
    a.push_back(isAbsorb && !mla.completes && i % columnsA >= mla.nopeDim ? kNaN : randomBf16());
  for (int64_t row = 0; row < mla.heads * (mla.nopeDim + mla.vDim); ++row) {
    bool isKey = row % (mla.nopeDim + mla.vDim) < mla.nopeDim;
    for (int64_t c = 0; c < latents; ++c)
      kvB.push_back(isKey == isAbsorb ? randomBf16() : kNaN);
  }
  std::uniform_real_distribution<double> angle(0, 6);
  for (int64_t token = 0; token < tokens && mla.completes; ++token) {
    std::vector<float> sines;
    for (int64_t pair = 0; pair < mla.ropeDim / 2; ++pair) {
      double by = angle(random);
      rope.push_back(static_cast<float>(std::cos(by)));
      sines.push_back(static_cast<float>(std::sin(by)));
    }
    rope.insert(rope.end(), sines.begin(), sines.end());
  }
}

std::pair<double, double> ProjectionCase::product(int64_t token, int64_t head, int64_t column) const {
  int64_t firstRow = head * (mla.nopeDim + mla.vDim);
  double sum = 0, squares = 0;
  for (int64_t k = 0; k < config.k; ++k) {
    int64_t row = isAbsorb ? firstRow + k : firstRow + mla.nopeDim + column, latent = isAbsorb ? column : k;
    double term = valueOfA(token, head, k) * fromBf16(kvB[row * latents + latent]);
    sum += term;
    squares += term * term;
  }
  return {sum, 1e-4 * std::sqrt(squares) + 1e-6};
}

std::pair<double, double> ProjectionCase::turned(int64_t token, int64_t head, int64_t number) const {
  int64_t half = mla.ropeDim / 2, pair = mla.interleaved ? number / 2 : number % half;
  bool isFirst = mla.interleaved ? number % 2 == 0 : number < half;
  int64_t first = mla.interleaved ? 2 * pair : pair, second = first + (mla.interleaved ? 1 : half);
  double left = valueOfA(token, head, mla.nopeDim + first), right = valueOfA(token, head, mla.nopeDim + second);
  double cosine = rope[token * mla.ropeDim + pair], sine = rope[token * mla.ropeDim + half + pair];
  double value = isFirst ? left * cosine - right * sine : left * sine + right * cosine;
  return {value, (std::abs(left) + std::abs(right)) * 0x1p-22};
}

std::pair<double, double> ProjectionCase::expected(int64_t token, int64_t head, int64_t column) const {
  int64_t headN = config.n / mla.heads;
  auto [value, tolerance] = column < headN ? product(token, head, column) : turned(token, head, column - headN);
  return {value, tolerance + std::abs(value) * (config.outputType == OutputType::f32 ? 0x1p-23 : 0x1p-8)};
}

std::string ProjectionCase::run(const sim::Module &module, const nvvm::LaunchRecipe &recipe) {
  d.assign(tokens * mla.heads * columnsD * (config.outputType == OutputType::f32 ? 4 : 2), std::byte(0xff));
  std::vector<sim::Buffer> buffers;
  for (const nvvm::Operand &operand : recipe.operands) {
    std::span<std::byte> bytes = operand.name == "a"      ? bytesOf(a)
                                 : operand.name == "b"    ? bytesOf(kvB)
                                 : operand.name == "rope" ? bytesOf(rope)
                                                          : std::span<std::byte>(d);
    buffers.push_back({operand.name, bytes, operand.written});
  }
  sim::Dims dims = {{abi::Dim::M, tokens}, {abi::Dim::Sms, 4}};
  if (std::string findings = runStrictly(module, recipe, dims, buffers, /*threads=*/2); !findings.empty())
    return findings;
  for (int64_t i = 0; i < tokens * mla.heads * columnsD; ++i) {
    int64_t token = i / (mla.heads * columnsD), head = i / columnsD % mla.heads, column = i % columnsD;
    auto [value, tolerance] = expected(token, head, column);
    double got = valueOfD(d, i, config.outputType);
    if (!(std::abs(got - value) <= tolerance))
      return "D[" + std::to_string(token) + ", " + std::to_string(head) + ", " + std::to_string(column) + "] is " +
             std::to_string(got) + ", should be " + std::to_string(value) + " +- " + std::to_string(tolerance);
  }
  return {};
}

class MlaProjections : public testing::TestWithParam<Case> {};

/// ptxas has no complaint, the simulator none either, and the numbers are right.
TEST_P(MlaProjections, Runs) {
  const GemmConfig &config = GetParam().config;
  std::optional<LoadedKernel> kernel = loadKernel(config);
  ASSERT_TRUE(kernel);
  for (int64_t tokens : GetParam().tokens) {
    uint64_t seed = testSeed() + static_cast<uint64_t>(tokens);
    EXPECT_EQ(ProjectionCase(config, tokens, seed).run(*kernel->module, kernel->recipe), "") << tokens << " tokens";
  }
}

/// Heads of DeepSeek-V3: 128 and 64 columns of a query, 128 values, 512 latents.
MlaProjection published(MlaProjection::Kind kind, int64_t heads) {
  return {.kind = kind, .heads = heads, .nopeDim = 128, .ropeDim = 64, .vDim = 128};
}

GemmConfig tiled(GemmConfig config, int64_t blockM, int64_t blockN, void (*adjust)(GemmConfig &) = nullptr) {
  config.blockM = blockM;
  config.blockN = blockN;
  if (adjust)
    adjust(config);
  return config;
}

void f32(GemmConfig &c) { c.outputType = OutputType::f32; }
void swapped(GemmConfig &c) { c.swapAB = true; }
void complete(GemmConfig &c) { c.mla.completes = c.mla.interleaved = true; }
void completeHalves(GemmConfig &c) { c.mla.completes = true; }
void completeF32(GemmConfig &c) { complete(c), f32(c); }

/// One token, fewer than a tile has, tiles that are cut off; an odd number of heads; widths that are nobody's.
std::vector<Case> absorb() {
  auto kind = MlaProjection::Kind::absorb;
  GemmConfig three = mlaGemmConfig(published(kind, 3), 512), one = mlaGemmConfig(published(kind, 1), 512);
  MlaProjection odd = {.kind = kind, .heads = 5, .nopeDim = 64, .ropeDim = 24, .vDim = 72};
  MlaProjection deep = {.kind = kind, .heads = 2, .nopeDim = 448, .ropeDim = 8, .vDim = 8};
  return {{tiled(three, 64, 128, complete), {1, 65}}, {tiled(three, 128, 128, complete), {70, 130}},
          {tiled(three, 128, 256), {1, 3}},           {tiled(one, 256, 64, completeHalves), {40, 257}},
          {tiled(three, 64, 64, f32), {7}},           {tiled(mlaGemmConfig(odd, 192), 64, 64, completeHalves), {1, 61}},
          {tiled(one, 64, 128, completeF32), {33}},   {tiled(mlaGemmConfig(deep, 64), 128, 64, complete), {100}}};
}

std::vector<Case> expand() {
  auto kind = MlaProjection::Kind::expand;
  GemmConfig three = mlaGemmConfig(published(kind, 3), 512);
  MlaProjection odd = {.kind = kind, .heads = 5, .nopeDim = 24, .ropeDim = 8, .vDim = 80};
  auto swappedF32 = [](GemmConfig &c) { swapped(c), f32(c); };
  return {{tiled(three, 8, 64, swapped), {1, 7}},
          {tiled(three, 16, 128, swapped), {17}},
          {tiled(three, 64, 128), {1, 65}},
          {tiled(three, 128, 64, f32), {130}},
          {tiled(three, 64, 128, swappedF32), {70}},
          {tiled(mlaGemmConfig(odd, 64), 64, 80), {1, 61}},
          {tiled(mlaGemmConfig(odd, 192), 128, 16), {100}}};
}

std::string caseName(const testing::TestParamInfo<Case> &info) { return info.param.config.symbolName().substr(14); }

INSTANTIATE_TEST_SUITE_P(Absorb, MlaProjections, testing::ValuesIn(absorb()), caseName);
INSTANTIATE_TEST_SUITE_P(Expand, MlaProjections, testing::ValuesIn(expand()), caseName);

/// A kernel before writes queries and table while this one may have begun: they are not read through the cache that is not
/// coherent.
TEST(MlaProjections, ReadsQueriesCoherently) {
  GemmConfig config = mlaGemmConfig(published(MlaProjection::Kind::absorb, 1), 512);
  complete(config);
  auto kernel = nvvm::compileGemm(config);
  ASSERT_TRUE(kernel) << kernel.error().message;
  EXPECT_NE(kernel->artifact.ptx.find("ld.global"), std::string::npos);
  EXPECT_EQ(kernel->artifact.ptx.find("ld.global.nc"), std::string::npos);
}

/// What is no kernel is refused with the reason.
TEST(MlaProjections, Refuses) {
  auto why = [](MlaProjection mla, int64_t latents, void (*adjust)(GemmConfig &) = nullptr) {
    GemmConfig config = mlaGemmConfig(mla, latents);
    if (adjust)
      adjust(config);
    auto checked = machine::checkGemm(config);
    return checked ? std::string() : checked.error().message;
  };
  MlaProjection absorb = published(MlaProjection::Kind::absorb, 2), expand = published(MlaProjection::Kind::expand, 2);
  EXPECT_EQ(why(absorb, 512), "");
  EXPECT_EQ(why(expand, 512), "");
  EXPECT_NE(why(absorb, 96).find("the latents, 96, must be a multiple of 64"), std::string::npos) << why(absorb, 96);
  EXPECT_NE(why(expand, 96).find("the latents, 96, must be a multiple of 64"), std::string::npos) << why(expand, 96);
  EXPECT_NE(why(absorb, 512, swapped).find("absorb takes no swapAB"), std::string::npos);
  EXPECT_NE(why(expand, 512, [](GemmConfig &c) { c.splitK = 2; }).find("no bias, accumulation, split K"), std::string::npos);
  EXPECT_NE(why(expand, 512, [](GemmConfig &c) { c.blockN = 96; }).find("blockN, 96, must be a multiple of 16 that divides 128"),
            std::string::npos);
  absorb.nopeDim = 96;
  EXPECT_NE(why(absorb, 512).find("nope_dim, 96, must be a multiple of 64"), std::string::npos) << why(absorb, 512);
  expand.vDim = 40;
  EXPECT_NE(why(expand, 512).find("v_dim, 40, must be a multiple of 16"), std::string::npos) << why(expand, 512);
  expand = published(MlaProjection::Kind::expand, 2);
  EXPECT_NE(why(expand, 512, complete).find("only absorb turns queries"), std::string::npos);
}

} // namespace
} // namespace quant::test
