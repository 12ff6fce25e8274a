//===- PlanTest.cpp - plan, kernel and recipe say the same -------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "dialects/hopper/Hopper.h"
#include "lowering/target/sm90/Fp8Gemm.h"
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
  void check(const Fp8GemmConfig &config) {
    SCOPED_TRACE(config.symbolName());
    OwningOpRef<ModuleOp> module = ModuleOp::create(UnknownLoc::get(&context));
    OpBuilder builder(module->getBodyRegion());
    auto gpuModule = gpu::GPUModuleOp::create(builder, module->getLoc(), "kernels");
    auto recipe = nvvm::buildFp8Gemm(gpuModule, config, defaultGpu());
    ASSERT_TRUE(recipe) << recipe.error().message;
    auto kernel = *gpuModule.getOps<hopper::KernelOp>().begin();
    auto ring = *kernel.getBody().getOps<hopper::RingOp>().begin();
    Fp8GemmPlan plan(config);
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
  std::vector<Fp8GemmConfig> configs = schedule::candidateConfigs(GetParam());
  ASSERT_FALSE(configs.empty());
  for (Fp8GemmConfig config : configs) {
    check(config);
    if (!config.bias && config.splitK == 1) {
      Fp8GemmConfig grouped = config;
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
