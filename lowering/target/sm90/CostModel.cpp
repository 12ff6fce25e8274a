//===- CostModel.cpp - the time of an FP8 matmul kernel, predicted -----------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "lowering/target/sm90/CostModel.h"

#include <algorithm>
#include <cstdio>
#include <iterator>

namespace quant::nvvm {

//===----------------------------------------------------------------------===//
// The kernel's constants
//===----------------------------------------------------------------------===//

static constexpr int64_t kBlockOfK = 128;
/// Rows of one wgmma, hence of one step of one warpgroup.
static constexpr int64_t kWgmmaRows = 64;
/// SASS instructions of a warpgroup per K block beside the promotion's multiply-adds: barriers, scales, descriptors, loop.
static constexpr double kLoopInstructions = 45;
/// Cycles from wgmma's last operation to its wait's return, and of the two barriers of a stage.
static constexpr double kWgmmaLatency = 60, kBarrierLatency = 40;
/// Cycles of an epilogue beside its stores: the wait for the store before, barriers, the next tile's coordinates.
static constexpr double kEpilogueCycles = 500;
/// Bytes a cycle from registers through shared memory to L2.
static constexpr double kStoreBytesPerCycle = 32;
/// The share of the shorter of main loop and HBM that does not hide behind the longer.
static constexpr double kNotHidden = 0.1;
/// A split tile's last part waits for the others' sums to be visible.
static constexpr double kReductionSeconds = 1.2e-6;
/// Clusters start later, and their blocks wait for each other: DeepGEMM makes none where there is but one wave.
static constexpr double kClusterSeconds = 0.5e-6;
static constexpr int64_t kSharedBytesPerBlock = 232448;

static int64_t ceilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }

//===----------------------------------------------------------------------===//
// GPUs
//===----------------------------------------------------------------------===//

const std::vector<GpuModel> &gpuModels() {
  static const std::vector<GpuModel> models = [] {
    GpuModel h100{.name = "h100"}, h800{.name = "h800"}, h200{.name = "h200"};
    h200.hbmBytesPerSecond = 4.8e12;
    return std::vector<GpuModel>{h100, h200, h800};
  }();
  return models;
}

Result<GpuModel> findGpuModel(std::string_view name) {
  std::string known;
  for (const GpuModel &model : gpuModels()) {
    if (model.name == name)
      return model;
    known += (known.empty() ? "" : ", ") + model.name;
  }
  return fail("there is no model of the GPU '" + std::string(name) + "': " + known);
}

std::string_view costLimitName(CostLimit limit) {
  static constexpr std::string_view kNames[] = {"the tensor cores",    "shared memory", "L2",
                                                "a warpgroup's chain", "HBM",           "the launch"};
  return kNames[static_cast<size_t>(limit)];
}

//===----------------------------------------------------------------------===//
// Prediction
//===----------------------------------------------------------------------===//

namespace {

/// A config at one M, seen from the tensor cores: `rows` lie on wgmma's M, `columns` on its N.
struct Work {
  Work(const Fp8GemmConfig &config, int64_t m, const GpuModel &gpu);

  int64_t rows, columns, wgmmas, steps;
  int64_t tilesM, tilesN, kBlocks;
  int64_t units, waves;
  /// Multiprocessors at work in an average wave.
  double active;
};

Work::Work(const Fp8GemmConfig &config, int64_t m, const GpuModel &gpu) {
  rows = config.swapAB ? config.blockN : config.blockM;
  columns = config.swapAB ? config.blockM : config.blockN;
  wgmmas = rows / kWgmmaRows;
  // Two math warpgroups at most, which take what is more one wgmma after the other.
  steps = ceilDiv(wgmmas, 2);
  // A cluster takes all its tiles, even those that lie beyond the edge.
  tilesM = ceilDiv(m, config.clusterM() * config.blockM) * config.clusterM();
  tilesN = ceilDiv(config.n, config.clusterN() * config.blockN) * config.clusterN();
  kBlocks = ceilDiv(ceilDiv(config.k, kBlockOfK), config.splitK);
  units = tilesM * tilesN * config.splitK;
  int64_t usable = gpu.sms / config.cluster() * config.cluster();
  waves = ceilDiv(units, usable);
  active = static_cast<double>(units) / static_cast<double>(waves);
}

/// Cycles of one K block of one tile at each limit.
struct BlockCycles {
  double tensor, shared, l2, chain;

  double largest() const { return std::max({tensor, shared, l2, chain}); }
  CostLimit limit() const {
    const double cycles[] = {tensor, shared, l2, chain};
    return static_cast<CostLimit>(std::max_element(std::begin(cycles), std::end(cycles)) - std::begin(cycles));
  }
};

} // namespace

static int64_t outputBytes(OutputType type) { return type == OutputType::bf16 ? 2 : 4; }

static int64_t stageBytes(const Fp8GemmConfig &config) {
  return (config.blockM + config.blockN) * kBlockOfK + config.blockM * static_cast<int64_t>(sizeof(float));
}

/// About as many stages as shared memory holds beside the staging of D.
static int64_t stagesOf(const Fp8GemmConfig &config) {
  int64_t tileBytes = config.blockM * config.blockN * outputBytes(config.outputType);
  return config.stages ? config.stages : (kSharedBytesPerBlock - tileBytes) / (stageBytes(config) + 16);
}

static BlockCycles cyclesPerBlock(const Fp8GemmConfig &config, const Work &work, const GpuModel &gpu) {
  BlockCycles cycles;
  double products = static_cast<double>(work.rows * work.columns * kBlockOfK);
  cycles.tensor = 2 * products / gpu.tensorFlopsPerCycle;

  // TMA writes a stage once; each wgmma reads its 64 rows and all columns.
  double wgmmaBytes = static_cast<double>((kWgmmaRows + work.columns) * kBlockOfK);
  cycles.shared =
      (static_cast<double>(stageBytes(config)) + static_cast<double>(work.wgmmas) * wgmmaBytes) / gpu.sharedBytesPerCycle;

  auto loaded = static_cast<double>((config.blockM / config.clusterN() + config.blockN / config.clusterM()) * kBlockOfK);
  // What is under way at a time, over how long a byte is under way.
  double inFlight = static_cast<double>(stagesOf(config) * stageBytes(config)) / (gpu.loadLatencySeconds * gpu.clockHz);
  cycles.l2 = loaded / std::min({gpu.loadBytesPerCycle, gpu.l2BytesPerCycle / work.active, inFlight});

  // One warpgroup waits, multiplies, promotes (an FMA per accumulator, with swapAB also a scale per column), arrives.
  double accumulators = static_cast<double>(kWgmmaRows * work.columns) / 128;
  double perColumn = config.swapAB ? 0.375 * static_cast<double>(work.columns) : 0;
  double multiply = std::max(2.0 * static_cast<double>(kWgmmaRows * work.columns * kBlockOfK) / gpu.tensorFlopsPerCycle,
                             wgmmaBytes / gpu.sharedBytesPerCycle);
  cycles.chain = static_cast<double>(work.steps) * (multiply + kWgmmaLatency + accumulators + perColumn + kLoopInstructions) +
                 kBarrierLatency;
  return cycles;
}

static double epilogueCycles(const Fp8GemmConfig &config) {
  // A part of a split K leaves as f32; accumulation reads what it adds to.
  int64_t bytes = config.splitK > 1 ? 4 : outputBytes(config.outputType) * (config.accumulate ? 2 : 1);
  return kEpilogueCycles + static_cast<double>(config.blockM * config.blockN * bytes) / kStoreBytesPerCycle;
}

/// Bytes of HBM: every operand once; the side that is walked inside a group of tile rows again for each group, if L2 cannot keep
/// it.
static double hbmBytes(const Fp8GemmConfig &config, int64_t m, const Work &work, const GpuModel &gpu) {
  double bytesA = static_cast<double>(m) * static_cast<double>(config.k),
         bytesB = static_cast<double>(config.n) * static_cast<double>(config.k);
  double blocks = static_cast<double>(ceilDiv(config.k, kBlockOfK));
  double scales = 4 * blocks * (static_cast<double>(m) + static_cast<double>(ceilDiv(config.n, 128)));
  double bytesD = static_cast<double>(m * config.n * outputBytes(config.outputType) * (config.accumulate ? 2 : 1));
  double again =
      bytesB > static_cast<double>(gpu.l2Bytes) / 2 ? static_cast<double>(ceilDiv(work.tilesM, config.tilesPerGroup()) - 1) : 0;
  return bytesA + bytesB * (1 + again) + scales + bytesD;
}

static double reductionSeconds(const Fp8GemmConfig &config, const GpuModel &gpu) {
  if (config.splitK == 1)
    return 0;
  double partial = static_cast<double>(config.blockM * config.blockN) * sizeof(float);
  return kReductionSeconds + static_cast<double>(config.splitK) * partial / (gpu.loadBytesPerCycle * gpu.clockHz);
}

GemmCost predictCost(const Fp8GemmConfig &config, int64_t m, const GpuModel &gpu) {
  Work work(config, m, gpu);
  BlockCycles cycles = cyclesPerBlock(config, work, gpu);
  GemmCost cost;
  cost.units = work.units;
  cost.waves = work.waves;
  double blocks = static_cast<double>(work.waves * work.kBlocks) / gpu.clockHz;
  cost.tensor = blocks * cycles.tensor;
  cost.shared = blocks * cycles.shared;
  cost.l2 = blocks * cycles.l2;
  cost.chain = blocks * cycles.chain;
  cost.epilogue = static_cast<double>(work.waves) * epilogueCycles(config) / gpu.clockHz;
  cost.main = blocks * cycles.largest() + cost.epilogue;
  cost.waveIdle = cost.main * (1 - work.active / static_cast<double>(gpu.sms));
  cost.hbmBytes = hbmBytes(config, m, work, gpu);
  cost.hbm = cost.hbmBytes / (gpu.hbmBytesPerSecond * gpu.hbmEfficiency);
  cost.reduction = reductionSeconds(config, gpu);
  cost.launch = gpu.launchSeconds + (config.cluster() > 1 ? kClusterSeconds : 0);
  cost.flops = 2.0 * static_cast<double>(m) * static_cast<double>(config.n) * static_cast<double>(config.k);
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
static std::string whyThisForm(const Fp8GemmConfig &config, int64_t m, const GpuModel &gpu) {
  std::string why;
  int64_t tiles = ceilDiv(m, config.blockM) * ceilDiv(config.n, config.blockN);
  if (config.swapAB)
    why += "the weight on wgmma's 64 rows and M in steps of " + std::to_string(config.blockM) + "; ";
  if (config.splitK > 1)
    why += "K in " + std::to_string(config.splitK) + " parts, as " + std::to_string(tiles) + " tiles " +
           (tiles < gpu.sms ? "leave " + std::to_string(gpu.sms - tiles) + " SMs idle" : "fill their last wave worse") + "; ";
  if (config.multicast != Multicast::none)
    why += std::string("pairs of blocks share ") + (config.multicast == Multicast::a ? "A" : "B") + " to spare L2; ";
  return why;
}

std::string explainConfig(const RankedConfig &choice, int64_t m, const GpuModel &gpu) {
  const GemmCost &cost = choice.cost;
  std::string units = std::to_string(cost.units) + (choice.config.splitK > 1 ? " parts" : " tiles");
  std::string waves = cost.waves == 1 ? "1 wave" : std::to_string(cost.waves) + " waves";
  double busy = 100 * (1 - cost.waveIdle / cost.main);
  double bound = cost.limit == CostLimit::launch ? cost.launch : cost.limit == CostLimit::hbm ? cost.hbm : cost.main;
  return whyThisForm(choice.config, m, gpu) + units + " in " + waves + ", " + number(busy) + " % of the SMs busy; " +
         std::string(costLimitName(cost.limit)) + " takes " + number(100 * bound / cost.seconds) + " % of the time";
}

} // namespace quant::nvvm
