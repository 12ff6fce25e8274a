//===- MlaDecodeTest.cpp - what ptxas makes of attention ------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "lowering/target/sm90/MlaDecode.h"

#include <gtest/gtest.h>

#include <cinttypes>
#include <cstdio>

using namespace quant;
using namespace quant::machine;
using namespace quant::nvvm;

namespace {

/// nvcc 13.0's for FlashMLA's kernel, which has no warpgroup that loads.
constexpr int64_t kRegistersOfFlashMla = 245;
/// What the math warpgroups would get by with, of their 240.
constexpr int64_t kEnoughRegisters = 208;

void replace(std::string &text, const std::string &from, const std::string &to) {
  size_t at = text.find(from);
  ASSERT_NE(at, std::string::npos) << from;
  text.replace(at, from.size(), to);
}

/// Neither spills nor local memory nor wgmmas in series, also with far fewer registers than there are.
TEST(MlaDecode, FitsIntoItsRegisters) {
  for (const MlaDecodeConfig &config : {MlaDecodeConfig{.heads = 128, .pages = 2560}, MlaDecodeConfig{.heads = 16, .pages = 2560},
                                        MlaDecodeConfig{.heads = 128, .pages = 2560, .splits = 64}}) {
    auto kernel = compileMlaDecode(config);
    ASSERT_TRUE(kernel) << kernel.error().message;
    EXPECT_EQ(kernel->artifact.findings(), std::vector<std::string>()) << kernel->artifact.ptxasLog;
    if (kernel->artifact.cubin.empty())
      GTEST_SKIP() << "*** NO ptxas FOUND: registers were not counted ***";
    std::string ptx = kernel->artifact.ptx;
    replace(ptx, "setmaxnreg.inc.sync.aligned.u32 \t240",
            "setmaxnreg.inc.sync.aligned.u32 \t" + std::to_string(kEnoughRegisters));
    replace(ptx, "setmaxnreg.dec.sync.aligned.u32 \t24", "setmaxnreg.dec.sync.aligned.u32 \t88");
    auto narrow = assemble(ptx);
    ASSERT_TRUE(narrow) << narrow.error().message;
    EXPECT_EQ(narrow->findings(), std::vector<std::string>()) << narrow->ptxasLog;
    std::printf("%s: %" PRId64 " registers at launch, at most %" PRId64 " in math, FlashMLA: %" PRId64 "; %" PRId64
                " bytes of shared memory\n",
                config.symbolName().c_str(), kernel->artifact.usage.at(0).registers, kEnoughRegisters, kRegistersOfFlashMla,
                kernel->recipe.dynamicSharedBytes);
  }
}

} // namespace
