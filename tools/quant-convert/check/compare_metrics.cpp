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

using namespace quant;
using namespace quant::convert;

static constexpr double kInfinity = std::numeric_limits<double>::infinity();

double Metrics::sqnr() const { return dd > 0 ? 10 * std::log10(aa / dd) : kInfinity; }

double Metrics::cosine() const {
  if (aa == 0 || bb == 0)
    return aa == bb ? 1 : 0;
  return dd == 0 ? 1 : std::clamp(ab / (std::sqrt(aa) * std::sqrt(bb)), -1.0, 1.0);
}

double Metrics::relativeError() const { return dd == 0 ? 0 : aa == 0 ? kInfinity : std::sqrt(dd / aa); }

namespace {

/// Values that are decoded at a time: both sides stay in the first-level cache.
constexpr size_t kChunk = 1024;
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
void addChunk(std::span<double> a, std::span<double> b, uint64_t begin, Metrics &metrics) {
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
    return;
  metrics.maxError = sums.max;
  size_t at = 0;
  while (at + 1 < a.size() && std::abs(a[at] - b[at]) != sums.max)
    ++at;
  metrics.maxAt = begin + at;
}

} // namespace

Metrics convert::measure(const TensorValues &a, const TensorValues &b, uint64_t begin, uint64_t end) {
  Metrics metrics;
  std::array<double, kChunk> bufferA, bufferB;
  for (; begin < end; begin += kChunk) {
    size_t n = size_t(std::min<uint64_t>(kChunk, end - begin));
    auto valuesA = std::span(bufferA).first(n), valuesB = std::span(bufferB).first(n);
    a.read(begin, valuesA);
    b.read(begin, valuesB);
    addChunk(valuesA, valuesB, begin, metrics);
  }
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
}
