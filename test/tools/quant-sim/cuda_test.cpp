//===- cuda_test.cpp - what nvcc makes of everyday CUDA --------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "test/tools/quant-sim/cuda_case.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>

namespace quant::test {
namespace {

/// Runs a kernel of cuda_kernels.cu whose arguments are the buffers, then `last` if it is not 0.
sim::Report runCuda(const char *kernel, uint32_t grid, uint32_t block, std::vector<sim::Buffer> buffers, uint64_t last = 0) {
  sim::Launch launch = launchOf(kernel, block, std::move(buffers));
  launch.grid[0] = grid;
  if (last)
    launch.arguments.push_back(sim::ScalarArgument{last});
  return runLaunch(CudaFile("cuda_kernels"), launch);
}

TEST(Cuda, Reduce) {
  std::vector<float> in(1000), out(1);
  for (size_t i = 0; i < in.size(); ++i)
    in[i] = std::sin(static_cast<float>(i));
  expectClean(runCuda("reduce", 2, 256, {bufferOf(in), bufferOf(out)}, in.size()));
  double sums[2] = {};
  for (size_t i = 0; i < in.size(); ++i)
    sums[i / 256 % 2] += double(in[i]) * in[i];
  EXPECT_NEAR(out[0], 1 / std::sqrt(sums[0] + 1) + 1 / std::sqrt(sums[1] + 1), 1e-6);
}

TEST(Cuda, Diverge) {
  std::vector<int> out(64), value(64);
  uint32_t odd[2] = {};
  for (int t = 0; t < 64; ++t) {
    for (int i = 0; i < t % 7 && value[t] <= 100; ++i)
      value[t] += (i ^ t) & 1 ? i * t : -i;
    odd[t / 32] |= (value[t] & 1u) << (t % 32);
  }
  expectClean(runCuda("diverge", 1, 64, {bufferOf(out)}));
  for (int t = 0; t < 64; ++t) {
    uint32_t all = odd[t / 32];
    int want = t % 5 == 0   ? value[t] ^ 3
               : t % 5 == 1 ? value[t] + static_cast<int>(all)
               : t % 5 == 2 ? std::popcount(all)
                            : value[t] - t;
    EXPECT_EQ(out[t], want) << t;
  }
}

TEST(Cuda, Quantize) {
  std::vector<uint16_t> in(256);
  std::vector<uint8_t> out(256);
  std::vector<float> scales(2);
  for (size_t i = 0; i < in.size(); ++i)
    in[i] = static_cast<uint16_t>(0x3f80 + i); // 1 up to nearly 4.
  expectClean(runCuda("quantize", 2, 128, {bufferOf(in), bufferOf(out), bufferOf(scales)}));
  EXPECT_FLOAT_EQ(scales[0], (2 - 0x1p-7f) / 448);
  EXPECT_EQ(out[127], 0x7e);
  EXPECT_EQ(out[255], 0x7e);
  EXPECT_EQ(out[0], 0x76); // 224.9 -> 224.
}

TEST(Cuda, RaceIsCaught) {
  std::vector<int> out(256);
  sim::Report report = runCuda("race", 1, 256, {bufferOf(out)});
  bool found = false;
  for (const sim::Finding &finding : report.findings)
    found |= finding.kind == sim::FindingKind::Race && finding.instruction.starts_with("ld.shared");
  EXPECT_TRUE(found);
}

/// What the simulator does not know is an error with its line.
TEST(Parser, RefusesWhatItDoesNotKnow) {
  auto load = [](const std::string &body) {
    auto module = sim::Module::load(".version 8.6\n.target sm_90a\n.visible .entry k()\n{\n.reg .b32 %r<3>;\n" + body + "\n}\n");
    return module ? std::string() : module.error().message;
  };
  EXPECT_EQ(load("mov.b32 %r1, 1;"), "");
  EXPECT_EQ(load("frobnicate.b32 %r1, 1;"), "line 6: frobnicate.b32: the simulator does not know this instruction");
  EXPECT_EQ(load("add.frob.s32 %r1, %r1, 1;"), "line 6: add.frob.s32: the simulator does not know .frob here");
  EXPECT_EQ(load("add.s32 %r1, %r9, 1;"), "line 6: add.s32: '%r9' is not declared");
  EXPECT_EQ(load("bra NOWHERE;"), "line 6: bra: there is no label 'NOWHERE'");
  EXPECT_EQ(load("add.s32 %r1, %r2"), "line 7: expected ',' or ';', found '}'");
}

} // namespace
} // namespace quant::test
