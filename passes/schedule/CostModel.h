//===- CostModel.h - the time of a matmul kernel, predicted -------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Predicts the time of one GemmConfig at one M; ChooseVariants.h chooses by it. Arithmetic only, on the numbers of
// dialects/machine: no GPU is asked, and equal arguments give equal answers on every machine. docs/gpu-kernels.md shows the
// formulas, the choices and how they compare with published times.
//
// A tile's K block of 128 bytes takes as long as the slowest of four: the tensor cores, shared memory, the loads from L2, and one
// warpgroup's own chain of wgmma, promotion and barriers. K blocks and an epilogue make a tile, tiles go to the multiprocessors
// in waves, and the whole is not faster than HBM:
//
//   seconds = launch + max(main, hbm) + 0.1 min(main, hbm) + reduction
//   main    = waves * (ceil(K / 128 / splitK) * max(tensor, shared, l2, chain) + epilogue) / clock
//
// The method's sources:
// - DeepGEMM, csrc/jit_kernels/heuristics/sm90.hpp (github.com/deepseek-ai/DeepGEMM, commit 54e2261): bytes through shared memory
//   and L2 per tile over their bytes per cycle, divided by the waves' efficiency.
// - Williams, Waterman, Patterson, "Roofline", CACM 52(4), 2009: bytes of HBM and operations as two limits.
// - Osama et al., "Stream-K", PPoPP 2023: waves that are not full, and what a split of K costs to sum up.
// - Luo et al., "Dissecting the NVIDIA Hopper Architecture", arXiv:2501.12084: wgmma's rate by N with operands in shared memory.
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_PASSES_SCHEDULE_COSTMODEL_H
#define QUANT_PASSES_SCHEDULE_COSTMODEL_H

#include "dialects/machine/GemmPlan.h"

#include <cstdint>
#include <string>
#include <string_view>

namespace quant::schedule {

using machine::GemmConfig;

/// What bounds a kernel's time.
enum class CostLimit { tensor, shared, l2, chain, hbm, launch };
std::string_view costLimitName(CostLimit limit);

/// A prediction and its parts, in seconds.
struct GemmCost {
  double seconds = 0;
  double launch = 0;
  /// The busiest multiprocessor's tiles: their main loops at each of the four limits alone, and their epilogues.
  double tensor = 0, shared = 0, l2 = 0, chain = 0, epilogue = 0;
  /// Main loops and epilogues, at the largest of the four.
  double main = 0;
  /// The part of `main` in which a multiprocessor idles on average because the last wave is not full.
  double waveIdle = 0;
  /// Each operand once through HBM, and again where L2 cannot hold it.
  double hbm = 0;
  /// Summing up the parts of a split K.
  double reduction = 0;
  CostLimit limit = CostLimit::launch;

  /// Work units (tiles of D times splitK), and how many times they fill the GPU.
  int64_t units = 0, waves = 0;
  /// Bytes of HBM, and operations of the product itself: 2 M N K.
  double hbmBytes = 0, flops = 0;
};

/// The groups of a config that have rows, and the rows of each, at an M. Tokens (GemmConfig::topK) are taken to choose their
/// groups at random, alike and independently: of G groups G (1 - (1 - k / G)^M) have rows. Otherwise M is the rows of each group.
struct GroupLoad {
  int64_t groups = 1, rows = 0;
};
GroupLoad loadOfGroups(const GemmConfig &config, int64_t m);

/// The time of `config`, which checkGemm accepts, for M = `m` >= 1; of groups as loadOfGroups has it. Grows with M and with K.
GemmCost predictCost(const GemmConfig &config, int64_t m, const machine::Gpu &gpu);

/// A config and what it costs at the M that is at hand.
struct RankedConfig {
  GemmConfig config;
  GemmCost cost;
};

/// One line for people: "224 tiles in 2 waves, 85 % of the SMs busy; shared memory takes 86 % of the time", and before it what
/// asks for swapped operands, a split K or clusters.
std::string explainConfig(const RankedConfig &choice, int64_t m, const machine::Gpu &gpu);

} // namespace quant::schedule

#endif // QUANT_PASSES_SCHEDULE_COSTMODEL_H
