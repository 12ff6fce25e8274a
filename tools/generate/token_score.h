//===- token_score.h - what logits say of a text ----------------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Losses of the tokens of a text by a model's logits, and how far another model's are from them. Logarithms are natural; softmax
// and sums are in f64.
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_TOOLS_GENERATE_TOKEN_SCORE_H
#define QUANT_TOOLS_GENERATE_TOKEN_SCORE_H

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace quant::generate {

/// What the logits of one position say of the token that comes.
struct TokenScore {
  double loss;   ///< -log p(token)
  int32_t first; ///< the likeliest token, the lowest id among equals
};

/// Scores `token` by `logits` [vocab]. Nothing where a logit is NaN or +infinity, or all are -infinity.
std::optional<TokenScore> scoreToken(std::span<const float> logits, int32_t token);

/// KL(softmax(reference) || softmax(logits)) in nats. @pre scoreToken() takes both
double divergence(std::span<const float> reference, std::span<const float> logits);

/// The tokens of a text by a model, and by a reference. @pre of all means: a token was added
struct PairedScores {
  std::vector<double> losses, referenceLosses, divergences;
  size_t agreed = 0; ///< positions with the same first choice

  /// False where logits are not finite.
  bool add(std::span<const float> logits, std::span<const float> reference, int32_t token);

  /// Mean of losses - referenceLosses.
  double lossDifference() const;
  /// Of lossDifference(), over the tokens.
  double standardError() const;
  double meanDivergence() const;
  double agreement() const { return static_cast<double>(agreed) / static_cast<double>(losses.size()); }
};

double meanOf(std::span<const double> values);

} // namespace quant::generate

#endif // QUANT_TOOLS_GENERATE_TOKEN_SCORE_H
