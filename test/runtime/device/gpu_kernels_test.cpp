//===- gpu_kernels_test.cpp - which launch of a kernel it is -------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/device/gpu/kernels.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace quant::runtime::test {
namespace {

nlohmann::json recipe(const std::string &function) {
  return {{"kernel", function},
          {"block", {32, 1, 1}},
          {"cluster", {1, 1, 1}},
          {"grid", "tokens"},
          {"dynamic_shared_bytes", 0},
          {"limits", nlohmann::json::object()},
          {"rows", "tokens"},
          {"operands", nlohmann::json::array()},
          {"parameters", nlohmann::json::array()}};
}

Target target(const std::vector<KernelVariant> &variants) {
  Target target;
  target.kernels.push_back({.name = "norm", .operands = {}, .variants = variants, .unsupported = ""});
  return target;
}

std::string chosen(const GpuKernel &kernel, int64_t tokens) {
  abi::Sizes sizes = {{abi::Dim::Tokens, tokens}};
  Result<const LaunchVariant *> variant = kernel.choose(sizes);
  return variant ? (*variant)->recipe.kernel + " M=" + std::to_string(*sizes[abi::Dim::M]) : variant.error().message;
}

TEST(GpuKernels, TakesTheFirstVariantThatFits) {
  Result<std::vector<GpuKernel>> kernels =
      readKernels(target({{1, 8, recipe("small").dump()}, {1, 64, recipe("large").dump()}, {70, 99, recipe("rest").dump()}}));
  ASSERT_TRUE(kernels) << kernels.error().message;
  EXPECT_EQ(chosen(kernels->front(), 8), "small M=8");
  EXPECT_EQ(chosen(kernels->front(), 9), "large M=9");
  EXPECT_EQ(chosen(kernels->front(), 70), "rest M=70");
  EXPECT_EQ(chosen(kernels->front(), 65), "the module has no variant of it for so many rows");
}

TEST(GpuKernels, KnowsWhatFollowsThePosition) {
  nlohmann::json follows = recipe("rope");
  follows["parameters"].push_back({{"kind", "i32"}, {"value", {"+", 1, "position"}}});
  Result<std::vector<GpuKernel>> kernels = readKernels(target({{1, 8, recipe("rope").dump()}, {9, 64, follows.dump()}}));
  ASSERT_TRUE(kernels) << kernels.error().message;
  EXPECT_TRUE(kernels->front().followsPosition);
  EXPECT_FALSE(readKernels(target({{1, 8, recipe("rope").dump()}}))->front().followsPosition);
}

TEST(GpuKernels, RefusesRecipes) {
  Result<std::vector<GpuKernel>> kernels = readKernels(target({{1, 8, R"({"kernel": "norm"})"}}));
  ASSERT_FALSE(kernels);
  EXPECT_TRUE(kernels.error().message.starts_with("kernel 'norm': the recipe is malformed: ")) << kernels.error().message;
}

TEST(GpuKernels, NamesAllThatHaveNoCode) {
  Target lacking = target({});
  lacking.kernels[0].unsupported = "too odd";
  lacking.kernels.push_back({.name = "gate", .operands = {}, .variants = {}, .unsupported = "not today"});
  Result<void> checked = checkKernels(lacking);
  ASSERT_FALSE(checked);
  EXPECT_EQ(checked.error().message, "there is no sm_90a code for norm (too odd); gate (not today)");
}

TEST(GpuKernels, FindsTheOperandsValues) {
  Dispatch dispatch = {.kernel = 0, .grid = {}, .operands = {7, 5, 3}, .label = ""};
  abi::Operand operand = {.name = "b", .dtype = "f32", .written = false, .shape = {}, .from = {2, 0}};
  EXPECT_EQ(*valuesOf(operand, dispatch), (std::vector<int>{3, 7}));
  for (const std::vector<int> &from : {std::vector<int>{}, {3}, {-1}}) {
    operand.from = from;
    EXPECT_EQ(valuesOf(operand, dispatch).error().message,
              "the launch recipe does not say which operand of the dispatch its 'b' is");
  }
}

} // namespace
} // namespace quant::runtime::test
