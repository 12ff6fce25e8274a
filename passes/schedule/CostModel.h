//===- CostModel.h - which FP8 matmul kernel for a shape and a GPU -*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Predicts the time of one Fp8GemmConfig at one M, and chooses by it. Arithmetic only, on the numbers of dialects/machine: no GPU is
// asked, and equal arguments give equal answers on every machine. docs/gpu-kernels.md shows the formulas, the choices and how they compare with published times.
//
// A tile's K block of 128 takes as long as the slowest of four: the tensor cores, shared memory, the loads from L2, and one
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

#include "dialects/machine/Fp8GemmPlan.h"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace quant::schedule {

using machine::Fp8GemmConfig;
using machine::OutputType;

/// What is to be computed; M is told apart.
struct GemmProblem {
  int64_t n = 0, k = 0;
  OutputType outputType = OutputType::bf16;
  bool bias = false;
  bool accumulate = false;
  /// False keeps K in one piece: then every variant sums in the same order, and D does not depend on which one M selects.
  bool allowSplitK = true;
};

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

/// The time of `config`, which checkFp8Gemm accepts, for M = `m` >= 1. Grows with M and with K.
GemmCost predictCost(const Fp8GemmConfig &config, int64_t m, const machine::Gpu &gpu);

/// Every config of the family for this problem that checkFp8Gemm accepts and that has three stages or more; whatever N and K it
/// accepts at all, there is one.
std::vector<Fp8GemmConfig> candidateConfigs(const GemmProblem &problem, const machine::Gpu &gpu = machine::defaultGpu());

struct RankedConfig {
  Fp8GemmConfig config;
  GemmCost cost;
};

/// The best `count` configs for M = `m`, fastest first; of equally fast ones the simpler. Empty: the problem has no kernel
/// (N is no multiple of 8, say); checkFp8Gemm says why.
std::vector<RankedConfig> rankConfigs(const GemmProblem &problem, int64_t m, const machine::Gpu &gpu, size_t count = 1);

/// One line for people: "224 tiles in 2 waves, 85 % of the SMs busy; shared memory takes 86 % of the time", and before it what
/// asks for swapped operands, a split K or clusters.
std::string explainConfig(const RankedConfig &choice, int64_t m, const machine::Gpu &gpu);

/// The kernel for M in [minM, maxM]. A kernel may serve several ranges: which tile fills the last wave goes up and down with M.
struct GemmVariant {
  int64_t minM = 0, maxM = 0;
  Fp8GemmConfig config;
  /// How much longer it takes than the best config of the same M (0.03: 3 %): on average over the octaves of its range, at worst,
  /// and where that is.
  double meanLoss = 0, worstLoss = 0;
  int64_t worstM = 0;
};

struct VariantOptions {
  int64_t minM = 1;
  /// Where the model stops looking; the last variant is meant for every M beyond.
  int64_t maxM = 8192;
  /// Different kernels of a shape: each costs about a second to assemble and 25 kB.
  size_t maxKernels = 4;
  /// Fewer kernels will do when their loss, as root mean square over the octaves of M, is no more than this.
  double enough = 0.02;
};

/// Ranges in ascending order that cover [minM, maxM] without gap or overlap, with at most `maxKernels` different configs chosen
/// for the least mean square of the loss over the octaves of M. Empty: as rankConfigs.
std::vector<GemmVariant> chooseVariants(const GemmProblem &problem, const machine::Gpu &gpu, const VariantOptions &options = {});

} // namespace quant::schedule

#endif // QUANT_PASSES_SCHEDULE_COSTMODEL_H
