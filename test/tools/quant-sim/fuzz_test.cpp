//===- fuzz_test.cpp - broken PTX never crashes the simulator -------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/quant-sim/ptx/ptx.h"
#include "test/tools/quant-sim/arguments.h"
#include "test/tools/quant-sim/cuda_case.h"
#include "test/tools/quant-sim/gemm_case.h"

#include <gtest/gtest.h>

#include <random>

namespace quant::test {
namespace {

constexpr const char *kKernel = "sm90_fp8_gemm_1d2d_n8_k16_bm128_bn128";

/// Loads and runs it within few steps; whatever comes of that is right, as long as it comes.
void runBroken(const GemmKernel &kernel, const std::string &ptx) {
  sim::Options options;
  options.threads = 1;
  options.maxSteps = 20000;
  GemmResult result = runGemm(kernel, ptx, 5, options, 1);
  if (!result.error.empty())
    EXPECT_NE(result.error.find_first_not_of(' '), std::string::npos);
}

TEST(Fuzz, DeletedLines) {
  GemmKernel kernel(kKernel);
  std::mt19937 random(1);
  std::vector<size_t> starts = {0};
  for (size_t i = 0; i < kernel.ptx.size(); ++i)
    if (kernel.ptx[i] == '\n')
      starts.push_back(i + 1);
  for (int i = 0; i < 150; ++i) {
    size_t line = random() % (starts.size() - 1);
    std::string ptx = kernel.ptx;
    ptx.erase(starts[line], starts[line + 1] - starts[line]);
    runBroken(kernel, ptx);
  }
}

TEST(Fuzz, FlippedBytes) {
  GemmKernel kernel(kKernel);
  std::mt19937 random(2);
  for (int i = 0; i < 300; ++i) {
    std::string ptx = kernel.ptx;
    for (uint32_t n = random() % 3 + 1; n; --n)
      ptx[random() % ptx.size()] ^= static_cast<char>(1 << random() % 8);
    runBroken(kernel, ptx);
  }
}

/// Numbers are where a wrong address, count or size comes from.
TEST(Fuzz, ChangedDigits) {
  GemmKernel kernel(kKernel);
  std::mt19937 random(3);
  for (int i = 0; i < 300; ++i) {
    std::string ptx = kernel.ptx;
    for (int tries = 0, changed = 0; tries < 1000 && changed < 2; ++tries)
      if (char &c = ptx[random() % ptx.size()]; c >= '0' && c <= '9') {
        c = static_cast<char>('0' + random() % 10);
        ++changed;
      }
    runBroken(kernel, ptx);
  }
}

TEST(Fuzz, CutOff) {
  GemmKernel kernel(kKernel);
  for (size_t size = 0; size < kernel.ptx.size(); size += 97)
    runBroken(kernel, kernel.ptx.substr(0, size));
}

/// Runs every kernel of a file with arguments that suit its parameters' sizes.
void runAll(const std::string &ptx) {
  auto module = sim::Module::load(ptx);
  if (!module)
    return;
  std::vector<int> data(2048);
  for (const sim::Function &kernel : (*module)->ptx().functions) {
    sim::Launch launch;
    launch.kernel = kernel.name;
    launch.grid = {4, 2, 1};
    launch.block[0] = 64;
    launch.buffers = {bufferOf(data)};
    addArguments(launch, kernel);
    sim::Options options;
    options.threads = 1;
    options.maxSteps = 2000;
    options.maxBytes = uint64_t(1) << 28;
    auto report = sim::run(**module, launch, options);
    if (!report)
      EXPECT_NE(report.error().message, "");
  }
}

TEST(Fuzz, ClustersAndMechanisms) {
  std::mt19937 random(4);
  for (const char *name : {"cluster_kernels", "mechanism_kernels", "cuda_kernels"}) {
    std::string text = CudaFile(name).ptx;
    runAll(text);
    for (int i = 0; i < 200; ++i) {
      std::string ptx = text;
      for (int changes = 0; changes < 2 + i % 20;)
        if (char &c = ptx[random() % ptx.size()]; c >= '0' && c <= '9') {
          c = static_cast<char>('0' + random() % 10);
          ++changes;
        } else if (random() % 50 == 0) {
          c ^= static_cast<char>(1 << random() % 8);
          ++changes;
        }
      runAll(ptx);
    }
  }
}

/// Deeper than the stack that printing it would take.
TEST(Fuzz, DeepRecipe) {
  std::string deep = std::string(1 << 20, '[') + std::string(1 << 20, ']');
  EXPECT_FALSE(sim::Recipe::parse(deep, ""));
  EXPECT_FALSE(sim::Recipe::parse(R"({"kernel": "k", "block": [1, 1, 1], "cluster": [1, 1, 1], "grid": )" + deep + "}", ""));
}

} // namespace
} // namespace quant::test
