//===- AttentionCostTest.cpp - what predictions of attention must always be --===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "passes/schedule/AttentionCost.h"

#include <gtest/gtest.h>

using namespace quant;
using namespace quant::machine;
using namespace quant::schedule;

namespace {

Gpu h200() { return *findGpu("h200"); }

MlaDecodeConfig heads(int64_t count, int64_t splits = 1) { return {.heads = count, .pages = 2560, .splits = splits}; }

double seconds(int64_t count, int64_t tokens, int64_t keys, int64_t splits = 1) {
  return predictMlaDecode(heads(count, splits), tokens, keys, h200()).seconds;
}

TEST(AttentionCost, GrowsWithTokensAndKeys) {
  for (int64_t count : {16, 64, 128})
    for (int64_t tokens : {1, 8, 132, 500})
      for (int64_t keys : {64, 1000, 4096, 32768}) {
        EXPECT_LE(seconds(count, tokens, keys), seconds(count, tokens, 2 * keys));
        EXPECT_LE(seconds(count, tokens, keys), seconds(count, 2 * tokens, keys));
        EXPECT_LE(seconds(count, tokens, keys), seconds(2 * count, tokens, keys));
      }
}

/// Two warpgroups' products of a block, worked out by hand: (2 x 36 x 32 + 2 x 4 x 128) cycles.
TEST(AttentionCost, CyclesOfABlock) {
  Gpu gpu = h200();
  MlaDecodeCost one = predictMlaDecode(heads(64), 1, 64, gpu), many = predictMlaDecode(heads(64), 1, 64 * 11, gpu);
  EXPECT_NEAR((many.tensor - one.tensor) * gpu.clockHz / 10, 3328, 1);
  EXPECT_NEAR((many.shared - one.shared) * gpu.clockHz / 10, 3392, 1);
}

/// Never faster than the keys come through HBM at the data sheet's rate.
TEST(AttentionCost, IsNotBelowTheRoofline) {
  for (int64_t tokens : {1, 32, 128})
    for (int64_t keys : {1024, 4096, 32768})
      EXPECT_GT(seconds(128, tokens, keys), static_cast<double>(tokens * keys) * 1152 / 4.8e12);
}

TEST(AttentionCost, SplitsWhereMultiprocessorsWouldIdle) {
  Gpu gpu = h200();
  // Of one sequence's 512 blocks all are computed side by side, or nearly so.
  int64_t alone = chooseKeySplits(heads(128), 1, 32768, gpu);
  EXPECT_GT(alone, 16);
  EXPECT_LT(seconds(128, 1, 32768, alone), seconds(128, 1, 32768) / 10);
  EXPECT_EQ(chooseKeySplits(heads(64), 132, 4096, gpu), 1);
  // There is nothing to split in a page.
  EXPECT_EQ(chooseKeySplits(heads(64), 1, 64, gpu), 1);
  EXPECT_EQ(predictMlaDecode(heads(64), 1, 4096, gpu).combine, 0);
  EXPECT_GT(predictMlaDecode(heads(64, 8), 1, 4096, gpu).combine, 0);
}

} // namespace
