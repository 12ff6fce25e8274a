//===- compare_metrics.cpp - how far two tensors are apart ----------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/quant-convert/check/compare_metrics.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <utility>
#include <vector>

using namespace quant;
using namespace quant::convert;

static constexpr double kInfinity = std::numeric_limits<double>::infinity();

static double sqnrOf(double aa, double dd) { return dd > 0 ? 10 * std::log10(aa / dd) : kInfinity; }

double WorstBlock::sqnr() const { return sqnrOf(aa, dd); }
double Metrics::sqnr() const { return sqnrOf(aa, dd); }

double Metrics::cosine() const {
  if (aa == 0 || bb == 0)
    return aa == bb ? 1 : 0;
  return dd == 0 ? 1 : std::clamp(ab / (std::sqrt(aa) * std::sqrt(bb)), -1.0, 1.0);
}

double Metrics::relativeError() const { return dd == 0 ? 0 : aa == 0 ? kInfinity : std::sqrt(dd / aa); }

namespace {

/// Sums side by side, so that the additions do not wait for each other and fill vectors.
constexpr size_t kLanes = 8;

struct Sums {
  double aa = 0, bb = 0, ab = 0, dd = 0, max = 0;
};

Sums sumFinite(std::span<const double> a, std::span<const double> b) {
  std::array<double, kLanes> aa{}, bb{}, ab{}, dd{}, max{};
  auto step = [&](size_t lane, size_t i) {
    double difference = a[i] - b[i];
    aa[lane] += a[i] * a[i];
    bb[lane] += b[i] * b[i];
    ab[lane] += a[i] * b[i];
    dd[lane] += difference * difference;
    max[lane] = std::max(max[lane], std::abs(difference));
  };
  size_t whole = a.size() / kLanes * kLanes;
  for (size_t i = 0; i < whole; i += kLanes)
    for (size_t lane = 0; lane < kLanes; ++lane)
      step(lane, i + lane);
  for (size_t i = whole; i < a.size(); ++i)
    step(i - whole, i);
  Sums sums;
  for (size_t lane = 0; lane < kLanes; ++lane)
    sums = {sums.aa + aa[lane], sums.bb + bb[lane], sums.ab + ab[lane], sums.dd + dd[lane], std::max(sums.max, max[lane])};
  return sums;
}

/// Counts NaN and Inf and sets both sides of such a pair to zero, so that it adds nothing.
void takeOutNonFinite(std::span<double> a, std::span<double> b, Metrics &metrics) {
  for (size_t i = 0; i < a.size(); ++i) {
    if (std::isfinite(a[i]) && std::isfinite(b[i]))
      continue;
    metrics.nanA += std::isnan(a[i]);
    metrics.nanB += std::isnan(b[i]);
    metrics.infA += std::isinf(a[i]);
    metrics.infB += std::isinf(b[i]);
    metrics.mismatched += a[i] != b[i] && !(std::isnan(a[i]) && std::isnan(b[i]));
    a[i] = b[i] = 0;
  }
}

/// Adds pairs of which the first is element `begin` of the tensors.
Sums addRun(std::span<double> a, std::span<double> b, uint64_t begin, Metrics &metrics) {
  Sums sums = sumFinite(a, b);
  if (!std::isfinite(sums.aa + sums.bb)) {
    takeOutNonFinite(a, b, metrics);
    sums = sumFinite(a, b);
  }
  metrics.elements += a.size();
  metrics.aa += sums.aa;
  metrics.bb += sums.bb;
  metrics.ab += sums.ab;
  metrics.dd += sums.dd;
  if (sums.max <= metrics.maxError)
    return sums;
  metrics.maxError = sums.max;
  size_t at = 0;
  while (at + 1 < a.size() && std::abs(a[at] - b[at]) != sums.max)
    ++at;
  metrics.maxAt = begin + at;
  return sums;
}

void takeWorse(std::optional<WorstBlock> &worst, const WorstBlock &block) {
  if (block.dd > 0 && (!worst || block.aa * worst->dd < worst->aa * block.dd))
    worst = block;
}

/// Sums of the blocks of one row of blocks at a time, as their elements come row by row.
class BlockSums {
public:
  BlockSums(const Blocks &blocks, Metrics &metrics)
      : blocks(blocks), metrics(metrics), sums(size_t((blocks.columns - 1) / blocks.blockColumns + 1)) {}

  /// Elements from `begin` on until the end of their block's row.
  size_t run(uint64_t begin, size_t left) const {
    int64_t column = int64_t(begin) % blocks.columns;
    return size_t(std::min({int64_t(left), blocks.columns - column, blocks.blockColumns - column % blocks.blockColumns}));
  }

  void add(uint64_t begin, const Sums &of) {
    int64_t row = int64_t(begin) / blocks.columns / blocks.blockRows,
            column = int64_t(begin) % blocks.columns / blocks.blockColumns;
    if (row != current)
      flush();
    current = row;
    WorstBlock &block = sums[size_t(column)];
    block.aa += of.aa;
    block.dd += of.dd;
    block.row = row;
    block.column = column;
  }

  void flush() {
    for (WorstBlock &block : sums)
      takeWorse(metrics.worst, std::exchange(block, {}));
  }

private:
  Blocks blocks;
  Metrics &metrics;
  int64_t current = 0;
  std::vector<WorstBlock> sums;
};

} // namespace

Metrics convert::measure(const TensorValues &a, const TensorValues &b, uint64_t begin, uint64_t end,
                         const std::optional<Blocks> &blocks) {
  Metrics metrics;
  std::optional<BlockSums> sums;
  if (blocks)
    sums.emplace(*blocks, metrics);
  uint64_t chunk = std::max(a.chunk(), b.chunk());
  std::vector<double> bufferA(size_t(std::min(chunk, end - begin))), bufferB(bufferA.size());
  for (; begin < end; begin += chunk) {
    size_t n = size_t(std::min<uint64_t>(chunk, end - begin));
    auto valuesA = std::span(bufferA).first(n), valuesB = std::span(bufferB).first(n);
    a.read(begin, valuesA);
    b.read(begin, valuesB);
    for (size_t i = 0; i < n;) {
      size_t run = sums ? sums->run(begin + i, n - i) : n;
      Sums of = addRun(valuesA.subspan(i, run), valuesB.subspan(i, run), begin + i, metrics);
      if (sums)
        sums->add(begin + i, of);
      i += run;
    }
  }
  if (sums)
    sums->flush();
  return metrics;
}

void convert::append(Metrics &sum, const Metrics &later) {
  if (later.maxError > sum.maxError) {
    sum.maxError = later.maxError;
    sum.maxAt = later.maxAt;
  }
  sum.elements += later.elements;
  sum.aa += later.aa;
  sum.bb += later.bb;
  sum.ab += later.ab;
  sum.dd += later.dd;
  sum.nanA += later.nanA;
  sum.infA += later.infA;
  sum.nanB += later.nanB;
  sum.infB += later.infB;
  sum.mismatched += later.mismatched;
  if (later.worst)
    takeWorse(sum.worst, *later.worst);
}
