//===- ChooseVariants.h - the best matmul kernels for a range of M -----*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_PASSES_SCHEDULE_CHOOSEVARIANTS_H
#define QUANT_PASSES_SCHEDULE_CHOOSEVARIANTS_H

#include "passes/schedule/CostModel.h"

#include <vector>

namespace quant::schedule {

using machine::OutputType;

/// What is to be computed; M is told apart.
struct GemmProblem {
  int64_t n = 0, k = 0;
  OutputType outputType = OutputType::bf16;
  bool bias = false;
  bool accumulate = false;
  /// False keeps K in one piece: then every variant sums in the same order, and D does not depend on which one M selects.
  bool allowSplitK = true;
  /// As GemmConfig has them; M is then what loadOfGroups says.
  int64_t groups = 0;
  machine::GroupLayout groupLayout = machine::GroupLayout::contiguous;
  int64_t groupAlignment = 1;
  int64_t topK = 0;
  bool swiglu = false;
  bool powerOfTwoScales = false;
  machine::GemmElement element = machine::GemmElement::e4m3;
  bool bf16Scales = false;
  machine::MlaProjection mla = {};

  /// What it asks of every config, with the default tile.
  GemmConfig config() const;
};

/// Every config of the family for this problem that checkGemm accepts and that has three stages or more; whatever N and K it
/// accepts at all, there is one.
std::vector<GemmConfig> candidateConfigs(const GemmProblem &problem, const machine::Gpu &gpu = machine::defaultGpu());

/// The best `count` configs for M = `m`, fastest first; of equally fast ones the simpler. Empty: the problem has no kernel
/// (N is no multiple of 8, say); checkGemm says why.
std::vector<RankedConfig> rankConfigs(const GemmProblem &problem, int64_t m, const machine::Gpu &gpu, size_t count = 1);

/// The kernel for M in [minM, maxM]. A kernel may serve several ranges: which tile fills the last wave goes up and down with M.
struct GemmVariant {
  int64_t minM = 0, maxM = 0;
  GemmConfig config;
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

#endif // QUANT_PASSES_SCHEDULE_CHOOSEVARIANTS_H
