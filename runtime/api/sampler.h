//===- sampler.h - choosing the next token ----------------------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_RUNTIME_API_SAMPLER_H
#define QUANT_RUNTIME_API_SAMPLER_H

#include "runtime/support/result.h"

#include <array>
#include <cstdint>
#include <span>
#include <vector>

namespace quant::runtime {

/// xoshiro256** 1.0, its state taken from splitmix64: the same numbers everywhere (Blackman and Vigna, prng.di.unimi.it).
class Random {
public:
  explicit Random(uint64_t seed);

  uint64_t next();
  /// Uniform in [0, 1): the top 53 bits of next().
  double uniform() { return static_cast<double>(next() >> 11) * 0x1p-53; }

private:
  std::array<uint64_t, 4> state;
};

/// What quant_sampler_create documents.
class Sampler {
public:
  /// Errors: temperature negative or not finite, top_p outside (0, 1].
  static Result<Sampler> create(double temperature, double topP, uint64_t seed);

  /// An index in `logits`. Errors: NaN or +infinity among them, or nothing but -infinity.
  Result<int32_t> sample(std::span<const float> logits);

  /// The same where `guess` came of sample(guessLogits): distributed as sample(logits) is, and `guess` as often as that allows.
  /// Rejection sampling of Leviathan et al., arXiv 2211.17192, 2.3: the guess is taken with probability p / q, else an index is
  /// drawn of max(p - q, 0).
  Result<int32_t> sampleGuessed(std::span<const float> logits, std::span<const float> guessLogits, int32_t guess);

private:
  Sampler(double temperature, double topP, uint64_t seed) : temperature(temperature), topP(topP), random(seed) {}
  Result<double> weigh(std::span<const float> logits);
  double keepNucleus(double total);
  int32_t draw(double total);
  Result<std::vector<double>> probabilities(std::span<const float> logits);
  void sortByProbability(size_t first, size_t last);

  double temperature, topP;
  Random random;
  std::vector<double> weights; ///< of each token, up to a factor its probability
  std::vector<int32_t> order;  ///< token ids that can be drawn, likeliest first as far as sorted
};

} // namespace quant::runtime

#endif // QUANT_RUNTIME_API_SAMPLER_H
