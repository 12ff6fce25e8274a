//===- CostModel.cpp - the time of a matmul kernel, predicted ----------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "passes/schedule/CostModel.h"

#include "passes/schedule/BlockCycles.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdio>
#include <iterator>

namespace quant::schedule {

using machine::ceilDiv;
using machine::GemmPlan;
using machine::Gpu;
using machine::kBlockBytes;
using machine::Multicast;

//===----------------------------------------------------------------------===//
// The kernel's constants
//===----------------------------------------------------------------------===//

/// SASS instructions of a warpgroup per K block beside the promotion's multiply-adds: barriers, scales, descriptors, loop.
static constexpr double kLoopInstructions = 45;
/// Cycles of an epilogue beside its stores: the wait for the store before, barriers, the next tile's coordinates.
static constexpr double kEpilogueCycles = 500;
/// A split tile's last part waits for the others' sums to be visible.
static constexpr double kReductionSeconds = 1.2e-6;
/// Clusters start later, and their blocks wait for each other: DeepGEMM makes none where there is but one wave.
static constexpr double kClusterSeconds = 0.5e-6;

/// Groups of rows: waiting for the kernels before, reading the counts and scanning them comes before the first load. A guess from
/// a read of L2 that nothing hides (0.3 us), a scan and two barriers.
static constexpr double kScanSeconds = 0.6e-6;
/// Cycles of a step of the bisection that finds a tile's group: a read of shared memory and its use.
static constexpr double kBisectionCycles = 35;

std::string_view costLimitName(CostLimit limit) {
  static constexpr std::string_view kNames[] = {"the tensor cores",    "shared memory", "L2",
                                                "a warpgroup's chain", "HBM",           "the launch"};
  return kNames[static_cast<size_t>(limit)];
}

//===----------------------------------------------------------------------===//
// Prediction
//===----------------------------------------------------------------------===//

namespace {

/// A plan at one M, spread over the multiprocessors.
struct Work {
  Work(const GemmPlan &plan, int64_t m, const Gpu &gpu);

  /// Groups that have rows (1 without groups), the rows of each, and the rows of tiles of each.
  GroupLoad load;
  int64_t tilesM, kBlocks;
  int64_t units, waves;
  /// Multiprocessors at work in an average wave.
  double active;
};

Work::Work(const GemmPlan &plan, int64_t m, const Gpu &gpu) {
  // A cluster takes all its tiles, even those that lie beyond the edge.
  load = loadOfGroups(plan.config, m);
  tilesM = plan.paddedTilesM(load.rows);
  kBlocks = ceilDiv(plan.kBlocks(), plan.config.splitK);
  units = load.groups * tilesM * plan.paddedTilesN() * plan.config.splitK;
  int64_t usable = gpu.sms / plan.cluster() * plan.cluster();
  waves = ceilDiv(units, usable);
  active = static_cast<double>(units) / static_cast<double>(waves);
}

} // namespace

static BlockCycles cyclesPerBlock(const GemmPlan &plan, const Work &work, const Gpu &gpu) {
  BlockCycles cycles;
  int64_t columns = plan.wgmmaN(), rows = plan.arch.wgmmaRows;
  int64_t weights = plan.config.weights();
  // Per byte of K, elements of two bytes run as fast as those of one.
  cycles.tensor = 2 * static_cast<double>(weights * plan.wgmmaM() * columns * kBlockBytes) / gpu.tensorFlopsPerCycle;

  // TMA writes a stage once; each wgmma reads its 64 rows and all columns.
  auto stageBytes = static_cast<double>(plan.loadedBytesPerStage());
  auto wgmmaBytes = static_cast<double>((rows + columns) * kBlockBytes);
  cycles.shared = (stageBytes + static_cast<double>(weights * plan.slices()) * wgmmaBytes) / gpu.sharedBytesPerCycle;

  auto loaded = static_cast<double>((plan.boxRowsA() + weights * plan.boxRowsB()) * kBlockBytes);
  // What is under way at a time, over how long a byte is under way.
  double inFlight = static_cast<double>(plan.stages) * stageBytes / (gpu.loadLatencySeconds * gpu.clockHz);
  cycles.l2 = loaded / std::min({gpu.loadBytesPerCycle, gpu.l2BytesPerCycle / work.active, inFlight});

  // One warpgroup waits, multiplies, promotes (an FMA per accumulator, with swapAB also a scale per column), arrives.
  double accumulators = static_cast<double>(rows * columns) / static_cast<double>(plan.arch.warpgroupThreads());
  // Without promotion it only multiplies.
  if (!plan.config.isFp8())
    accumulators = 0;
  double perColumn = plan.config.swapAB && plan.config.isFp8() ? 0.375 * static_cast<double>(columns) : 0;
  double multiply = std::max(2.0 * static_cast<double>(rows * columns * kBlockBytes) / gpu.tensorFlopsPerCycle,
                             wgmmaBytes / gpu.sharedBytesPerCycle);
  double slice = multiply + kWgmmaLatency + accumulators + perColumn + kLoopInstructions;
  cycles.chain = static_cast<double>(plan.productsPerWarpgroup()) * slice + kBarrierLatency;
  return cycles;
}

GroupLoad loadOfGroups(const GemmConfig &config, int64_t m) {
  if (!config.groups)
    return {1, m};
  if (!config.topK)
    return {config.groups, m};
  auto groups = static_cast<double>(config.groups);
  double missed = std::max(0.0, 1 - static_cast<double>(config.topK) / groups);
  auto busy = std::max<int64_t>(1, std::llround(groups * (1 - std::pow(missed, static_cast<double>(m)))));
  return {busy, ceilDiv(m * config.topK, busy)};
}

static double epilogueCycles(const GemmPlan &plan) {
  // A part of a split K leaves as f32; accumulation reads what it adds to.
  const GemmConfig &config = plan.config;
  int64_t bytes = config.splitK > 1 ? 4 : plan.bytesOfD() * (config.accumulate ? 2 : 1);
  auto steps = static_cast<double>(std::bit_width(static_cast<uint64_t>(std::max<int64_t>(config.groups - 1, 0))));
  return kEpilogueCycles + kBisectionCycles * steps +
         static_cast<double>(config.blockM * config.blockN * bytes) / kStoreBytesPerCycle;
}

/// Bytes of HBM, of each group: every operand once; the side that is walked inside a group of tile rows again for each group, if
/// L2 cannot keep it.
static double hbmBytes(const GemmPlan &plan, const Work &work, const Gpu &gpu) {
  const GemmConfig &config = plan.config;
  int64_t rows = work.load.rows;
  auto rowBytes = static_cast<double>(config.k * config.elementBytes());
  double bytesA = static_cast<double>(rows * std::max<int64_t>(config.mla.heads, 1)) * rowBytes,
         bytesB = static_cast<double>(plan.rowsB()) * rowBytes;
  double scales = config.isFp8() ? static_cast<double>(plan.kBlocks()) * static_cast<double>(rows + plan.scaleRowsB())
                  : config.element == machine::GemmElement::i8 ? static_cast<double>(rows + plan.rowsB())
                                                               : 0.0;
  auto bytesD = static_cast<double>(rows * plan.columnsD() * plan.bytesOfD() * (config.accumulate ? 2 : 1));
  double again =
      bytesB > static_cast<double>(gpu.l2Bytes) / 2 ? static_cast<double>(ceilDiv(work.tilesM, plan.tilesPerGroup) - 1) : 0;
  return static_cast<double>(work.load.groups) * (bytesA + bytesB * (1 + again) + sizeof(float) * scales + bytesD);
}

static double reductionSeconds(const GemmConfig &config, const Gpu &gpu) {
  if (config.splitK == 1)
    return 0;
  double partial = static_cast<double>(config.blockM * config.blockN) * sizeof(float);
  return kReductionSeconds + static_cast<double>(config.splitK) * partial / (gpu.loadBytesPerCycle * gpu.clockHz);
}

GemmCost predictCost(const GemmConfig &config, int64_t m, const Gpu &gpu) {
  GemmPlan plan(config, gpu);
  Work work(plan, m, gpu);
  BlockCycles cycles = cyclesPerBlock(plan, work, gpu);
  GemmCost cost;
  cost.units = work.units;
  cost.waves = work.waves;
  double blocks = static_cast<double>(work.waves * work.kBlocks) / gpu.clockHz;
  cost.tensor = blocks * cycles.tensor;
  cost.shared = blocks * cycles.shared;
  cost.l2 = blocks * cycles.l2;
  cost.chain = blocks * cycles.chain;
  cost.epilogue = static_cast<double>(work.waves) * epilogueCycles(plan) / gpu.clockHz;
  cost.main = blocks * cycles.largest() + cost.epilogue;
  cost.waveIdle = cost.main * (1 - work.active / static_cast<double>(gpu.sms));
  cost.hbmBytes = hbmBytes(plan, work, gpu);
  cost.hbm = cost.hbmBytes / (gpu.hbmBytesPerSecond * gpu.hbmEfficiency);
  cost.reduction = reductionSeconds(config, gpu);
  cost.launch = gpu.launchSeconds + (plan.cluster() > 1 ? kClusterSeconds : 0) + (config.groups ? kScanSeconds : 0);
  cost.flops = 2.0 * static_cast<double>(work.load.groups * work.load.rows) * static_cast<double>(plan.rowsB()) *
               static_cast<double>(config.k);
  double longer = std::max(cost.main, cost.hbm);
  cost.limit = longer < cost.launch ? CostLimit::launch : cost.hbm > cost.main ? CostLimit::hbm : cycles.limit();
  cost.seconds = cost.launch + longer + kNotHidden * std::min(cost.main, cost.hbm) + cost.reduction;
  return cost;
}

//===----------------------------------------------------------------------===//
// Words
//===----------------------------------------------------------------------===//

static std::string number(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.0f", value);
  return text;
}

/// Why this order of operands, this split, this cluster.
static std::string whyThisForm(const GemmConfig &config, int64_t m, const Gpu &gpu) {
  std::string why;
  int64_t tiles = ceilDiv(m, config.blockM) * ceilDiv(config.n, config.blockN);
  if (config.groups) {
    GroupLoad load = loadOfGroups(config, m);
    why += std::to_string(load.groups) + " groups of " + std::to_string(load.rows) + " rows; ";
  }
  if (config.swapAB)
    why += "the weight on wgmma's 64 rows and M in steps of " + std::to_string(config.blockM) + "; ";
  if (config.splitK > 1)
    why += "K in " + std::to_string(config.splitK) + " parts, as " + std::to_string(tiles) + " tiles " +
           (tiles < gpu.sms ? "leave " + std::to_string(gpu.sms - tiles) + " SMs idle" : "fill their last wave worse") + "; ";
  if (config.multicast != Multicast::none)
    why += std::string("pairs of blocks share ") + (config.multicast == Multicast::a ? "A" : "B") + " to spare L2; ";
  return why;
}

std::string explainConfig(const RankedConfig &choice, int64_t m, const Gpu &gpu) {
  const GemmCost &cost = choice.cost;
  std::string units = std::to_string(cost.units) + (choice.config.splitK > 1 ? " parts" : " tiles");
  std::string waves = cost.waves == 1 ? "1 wave" : std::to_string(cost.waves) + " waves";
  double busy = 100 * (1 - cost.waveIdle / cost.main);
  double bound = cost.limit == CostLimit::launch ? cost.launch : cost.limit == CostLimit::hbm ? cost.hbm : cost.main;
  return whyThisForm(choice.config, m, gpu) + units + " in " + waves + ", " + number(busy) + " % of the SMs busy; " +
         std::string(costLimitName(cost.limit)) + " takes " + number(100 * bound / cost.seconds) + " % of the time";
}

} // namespace quant::schedule
