//===- budget.cpp - the least loss within a size --------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/quant-convert/sensitivity/budget.h"

#include <algorithm>

using namespace quant;
using namespace quant::convert;

namespace {

/// A choice for the first items.
struct Sum {
  int64_t bytes;
  double loss;
  uint32_t before, option; ///< the sum that it continues, and what it adds
};

/// By rising bytes and falling loss.
using Sums = std::vector<Sum>;

} // namespace

/// Leaves what no other sum beats in bytes and loss.
static void keepBest(Sums &sums) {
  std::ranges::sort(sums, [](const Sum &a, const Sum &b) { return a.bytes != b.bytes ? a.bytes < b.bytes : a.loss < b.loss; });
  size_t kept = 0;
  for (const Sum &sum : sums)
    if (kept == 0 || sum.loss < sums[kept - 1].loss)
      sums[kept++] = sum;
  sums.resize(kept);
}

/// Of each of kMostSums equal ranges of bytes the sum of least loss, which is its last.
static void thin(Sums &sums) {
  if (sums.size() <= kMostSums)
    return;
  double low = static_cast<double>(sums.front().bytes), range = static_cast<double>(sums.back().bytes) - low + 1;
  auto cell = [&](const Sum &sum) {
    return static_cast<int64_t>((static_cast<double>(sum.bytes) - low) / range * static_cast<double>(kMostSums));
  };
  size_t kept = 1; // the smallest stays, so that something always fits
  for (size_t i = 1; i < sums.size(); ++i)
    if (i + 1 == sums.size() || cell(sums[i + 1]) != cell(sums[i]))
      sums[kept++] = sums[i];
  sums.resize(kept);
}

static int64_t smallest(const std::vector<SizedOption> &options) {
  return std::ranges::min_element(options, {}, &SizedOption::bytes)->bytes;
}

std::optional<std::vector<size_t>> convert::leastLoss(std::span<const std::vector<SizedOption>> items, int64_t bytes) {
  int64_t rest = 0; // of the items to come
  for (const auto &options : items)
    rest += smallest(options);
  std::vector<Sums> steps = {{{0, 0, 0, 0}}};
  for (const auto &options : items) {
    rest -= smallest(options);
    Sums next;
    for (uint32_t before = 0; before < steps.back().size(); ++before)
      for (uint32_t option = 0; option < options.size(); ++option) {
        const Sum &sum = steps.back()[before];
        if (sum.bytes + options[option].bytes + rest <= bytes)
          next.push_back({sum.bytes + options[option].bytes, sum.loss + options[option].loss, before, option});
      }
    if (next.empty())
      return std::nullopt;
    keepBest(next);
    thin(next);
    steps.push_back(std::move(next));
  }
  std::vector<size_t> chosen(items.size());
  size_t at = steps.back().size() - 1;
  for (size_t i = items.size(); i > 0; --i) {
    const Sum &sum = steps[i][at];
    chosen[i - 1] = sum.option;
    at = sum.before;
  }
  return chosen;
}
