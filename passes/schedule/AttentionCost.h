//===- AttentionCost.h - the time of attention on tensor cores, predicted -*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// As CostModel.h: a block of 64 keys takes as long as the slowest of the tensor cores, shared memory, the loads from L2 and one
// warpgroup's chain of products and softmax; blocks and an epilogue make a tile's part of the keys, those go to the
// multiprocessors in waves, and the whole is not faster than HBM. No time of this kernel has been measured, and none of its
// constants fitted.
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_PASSES_SCHEDULE_ATTENTIONCOST_H
#define QUANT_PASSES_SCHEDULE_ATTENTIONCOST_H

#include "dialects/machine/MlaDecodePlan.h"
#include "passes/schedule/CostModel.h"

namespace quant::schedule {

/// A prediction and its parts, in seconds.
struct MlaDecodeCost {
  double seconds = 0;
  double launch = 0;
  /// The busiest multiprocessor's blocks of keys at each of the four limits alone.
  double tensor = 0, shared = 0, l2 = 0, chain = 0;
  /// What comes before a part's first block is there and after its last one.
  double epilogue = 0;
  /// Blocks at the largest of the four, and epilogues.
  double main = 0;
  /// Queries, keys and results once through HBM.
  double hbm = 0;
  /// The launch that merges the parts.
  double combine = 0;
  CostLimit limit = CostLimit::launch;

  /// Parts of tiles, and how many times they fill the GPU.
  int64_t units = 0, waves = 0;
};

/// The time of `config`, which checkMlaDecode accepts, for `tokens` >= 1 of as many sequences, each with `keys` >= 1.
MlaDecodeCost predictMlaDecode(const machine::MlaDecodeConfig &config, int64_t tokens, int64_t keys, const machine::Gpu &gpu);

/// In how many parts the keys are best cut.
int64_t chooseKeySplits(machine::MlaDecodeConfig config, int64_t tokens, int64_t keys, const machine::Gpu &gpu);

} // namespace quant::schedule

#endif // QUANT_PASSES_SCHEDULE_ATTENTIONCOST_H
