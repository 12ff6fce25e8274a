//===- GemmTest.cpp - every GEMM of the models, down to a cubin ----------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "lowering/target/sm90/Gemm.h"
#include "test/gpu/GemmShapes.h"

#include "mlir/Dialect/GPU/IR/GPUDialect.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/Verifier.h"

#include <gtest/gtest.h>

#include <cstdio>

using namespace quant;
using namespace quant::machine;
using namespace quant::nvvm;

namespace quant::machine {
static void PrintTo(const GemmConfig &config, std::ostream *out) { *out << config.symbolName(); }
} // namespace quant::machine

namespace {

//===----------------------------------------------------------------------===//
// Every shape
//===----------------------------------------------------------------------===//

class GemmShape : public testing::TestWithParam<GemmConfig> {};

size_t count(const std::string &text, const std::string &what) {
  size_t found = 0;
  for (size_t at = text.find(what); at != std::string::npos; at = text.find(what, at + 1))
    ++found;
  return found;
}

void expectHopperInstructions(const std::string &ptx, const GemmConfig &config) {
  EXPECT_NE(ptx.find(".target sm_90a"), std::string::npos);
  EXPECT_NE(ptx.find(".version 8.0"), std::string::npos) << "older drivers reject newer PTX";
  EXPECT_NE(ptx.find(".entry " + config.symbolName() + "("), std::string::npos);
  std::string wgmma = "wgmma.mma_async.sync.aligned.m64n" + std::to_string(config.blockN) + "k32.f32.e4m3.e4m3";
  size_t matrixInstructions = count(ptx, wgmma);
  EXPECT_GT(matrixInstructions, 0u);
  EXPECT_EQ(matrixInstructions % 4, 0u) << "four of 32 make one K block of 128";
  EXPECT_EQ(count(ptx, "wgmma.commit_group"), matrixInstructions / 4);
  EXPECT_EQ(count(ptx, "cp.async.bulk.tensor.2d.shared::cluster.global") % 3, 0u) << "A, B and the scales of A";
  EXPECT_EQ(count(ptx, "cp.async.bulk.tensor.2d.global.shared::cta"), static_cast<size_t>(config.blockN / 64));
  EXPECT_GT(count(ptx, "mbarrier.try_wait.parity"), 1u);
  EXPECT_GT(count(ptx, "mbarrier.arrive.expect_tx"), 0u);
  EXPECT_EQ(count(ptx, "setmaxnreg"), config.blockM > 64 ? 2u : 0u);
  EXPECT_EQ(count(ptx, "stmatrix.sync.aligned.m8n8.x4"), static_cast<size_t>(config.blockN / 16));
  EXPECT_EQ(count(ptx, "fence.proxy.async.shared::cta"), 1u);
  EXPECT_EQ(count(ptx, ".extern .func"), 0u) << "nothing is left to link";
}

/// LLVM must not move the loads of A's scales out of the span in which the stage belongs to the math warpgroups.
void expectMainLoopOrder(const std::string &ptx) {
  size_t at = ptx.find("wgmma.fence");
  ASSERT_NE(at, std::string::npos);
  size_t wait = ptx.rfind("mbarrier.try_wait.parity", at), scale = ptx.rfind("ld.shared", at);
  EXPECT_LT(wait, scale) << "a scale of A is read before its stage is full";
  for (const char *next :
       {"wgmma.mma_async", "wgmma.commit_group", "wgmma.wait_group", "mbarrier.arrive.shared::cta", "fma.rn.f32"}) {
    size_t found = ptx.find(next, at);
    ASSERT_NE(found, std::string::npos) << next;
    EXPECT_EQ(ptx.substr(at, found - at).find("ld.shared"), std::string::npos) << "a scale of A is read late, before " << next;
    at = found;
  }
}

TEST_P(GemmShape, AssemblesWithoutSpills) {
  const GemmConfig &config = GetParam();
  Result<CompiledKernel> kernel = compileGemm(config);
  ASSERT_TRUE(kernel) << kernel.error().message;
  const GpuArtifact &artifact = kernel->artifact;
  expectHopperInstructions(artifact.ptx, config);
  expectMainLoopOrder(artifact.ptx);
  if (artifact.cubin.empty()) {
    std::fprintf(stderr, "*** NO ptxas FOUND: %s was compiled to PTX but NOT assembled ***\n", config.symbolName().c_str());
    GTEST_SKIP() << "no ptxas";
  }
  EXPECT_EQ(artifact.findings(), std::vector<std::string>()) << artifact.ptxasLog;
  ASSERT_EQ(artifact.usage.size(), 1u);
  const KernelUsage &usage = artifact.usage.front();
  EXPECT_EQ(usage.kernel, config.symbolName());
  // setmaxnreg hands out what the launch allocated: with fewer than 168 the increase to 232 would wait forever.
  if (config.blockM == 128)
    EXPECT_EQ(usage.registers, 168);
  std::printf("%-48s %3lld registers, %lld spilled, %6lld bytes shared, %2lld stages, cubin %zu bytes\n", usage.kernel.c_str(),
              (long long)usage.registers, (long long)(usage.spillStoreBytes + usage.spillLoadBytes),
              (long long)kernel->recipe.dynamicSharedBytes, (long long)kernel->recipe.config.at("stages"), artifact.cubin.size());
}

std::string shapeName(const testing::TestParamInfo<GemmConfig> &info) {
  const GemmConfig &c = info.param;
  return "n" + std::to_string(c.n) + "_k" + std::to_string(c.k) + "_bm" + std::to_string(c.blockM) + "_bn" +
         std::to_string(c.blockN);
}

INSTANTIATE_TEST_SUITE_P(Model, GemmShape, testing::ValuesIn(test::modelShapes()), shapeName);
INSTANTIATE_TEST_SUITE_P(Odd, GemmShape, testing::ValuesIn(test::oddShapes()), shapeName);
INSTANTIATE_TEST_SUITE_P(Tiles, GemmShape, testing::ValuesIn(test::tileShapes()), shapeName);

//===----------------------------------------------------------------------===//
// The builder
//===----------------------------------------------------------------------===//

class GemmBuilder : public testing::Test {
protected:
  GemmBuilder() {
    mlir::DialectRegistry registry;
    registerNvvmLowering(registry);
    context.appendDialectRegistry(registry);
    context.loadAllAvailableDialects();
    module = mlir::ModuleOp::create(mlir::UnknownLoc::get(&context));
    mlir::OpBuilder builder(module->getBodyRegion());
    kernels = mlir::gpu::GPUModuleOp::create(builder, module->getLoc(), "kernels");
  }

  std::string errorOf(const GemmConfig &config) {
    auto result = buildGemm(kernels, config, defaultGpu());
    return result ? "no error" : result.error().message;
  }

  mlir::MLIRContext context{mlir::MLIRContext::Threading::DISABLED};
  mlir::OwningOpRef<mlir::ModuleOp> module;
  mlir::gpu::GPUModuleOp kernels;
};

TEST_F(GemmBuilder, TwoKernelsShareAModule) {
  ASSERT_TRUE(buildGemm(kernels, {256, 256}, defaultGpu()));
  ASSERT_TRUE(buildGemm(kernels, {512, 256}, defaultGpu(), "another"));
  EXPECT_TRUE(mlir::succeeded(mlir::verify(*module)));
  auto ptx = compileToPtx(kernels);
  ASSERT_TRUE(ptx) << ptx.error().message;
  EXPECT_EQ(count(ptx->ptx, ".entry "), 2u);
  EXPECT_EQ(count(ptx->ptx, ".extern .shared"), 1u);
  EXPECT_TRUE(kernels.lookupSymbol("another")) << "compiling leaves the module as it was";
}

TEST_F(GemmBuilder, RefusesWhatTmaCannotAddress) {
  EXPECT_EQ(errorOf({12, 128}),
            "sm90_fp8_gemm_1d2d_n12_k128_bm128_bn128: N must be a positive multiple of 8, since TMA needs rows "
            "of bf16 D that are multiples of 16 bytes");
  EXPECT_EQ(errorOf({128, 100}), "no error") << "rows of A and B have a pitch";
  EXPECT_NE(errorOf({0, 128}).find("N must be"), std::string::npos);
  EXPECT_NE(errorOf({128, -16}).find("K must be"), std::string::npos);
  EXPECT_NE(errorOf({int64_t(1) << 32, 128}).find("at most"), std::string::npos);
}

TEST_F(GemmBuilder, RefusesTilesAndStagesItCannotBuild) {
  EXPECT_NE(errorOf({128, 128, 96, 128}).find("blockM must be 64, 128 or 256"), std::string::npos);
  EXPECT_NE(errorOf({128, 128, 128, 256}).find("blockN must be a multiple of 16 from 16 to 192"), std::string::npos);
  EXPECT_NE(errorOf({128, 128, 256, 144}).find("with blockM = 256 blockN must be at most 128"), std::string::npos);
  EXPECT_NE(errorOf({128, 128, 128, 128, 6}).find("6 stages need"), std::string::npos);
  EXPECT_NE(errorOf({128, 128, 128, 128, -1}).find("stages must not be negative"), std::string::npos);
  EXPECT_EQ(errorOf({128, 128, 128, 128, 1}), "no error");
  EXPECT_EQ(errorOf({128, 128}), "no error");
  EXPECT_NE(errorOf({128, 128}).find("already has a symbol"), std::string::npos);
}

TEST_F(GemmBuilder, RefusesOptionsThatDoNotGoTogether) {
  GemmConfig config = {256, 512};
  config.splitK = 5;
  EXPECT_NE(errorOf(config).find("splitK must be from 1 to the 4 blocks of K"), std::string::npos);
  config.splitK = 4;
  config.swapAB = true;
  config.multicast = Multicast::a;
  config.blockM = 8;
  EXPECT_NE(errorOf(config).find("blockM must be 16 or more"), std::string::npos);
  config.multicast = Multicast::none;
  config.blockM = 24;
  EXPECT_NE(errorOf(config).find("8 or a multiple of 16 up to 128"), std::string::npos);
  config.blockN = 96;
  EXPECT_NE(errorOf(config).find("with swapAB blockN must be 64 or 128"), std::string::npos);
}

TEST_F(GemmBuilder, NamesSayAll) {
  GemmConfig config = {256, 512, 16, 64, 3};
  config.swapAB = config.bias = config.accumulate = true;
  config.splitK = 2;
  config.outputType = OutputType::f32;
  EXPECT_EQ(config.symbolName(), "sm90_fp8_gemm_1d2d_n256_k512_bm16_bn64_st3_swap_sk2_bias_acc_f32");
}

} // namespace
