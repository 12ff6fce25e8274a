//===- sampler.cpp - choosing the next token ------------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/api/sampler.h"

#include <fmt/core.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <numeric>

namespace quant::runtime {

static uint64_t splitmix64(uint64_t &state) {
  uint64_t z = state += 0x9e3779b97f4a7c15;
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
  z = (z ^ z >> 27) * 0x94d049bb133111eb;
  return z ^ z >> 31;
}

Random::Random(uint64_t seed) {
  for (uint64_t &word : state)
    word = splitmix64(seed);
}

uint64_t Random::next() {
  uint64_t result = std::rotl(state[1] * 5, 7) * 9;
  uint64_t t = state[1] << 17;
  state[2] ^= state[0];
  state[3] ^= state[1];
  state[1] ^= state[2];
  state[0] ^= state[3];
  state[2] ^= t;
  state[3] = std::rotl(state[3], 45);
  return result;
}

Result<Sampler> Sampler::create(double temperature, double topP, uint64_t seed) {
  if (!std::isfinite(temperature) || temperature < 0)
    return fail(fmt::format("temperature is {:f}, not a finite number of at least 0", temperature));
  if (!(topP > 0 && topP <= 1))
    return fail(fmt::format("top_p is {:f}, not above 0 and at most 1", topP));
  return Sampler(temperature, topP, seed);
}

/// The index of the largest logit, the first of several.
static Result<int32_t> likeliest(std::span<const float> logits) {
  int32_t best = 0;
  for (size_t i = 0; i < logits.size(); ++i) {
    if (std::isnan(logits[i]) || logits[i] == INFINITY)
      return fail(fmt::format("logit {} is {:f}: the weights or the model's numbers are out of range", i, logits[i]));
    if (logits[i] > logits[static_cast<size_t>(best)])
      best = static_cast<int32_t>(i);
  }
  if (logits.empty() || logits[static_cast<size_t>(best)] == -INFINITY)
    return fail("there is no logit above -infinity");
  return best;
}

/// Fills the weights. Returns their sum.
Result<double> Sampler::weigh(std::span<const float> logits) {
  QUANT_TRY_ASSIGN(int32_t best, likeliest(logits));
  double largest = logits[static_cast<size_t>(best)];
  double total = 0;
  weights.resize(logits.size());
  for (size_t i = 0; i < logits.size(); ++i)
    total += weights[i] = std::exp((logits[i] - largest) / temperature);
  return total;
}

Result<int32_t> Sampler::sample(std::span<const float> logits) {
  if (temperature == 0)
    return likeliest(logits);
  QUANT_TRY_ASSIGN(double total, weigh(logits));
  return draw(keepNucleus(total));
}

Result<std::vector<double>> Sampler::probabilities(std::span<const float> logits) {
  QUANT_TRY_ASSIGN(double total, weigh(logits));
  total = keepNucleus(total);
  std::vector<double> result(logits.size());
  for (int32_t index : order)
    result[static_cast<size_t>(index)] = weights[static_cast<size_t>(index)] / total;
  return result;
}

Result<int32_t> Sampler::sampleGuessed(std::span<const float> logits, std::span<const float> guessLogits, int32_t guess) {
  if (temperature == 0)
    return likeliest(logits);
  QUANT_TRY_ASSIGN(std::vector<double> wanted, probabilities(logits));
  QUANT_TRY_ASSIGN(std::vector<double> guessed, probabilities(guessLogits));
  auto at = static_cast<size_t>(guess);
  if (random.uniform() * guessed[at] < wanted[at])
    return guess;
  double total = 0;
  for (size_t i = 0; i < wanted.size(); ++i)
    total += weights[i] = std::max(wanted[i] - guessed[i], 0.0);
  order.resize(weights.size());
  std::iota(order.begin(), order.end(), 0);
  return draw(total);
}

void Sampler::sortByProbability(size_t first, size_t last) {
  auto begin = order.begin();
  std::partial_sort(begin + static_cast<ptrdiff_t>(first), begin + static_cast<ptrdiff_t>(last), order.end(),
                    [&](int32_t a, int32_t b) {
                      double wa = weights[static_cast<size_t>(a)], wb = weights[static_cast<size_t>(b)];
                      return wa != wb ? wa > wb : a < b;
                    });
}

/// Keeps the ids in `order` that can be drawn. Returns the sum of their weights, `total` being that of all.
double Sampler::keepNucleus(double total) {
  order.resize(weights.size());
  std::iota(order.begin(), order.end(), 0);
  if (topP == 1)
    return total;
  // The nucleus is mostly small: sort no more than is needed.
  constexpr size_t kFirstSorted = 128;
  double nucleus = 0;
  size_t sorted = 0, kept = 0;
  for (; kept < order.size() && nucleus < topP * total; ++kept) {
    if (kept == sorted) {
      sorted = std::min(order.size(), std::max(kFirstSorted, sorted * 8));
      sortByProbability(kept, sorted);
    }
    nucleus += weights[static_cast<size_t>(order[kept])];
  }
  order.resize(kept);
  return nucleus;
}

/// An id of `order`, whose weights have the sum `total`.
int32_t Sampler::draw(double total) {
  double left = random.uniform() * total;
  size_t chosen = 0;
  for (; chosen + 1 < order.size(); ++chosen) {
    left -= weights[static_cast<size_t>(order[chosen])];
    if (left < 0)
      break;
  }
  return order[chosen];
}

} // namespace quant::runtime
