//===- gpu_kernels_test.cpp - which launch of a kernel it is -------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/device/gpu/kernels.h"

#include <gtest/gtest.h>

namespace quant::runtime::test {
namespace {

abi::LaunchRecipe recipe(const std::string &function) {
  abi::LaunchRecipe recipe;
  recipe.kernel = function;
  recipe.grid = abi::Dim::Tokens;
  recipe.rows = abi::Dim::Tokens;
  return recipe;
}

Kernel kernel(const std::vector<KernelVariant> &variants) {
  Kernel kernel;
  kernel.name = "norm";
  kernel.variants = variants;
  return kernel;
}

std::string chosen(const Kernel &kernel, int64_t tokens) {
  abi::Sizes sizes = {{abi::Dim::Tokens, tokens}};
  Result<const abi::LaunchRecipe *> recipe = chooseRecipe(kernel, sizes);
  return recipe ? (*recipe)->kernel + " M=" + std::to_string(*sizes[abi::Dim::M]) : recipe.error().message;
}

TEST(GpuKernels, TakesTheFirstVariantThatFits) {
  Kernel norm = kernel({{1, 8, recipe("small")}, {1, 64, recipe("large")}, {70, 99, recipe("rest")}});
  EXPECT_EQ(chosen(norm, 8), "small M=8");
  EXPECT_EQ(chosen(norm, 9), "large M=9");
  EXPECT_EQ(chosen(norm, 70), "rest M=70");
  EXPECT_EQ(chosen(norm, 65), "the module has no variant of it for so many rows");
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
