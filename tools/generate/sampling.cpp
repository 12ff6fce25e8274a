//===- sampling.cpp - choosing the next token -----------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/generate/sampling.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

namespace quant::generate {

static constexpr float kNever = -std::numeric_limits<float>::infinity();

/// Whether one id is likelier than another; of equals the lower one is.
static auto likelierOf(std::span<const float> logits) {
  return [logits](int32_t a, int32_t b) {
    float x = logits[static_cast<size_t>(a)], y = logits[static_cast<size_t>(b)];
    return x != y ? x > y : a < b;
  };
}

Result<TokenSampler> TokenSampler::create(const SamplingOptions &options) {
  if (options.topK < 0)
    return fail(fmt::format("top_k is {}, not 0 (all) or more", options.topK));
  if (!(options.minP >= 0 && options.minP <= 1))
    return fail(fmt::format("min_p is {:f}, not from 0 to 1", options.minP));
  if (!(options.repetitionPenalty > 0 && std::isfinite(options.repetitionPenalty)))
    return fail(fmt::format("repetition_penalty is {:f}, not a finite number above 0", options.repetitionPenalty));
  quant_sampler *sampler = nullptr;
  if (quant_sampler_create(options.temperature, options.topP, options.seed, &sampler) != QUANT_OK)
    return apiError();
  TokenSampler result;
  result.options = options;
  result.sampler.reset(sampler);
  return result;
}

void TokenSampler::penalize(std::span<float> logits, std::span<const int32_t> before) const {
  auto penalty = static_cast<float>(options.repetitionPenalty);
  std::vector<bool> done(logits.size());
  for (int32_t token : before) {
    auto at = static_cast<size_t>(token);
    if (token < 0 || at >= logits.size() || done[at])
      continue;
    done[at] = true;
    logits[at] = logits[at] > 0 ? logits[at] / penalty : logits[at] * penalty;
  }
}

void TokenSampler::keepLikely(std::span<float> logits) const {
  if (options.minP > 0) {
    float least = *std::ranges::max_element(logits) + static_cast<float>(std::log(options.minP) * options.temperature);
    for (float &logit : logits)
      logit = logit < least ? kNever : logit;
  }
  auto k = static_cast<size_t>(options.topK);
  if (k == 0 || k >= logits.size())
    return;
  std::vector<int32_t> order(logits.size());
  std::iota(order.begin(), order.end(), 0);
  std::nth_element(order.begin(), order.begin() + static_cast<ptrdiff_t>(k), order.end(), likelierOf(logits));
  for (size_t i = k; i < order.size(); ++i)
    logits[static_cast<size_t>(order[i])] = kNever;
}

/// The logits after penalty and cuts: themselves, or `changed`.
std::span<const float> TokenSampler::change(std::span<const float> logits, std::span<const int32_t> before,
                                            std::vector<float> &changed) const {
  bool penalizes = options.repetitionPenalty != 1, cuts = options.temperature > 0 && (options.minP > 0 || options.topK > 0);
  // NaN is quant_sample's to refuse, before anything is compared with it.
  if ((!penalizes && !cuts) || std::ranges::any_of(logits, [](float logit) { return std::isnan(logit); }))
    return logits;
  changed.assign(logits.begin(), logits.end());
  if (penalizes)
    penalize(changed, before);
  if (cuts)
    keepLikely(changed);
  return changed;
}

Result<int32_t> TokenSampler::sample(std::span<const float> logits, std::span<const int32_t> before) {
  logits = change(logits, before, changed);
  int32_t token = 0;
  if (quant_sample(sampler.get(), logits.data(), static_cast<int64_t>(logits.size()), &token) != QUANT_OK)
    return apiError();
  return token;
}

Result<int32_t> TokenSampler::guess(std::span<const float> logits, std::span<const int32_t> before) {
  if (std::span<const float> kept = change(logits, before, guessLogits); kept.data() != guessLogits.data())
    guessLogits.assign(kept.begin(), kept.end());
  if (quant_sample(sampler.get(), guessLogits.data(), static_cast<int64_t>(guessLogits.size()), &guessed) != QUANT_OK)
    return apiError();
  return guessed;
}

Result<int32_t> TokenSampler::sampleGuessed(std::span<const float> logits, std::span<const int32_t> before) {
  logits = change(logits, before, changed);
  int32_t token = 0;
  if (quant_sample_guessed(sampler.get(), logits.data(), guessLogits.data(), static_cast<int64_t>(logits.size()), guessed,
                           &token) != QUANT_OK)
    return apiError();
  return token;
}

double logSum(std::span<const float> logits, float top) {
  double sum = 0;
  for (float logit : logits)
    sum += std::exp(static_cast<double>(logit) - top);
  return std::log(sum);
}

std::vector<TokenLogprob> logprobsOf(std::span<const float> logits, int32_t token, size_t top) {
  float largest = *std::ranges::max_element(logits);
  double total = largest + logSum(logits, largest);
  auto of = [&](int32_t id) { return TokenLogprob{id, static_cast<float>(logits[static_cast<size_t>(id)] - total)}; };
  std::vector<TokenLogprob> result = {of(token)};
  std::vector<int32_t> order(logits.size());
  std::iota(order.begin(), order.end(), 0);
  top = std::min(top, order.size());
  std::partial_sort(order.begin(), order.begin() + static_cast<ptrdiff_t>(top), order.end(), likelierOf(logits));
  for (size_t i = 0; i < top; ++i)
    result.push_back(of(order[i]));
  return result;
}

} // namespace quant::generate
