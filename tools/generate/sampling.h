//===- sampling.h - choosing the next token ------------------- -*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_TOOLS_GENERATE_SAMPLING_H
#define QUANT_TOOLS_GENERATE_SAMPLING_H

#include "tools/generate/handles.h"

#include <cstdint>
#include <span>
#include <vector>

namespace quant::generate {

/// How tokens are chosen. The defaults change nothing and take the likeliest.
struct SamplingOptions {
  double temperature = 0;       ///< 0: the likeliest token
  double topP = 1;              ///< (0, 1]: the likeliest tokens that have this probability together
  int64_t topK = 0;             ///< the likeliest k tokens; 0: all
  double minP = 0;              ///< [0, 1]: tokens at least this fraction as probable as the likeliest one
  double repetitionPenalty = 1; ///< above 0: logits of tokens that came before are divided by it, or multiplied where negative
                                ///< (Keskar et al., arXiv 1909.05858)
  uint64_t seed = 0;
};

/// Chooses tokens: repetition penalty, then min-p (of probabilities at the temperature), top-k, temperature, top-p. The draw is
/// quant_sample's, so that the same seed gives the same tokens everywhere.
class TokenSampler {
public:
  /// Errors: an option out of its range.
  static Result<TokenSampler> create(const SamplingOptions &options);

  /// Chooses by `logits`; `before` are the prompt's tokens and all that were chosen.
  Result<int32_t> sample(std::span<const float> logits, std::span<const int32_t> before);

  /// A token that another model guesses in its stead, by `logits` of that.
  Result<int32_t> guess(std::span<const float> logits, std::span<const int32_t> before);
  /// sample() where guess() was called for the same position: what it chose, as often as the distribution allows.
  Result<int32_t> sampleGuessed(std::span<const float> logits, std::span<const int32_t> before);

private:
  std::span<const float> change(std::span<const float> logits, std::span<const int32_t> before,
                                std::vector<float> &changed) const;
  void penalize(std::span<float> logits, std::span<const int32_t> before) const;
  void keepLikely(std::span<float> logits) const;

  SamplingOptions options;
  SamplerHandle sampler;
  std::vector<float> changed;     ///< logits after penalty and cuts; kept for its room
  std::vector<float> guessLogits; ///< those that the guess came of, after penalty and cuts
  int32_t guessed = 0;
};

/// A token and the natural logarithm of its probability.
struct TokenLogprob {
  int32_t token;
  float logprob;
};

/// log of the sum of exp(logit - top).
double logSum(std::span<const float> logits, float top);

/// Log-probabilities (log softmax) of `token` and then of the `top` likeliest tokens, likeliest first.
std::vector<TokenLogprob> logprobsOf(std::span<const float> logits, int32_t token, size_t top);

} // namespace quant::generate

#endif // QUANT_TOOLS_GENERATE_SAMPLING_H
