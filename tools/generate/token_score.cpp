//===- token_score.cpp - what logits say of a text ------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/generate/token_score.h"

#include "tools/generate/sampling.h"

#include <algorithm>
#include <cmath>

namespace quant::generate {

static float largest(std::span<const float> logits) { return *std::ranges::max_element(logits); }

std::optional<TokenScore> scoreToken(std::span<const float> logits, int32_t token) {
  auto top = std::ranges::max_element(logits);
  if (std::ranges::any_of(logits, [](float logit) { return std::isnan(logit); }) || !std::isfinite(*top))
    return std::nullopt;
  double likelihood = static_cast<double>(logits[static_cast<size_t>(token)]) - *top;
  return TokenScore{logSum(logits, *top) - likelihood, static_cast<int32_t>(top - logits.begin())};
}

double divergence(std::span<const float> reference, std::span<const float> logits) {
  float referenceTop = largest(reference), top = largest(logits);
  double referenceSum = logSum(reference, referenceTop), sum = logSum(logits, top), result = 0;
  for (size_t i = 0; i < reference.size(); ++i) {
    double expected = static_cast<double>(reference[i]) - referenceTop - referenceSum;
    double actual = static_cast<double>(logits[i]) - top - sum;
    if (double p = std::exp(expected); p > 0)
      result += p * (expected - actual);
  }
  return std::max(0.0, result); // rounding can leave a little less
}

double meanOf(std::span<const double> values) {
  double sum = 0;
  for (double value : values)
    sum += value;
  return sum / static_cast<double>(values.size());
}

bool PairedScores::add(std::span<const float> logits, std::span<const float> reference, int32_t token) {
  auto mine = scoreToken(logits, token), theirs = scoreToken(reference, token);
  if (!mine || !theirs)
    return false;
  losses.push_back(mine->loss);
  referenceLosses.push_back(theirs->loss);
  divergences.push_back(divergence(reference, logits));
  agreed += mine->first == theirs->first;
  return true;
}

double PairedScores::lossDifference() const {
  double sum = 0;
  for (size_t i = 0; i < losses.size(); ++i)
    sum += losses[i] - referenceLosses[i];
  return sum / static_cast<double>(losses.size());
}

double PairedScores::standardError() const {
  double mean = lossDifference(), squares = 0, count = static_cast<double>(losses.size());
  for (size_t i = 0; i < losses.size(); ++i) {
    double off = losses[i] - referenceLosses[i] - mean;
    squares += off * off;
  }
  return std::sqrt(squares) / count;
}

double PairedScores::meanDivergence() const { return meanOf(divergences); }

} // namespace quant::generate
