//===- PlanTest.cpp - plan, kernel and recipe say the same -------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "dialects/hopper/Hopper.h"
#include "lowering/target/sm90/Gemm.h"
#include "passes/schedule/ChooseVariants.h"

#include "mlir/Dialect/GPU/IR/GPUDialect.h"
#include "mlir/IR/MLIRContext.h"

#include <gtest/gtest.h>

using namespace mlir;
using namespace quant;
using namespace quant::machine;

namespace quant::schedule {
static void PrintTo(const GemmProblem &problem, std::ostream *out) { *out << problem.n << " x " << problem.k; }
} // namespace quant::schedule

namespace {

class Plan : public testing::TestWithParam<schedule::GemmProblem> {
protected:
  Plan() {
    DialectRegistry registry;
    nvvm::registerNvvmLowering(registry);
    context.appendDialectRegistry(registry);
    context.loadAllAvailableDialects();
  }

  /// Builds the kernel and holds it and its recipe against the plan.
  void check(const GemmConfig &config) {
    SCOPED_TRACE(config.symbolName());
    OwningOpRef<ModuleOp> module = ModuleOp::create(UnknownLoc::get(&context));
    OpBuilder builder(module->getBodyRegion());
    auto gpuModule = gpu::GPUModuleOp::create(builder, module->getLoc(), "kernels");
    auto recipe = nvvm::buildGemm(gpuModule, config, defaultGpu());
    ASSERT_TRUE(recipe) << recipe.error().message;
    auto kernel = *gpuModule.getOps<hopper::KernelOp>().begin();
    auto ring = *kernel.getBody().getOps<hopper::RingOp>().begin();
    GemmPlan plan(config);
    EXPECT_EQ(kernel.getSharedBytes(), plan.sharedBytes);
    EXPECT_EQ(recipe->dynamicSharedBytes, plan.sharedBytes);
    EXPECT_EQ(static_cast<int64_t>(ring.getType().getStages()), plan.stages);
    EXPECT_EQ(ring.getType().getStageBytes(), plan.loadedBytesPerStage());
    EXPECT_EQ(kernel.getThreads(), plan.threads());
    EXPECT_EQ(recipe->block[0], plan.threads());
    EXPECT_EQ(static_cast<int64_t>(kernel.getCluster()), plan.cluster());
  }

  MLIRContext context{MLIRContext::Threading::DISABLED};
};

TEST_P(Plan, IsTheKernelsAndTheRecipes) {
  std::vector<GemmConfig> configs = schedule::candidateConfigs(GetParam());
  ASSERT_FALSE(configs.empty());
  for (GemmConfig config : configs) {
    check(config);
    if (!config.bias && config.splitK == 1) {
      GemmConfig grouped = config;
      grouped.groups = 100;
      check(grouped);
      grouped.groupLayout = GroupLayout::masked;
      check(grouped);
    }
    // The fewest stages that the cost model takes.
    config.stages = 3;
    check(config);
  }
}

TEST_F(Plan, OfTwoWeights) {
  for (int64_t groups : {0, 32})
    for (int64_t blockM : {64, 128})
      for (Multicast multicast : {Multicast::none, Multicast::a, Multicast::b})
        check({.n = 2048, .k = 7168, .blockM = blockM, .multicast = multicast, .groups = groups, .swiglu = true});
}

TEST_F(Plan, OfOtherElements) {
  for (GemmElement element : {GemmElement::i8, GemmElement::bf16})
    for (const GemmConfig &config : schedule::candidateConfigs({.n = 584, .k = 1100, .element = element}))
      if (config.splitK == 1)
        check(config);
}

/// What INT8 and bf16 do not have, each refused in words.
TEST(Elements, Limits) {
  auto why = [](GemmConfig config) { return checkGemm(config) ? std::string() : checkGemm(config).error().message; };
  using enum GemmElement;
  EXPECT_NE(why({.n = 8, .k = 256, .splitK = 2, .element = i8}).find("INT8 takes no split K"), std::string::npos);
  EXPECT_EQ(why({.n = 8, .k = 256, .splitK = 2, .element = bf16}), "");
  EXPECT_NE(why({.n = 8, .k = 131072, .element = i8}).find("at most 131071"), std::string::npos);
  EXPECT_NE(why({.n = 128, .k = 256, .swiglu = true, .element = bf16}).find("swiglu is of f8E4M3FN"), std::string::npos);
  EXPECT_NE(why({.n = 8, .k = 256, .element = bf16, .bf16Scales = true}).find("only scales of an INT8 weight"),
            std::string::npos);
  EXPECT_NE(why({.n = 8, .k = 256, .blockN = 256}).find("16 to 192"), std::string::npos);
  EXPECT_EQ(why({.n = 8, .k = 256, .blockN = 256, .element = i8}), "");
}

constexpr auto f32 = OutputType::f32;
INSTANTIATE_TEST_SUITE_P(Problems, Plan,
                         testing::Values(schedule::GemmProblem{.n = 7168, .k = 2048}, schedule::GemmProblem{.n = 584, .k = 1100},
                                         schedule::GemmProblem{.n = 8, .k = 16},
                                         schedule::GemmProblem{.n = 576, .k = 7168, .outputType = f32, .bias = true},
                                         schedule::GemmProblem{.n = 4096, .k = 512, .accumulate = true}),
                         [](const testing::TestParamInfo<schedule::GemmProblem> &info) {
                           return "n" + std::to_string(info.param.n) + "_k" + std::to_string(info.param.k);
                         });

} // namespace
