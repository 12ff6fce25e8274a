//===- AttentionCost.cpp - the time of attention on tensor cores, predicted -===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "passes/schedule/AttentionCost.h"

#include "passes/schedule/BlockCycles.h"

#include <algorithm>

namespace quant::schedule {

using machine::ceilDiv;
using machine::Gpu;
using machine::MlaDecodeConfig;

static constexpr int64_t kRows = machine::kSm90a.wgmmaRows, kBlock = MlaDecodeConfig::kBlock,
                         kColumns = MlaDecodeConfig::kColumns, kLatent = MlaDecodeConfig::kLatent, kWarpgroups = 2,
                         kBf16Bytes = 2, kF32Bytes = 4, kStages = 2;
/// K of one bf16 wgmma, in elements and in bytes.
static constexpr int64_t kStepK = 16, kStepBytes = kStepK * kBf16Bytes;
static constexpr int64_t kBlockBytes = kBlock * kColumns * kBf16Bytes;

/// Instructions of a warp between the two products: per score a scale, a mask, a maximum, a difference, a power and a sum, half a
/// conversion; the rescaling of 128 values; shuffles and what is left. Counted from the PTX.
static constexpr double kSoftmaxInstructions = 32 * 6.5 + 128 + 80;
/// Cycles of a tile beside its stores: coordinates, barriers, the merging of lanes.
static constexpr double kEpilogueCycles = 500;

static BlockCycles cyclesPerBlock(double active, const Gpu &gpu) {
  // bf16 runs at half the rate of e4m3. Both warpgroups multiply queries by keys, each half of the values by the weights.
  double flopsPerCycle = gpu.tensorFlopsPerCycle / 2;
  constexpr int64_t kScoreSteps = kColumns / kStepK, kValueSteps = kBlock / kStepK, kValueColumns = kLatent / kWarpgroups;
  double scores = 2.0 * kRows * kBlock * kColumns / flopsPerCycle, values = 2.0 * kRows * kBlock * kValueColumns / flopsPerCycle;
  // Queries and keys are read from shared memory, weights stand in registers.
  double scoreReads = kScoreSteps * (kRows + kBlock) * kStepBytes / gpu.sharedBytesPerCycle,
         valueReads = kValueSteps * kValueColumns * kStepBytes / gpu.sharedBytesPerCycle;
  BlockCycles cycles;
  cycles.tensor = kWarpgroups * (scores + values);
  cycles.shared = kWarpgroups * (scoreReads + valueReads) + kBlockBytes / gpu.sharedBytesPerCycle;
  double inFlight = kStages * kBlockBytes / (gpu.loadLatencySeconds * gpu.clockHz);
  cycles.l2 = kBlockBytes / std::min({gpu.loadBytesPerCycle, gpu.l2BytesPerCycle / active, inFlight});
  cycles.chain =
      std::max(scores, scoreReads) + kSoftmaxInstructions + std::max(values, valueReads) + 2 * kWgmmaLatency + kBarrierLatency;
  return cycles;
}

/// Each token's keys once: two tiles of one token read them side by side.
static double hbmBytes(const MlaDecodeConfig &config, int64_t tokens, int64_t keys) {
  int64_t resultBytes = config.splits > 1 ? config.splits * kF32Bytes : kBf16Bytes;
  auto perToken =
      static_cast<double>(keys * kColumns * kBf16Bytes + config.heads * (kColumns * kBf16Bytes + kLatent * resultBytes));
  return static_cast<double>(tokens) * perToken;
}

/// Parts are written a moment before and come from L2.
static double combineSeconds(const MlaDecodeConfig &config, int64_t tokens, const Gpu &gpu) {
  if (config.splits == 1)
    return 0;
  auto bytes = static_cast<double>(config.splits * tokens * config.heads * kLatent * kF32Bytes);
  return gpu.launchSeconds + bytes / (gpu.l2BytesPerCycle * gpu.clockHz);
}

MlaDecodeCost predictMlaDecode(const MlaDecodeConfig &config, int64_t tokens, int64_t keys, const Gpu &gpu) {
  MlaDecodeCost cost;
  cost.units = tokens * config.tilesOfToken() * config.splits;
  cost.waves = ceilDiv(cost.units, gpu.sms);
  BlockCycles cycles = cyclesPerBlock(static_cast<double>(cost.units) / static_cast<double>(cost.waves), gpu);
  int64_t blocks = ceilDiv(ceilDiv(keys, kBlock), config.splits);
  double seconds = static_cast<double>(cost.waves * blocks) / gpu.clockHz;
  cost.tensor = seconds * cycles.tensor;
  cost.shared = seconds * cycles.shared;
  cost.l2 = seconds * cycles.l2;
  cost.chain = seconds * cycles.chain;
  // Before the first product the page's number is read, then the keys; stores come last.
  int64_t rows = std::min(config.heads, kRows), bytes = rows * kLatent * (config.splits > 1 ? kF32Bytes : kBf16Bytes);
  double alone = 2 * gpu.loadLatencySeconds + (kEpilogueCycles + static_cast<double>(bytes) / kStoreBytesPerCycle) / gpu.clockHz;
  cost.epilogue = static_cast<double>(cost.waves) * alone;
  cost.main = seconds * cycles.largest() + cost.epilogue;
  cost.hbm = hbmBytes(config, tokens, keys) / (gpu.hbmBytesPerSecond * gpu.hbmEfficiency);
  cost.combine = combineSeconds(config, tokens, gpu);
  cost.launch = gpu.launchSeconds;
  double longer = std::max(cost.main, cost.hbm);
  cost.limit = longer < cost.launch ? CostLimit::launch : cost.hbm > cost.main ? CostLimit::hbm : cycles.limit();
  cost.seconds = cost.launch + longer + kNotHidden * std::min(cost.main, cost.hbm) + cost.combine;
  return cost;
}

int64_t chooseKeySplits(MlaDecodeConfig config, int64_t tokens, int64_t keys, const Gpu &gpu) {
  int64_t best = 1;
  double least = 0;
  for (int64_t splits = 1; splits <= std::min(machine::kMaxKeySplits, ceilDiv(keys, kBlock)); ++splits) {
    config.splits = splits;
    double seconds = predictMlaDecode(config, tokens, keys, gpu).seconds;
    if (splits == 1 || seconds < least) {
      best = splits;
      least = seconds;
    }
  }
  return best;
}

} // namespace quant::schedule
