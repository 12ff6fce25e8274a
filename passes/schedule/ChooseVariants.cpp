//===- ChooseVariants.cpp - the best matmul kernels for a range of M ---------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "passes/schedule/ChooseVariants.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <set>

namespace quant::schedule {

using machine::checkGemm;
using machine::Gpu;
using machine::Multicast;

//===----------------------------------------------------------------------===//
// Candidates
//===----------------------------------------------------------------------===//

GemmConfig GemmProblem::config() const {
  GemmConfig config;
  config.n = n;
  config.k = k;
  config.outputType = outputType;
  config.bias = bias;
  config.accumulate = accumulate;
  config.groups = groups;
  config.groupLayout = groupLayout;
  config.groupAlignment = groupAlignment;
  config.topK = topK;
  config.swiglu = swiglu;
  config.powerOfTwoScales = powerOfTwoScales;
  config.element = element;
  config.bf16Scales = bf16Scales;
  config.mla = mla;
  // The default tile, if it is one head's.
  if (config.isMla())
    config.blockN = std::gcd(config.blockN, config.headN());
  return config;
}

/// Fewer do not hide the latency of TMA (DeepGEMM, sm90.hpp).
static constexpr int64_t kMinStages = 3;

static bool hasStages(const GemmConfig &config, const Gpu &gpu) {
  GemmConfig shallow = config;
  shallow.stages = kMinStages;
  return checkGemm(shallow, gpu).has_value();
}

/// Tiles of tokens x weight rows, the plain form first and in it the largest first: of equal costs the earlier one wins.
static std::vector<GemmConfig> tileConfigs(const GemmProblem &problem, const Gpu &gpu) {
  GemmConfig base = problem.config();
  std::vector<GemmConfig> tiles;
  auto add = [&](int64_t blockM, int64_t blockN, bool swapAB) {
    GemmConfig config = base;
    config.blockM = blockM;
    config.blockN = blockN;
    config.swapAB = swapAB;
    if (hasStages(config, gpu))
      tiles.push_back(config);
  };
  for (int64_t blockM : {128, 64, 256})
    for (int64_t blockN : {128, 256, 224, 192, 176, 160, 144, 112, 96, 80, 64, 48, 32, 16})
      add(blockM, blockN, false);
  for (int64_t blockN : {128, 64})
    for (int64_t blockM : {8, 16, 32, 48, 64, 80, 96, 112, 128})
      add(blockM, blockN, true);
  return tiles;
}

std::vector<GemmConfig> candidateConfigs(const GemmProblem &problem, const Gpu &gpu) {
  std::vector<GemmConfig> candidates;
  for (const GemmConfig &tile : tileConfigs(problem, gpu))
    for (Multicast multicast : {Multicast::none, Multicast::a, Multicast::b})
      for (int64_t splitK : {1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16}) {
        GemmConfig config = tile;
        config.multicast = multicast;
        config.splitK = splitK;
        if ((splitK == 1 || problem.allowSplitK) && checkGemm(config, gpu))
          candidates.push_back(config);
      }
  return candidates;
}

//===----------------------------------------------------------------------===//
// One M
//===----------------------------------------------------------------------===//

std::vector<RankedConfig> rankConfigs(const GemmProblem &problem, int64_t m, const Gpu &gpu, size_t count) {
  std::vector<RankedConfig> ranked;
  auto isFaster = [](const RankedConfig &a, const RankedConfig &b) { return a.cost.seconds < b.cost.seconds; };
  for (const GemmConfig &config : candidateConfigs(problem, gpu)) {
    RankedConfig candidate{config, predictCost(config, m, gpu)};
    // Behind those of the same cost: among equals, the first stays.
    ranked.insert(std::upper_bound(ranked.begin(), ranked.end(), candidate, isFaster), candidate);
    if (ranked.size() > count)
      ranked.pop_back();
  }
  return ranked;
}

//===----------------------------------------------------------------------===//
// A range of M
//===----------------------------------------------------------------------===//

/// The M at which costs are compared: both sides of every edge of a tile, which get rarer as M grows.
static std::vector<int64_t> samplePoints(int64_t minM, int64_t maxM) {
  std::set<int64_t> points = {minM, maxM};
  auto add = [&](int64_t m) {
    if (m > minM && m < maxM)
      points.insert(m);
  };
  for (int64_t edge = 8; edge < maxM; edge += edge < 256 ? 8 : edge < 2048 ? 64 : 256) {
    add(edge);
    add(edge + 1);
  }
  return {points.begin(), points.end()};
}

namespace {

/// What is lost with each candidate at each sample point.
class LossTable {
public:
  LossTable(const GemmProblem &problem, const Gpu &gpu, const VariantOptions &options)
      : points(samplePoints(options.minM, options.maxM)), configs(candidateConfigs(problem, gpu)) {
    for (size_t point = 0; point < points.size(); ++point) {
      int64_t next = point + 1 < points.size() ? points[point + 1] : points[point] + 1;
      octaves.push_back(std::log2(static_cast<double>(next) / static_cast<double>(points[point])));
    }
    std::vector<double> best(points.size(), std::numeric_limits<double>::infinity());
    for (const GemmConfig &config : configs) {
      std::vector<double> &row = losses.emplace_back();
      for (size_t point = 0; point < points.size(); ++point) {
        row.push_back(predictCost(config, points[point], gpu).seconds);
        best[point] = std::min(best[point], row.back());
      }
    }
    for (std::vector<double> &row : losses)
      for (size_t point = 0; point < points.size(); ++point)
        row[point] = row[point] / best[point] - 1;
  }

  /// Time over the best config's time, less 1.
  double loss(size_t config, size_t point) const { return losses[config][point]; }
  /// For each point the least loss of these kernels, infinite if there are none.
  std::vector<double> leastLosses(const std::vector<size_t> &kernels) const;
  double meanSquare(const std::vector<size_t> &kernels) const;

  std::vector<int64_t> points;
  /// Octaves of M from a point to the next, so that 1 .. 64 counts as much as 128 .. 8192.
  std::vector<double> octaves;
  std::vector<GemmConfig> configs;

private:
  std::vector<std::vector<double>> losses;
};

std::vector<double> LossTable::leastLosses(const std::vector<size_t> &kernels) const {
  std::vector<double> least(points.size(), std::numeric_limits<double>::infinity());
  for (size_t kernel : kernels)
    for (size_t point = 0; point < points.size(); ++point)
      least[point] = std::min(least[point], losses[kernel][point]);
  return least;
}

double LossTable::meanSquare(const std::vector<size_t> &kernels) const {
  std::vector<double> least = leastLosses(kernels);
  double sum = 0, all = 0;
  for (size_t point = 0; point < points.size(); ++point) {
    sum += octaves[point] * least[point] * least[point];
    all += octaves[point];
  }
  return sum / all;
}

} // namespace

/// Sets kernels[slot] to the config that serves best beside the others; true if that is another one.
static bool improveSlot(const LossTable &table, std::vector<size_t> &kernels, size_t slot) {
  size_t before = kernels[slot], best = before;
  std::vector<size_t> others = kernels;
  others.erase(others.begin() + static_cast<ptrdiff_t>(slot));
  std::vector<double> without = table.leastLosses(others);
  // A gain in the last digits would let slots change for ever.
  double least = table.meanSquare(kernels) * std::accumulate(table.octaves.begin(), table.octaves.end(), 0.0) * (1 - 1e-9);
  for (size_t config = 0; config < table.configs.size(); ++config) {
    double sum = 0;
    for (size_t point = 0; point < without.size() && sum < least; ++point) {
      double loss = std::min(without[point], table.loss(config, point));
      sum += table.octaves[point] * loss * loss;
    }
    if (sum < least) {
      least = sum;
      best = config;
    }
  }
  kernels[slot] = best;
  return best != before;
}

/// Kernels that together lose little: added one after the other as each helps most, then exchanged while that helps.
static std::vector<size_t> chooseKernels(const LossTable &table, const VariantOptions &options) {
  std::vector<size_t> kernels;
  do {
    kernels.push_back(0);
    improveSlot(table, kernels, kernels.size() - 1);
    for (bool changed = true; changed;) {
      changed = false;
      for (size_t slot = 0; slot < kernels.size(); ++slot)
        changed |= improveSlot(table, kernels, slot);
    }
  } while (kernels.size() < options.maxKernels && std::sqrt(table.meanSquare(kernels)) > options.enough);
  return kernels;
}

/// The kernel of each sample point: the least sum of squared losses, where each change from one kernel to the next costs as much
/// as 4.5 % lost over an octave.
static std::vector<size_t> assignPoints(const LossTable &table, const std::vector<size_t> &kernels) {
  constexpr double kChangeCost = 0.002;
  size_t points = table.points.size(), count = kernels.size();
  std::vector<std::vector<size_t>> previous(points, std::vector<size_t>(count));
  std::vector<double> cost(count, 0);
  for (size_t point = 0; point < points; ++point) {
    size_t cheapest = static_cast<size_t>(std::min_element(cost.begin(), cost.end()) - cost.begin());
    double changed = cost[cheapest] + kChangeCost;
    for (size_t kernel = 0; kernel < count; ++kernel) {
      bool stay = cost[kernel] <= changed;
      previous[point][kernel] = stay ? kernel : cheapest;
      double loss = table.loss(kernels[kernel], point);
      cost[kernel] = (stay ? cost[kernel] : changed) + table.octaves[point] * loss * loss;
    }
  }
  std::vector<size_t> assigned(points);
  size_t kernel = static_cast<size_t>(std::min_element(cost.begin(), cost.end()) - cost.begin());
  for (size_t point = points; point-- > 0; kernel = previous[point][kernel])
    assigned[point] = kernels[kernel];
  return assigned;
}

/// A variant over the sample points [first, end); its range reaches up to the next point.
static GemmVariant variantOf(const LossTable &table, size_t config, size_t first, size_t end) {
  GemmVariant variant;
  variant.config = table.configs[config];
  variant.minM = table.points[first];
  variant.maxM = end < table.points.size() ? table.points[end] - 1 : table.points.back();
  double octaves = std::accumulate(table.octaves.begin() + static_cast<ptrdiff_t>(first),
                                   table.octaves.begin() + static_cast<ptrdiff_t>(end), 0.0);
  for (size_t point = first; point < end; ++point) {
    double loss = table.loss(config, point);
    variant.meanLoss += loss * table.octaves[point] / octaves;
    if (point == first || loss > variant.worstLoss) {
      variant.worstLoss = loss;
      variant.worstM = table.points[point];
    }
  }
  return variant;
}

std::vector<GemmVariant> chooseVariants(const GemmProblem &problem, const Gpu &gpu, const VariantOptions &options) {
  LossTable table(problem, gpu, options);
  if (table.configs.empty())
    return {};
  std::vector<size_t> assigned = assignPoints(table, chooseKernels(table, options));
  std::vector<GemmVariant> variants;
  for (size_t first = 0, end = 0; first < assigned.size(); first = end) {
    while (end < assigned.size() && assigned[end] == assigned[first])
      ++end;
    variants.push_back(variantOf(table, assigned[first], first, end));
  }
  return variants;
}

} // namespace quant::schedule
