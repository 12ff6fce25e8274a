//===- amax.cpp - scales of inputs by their largest magnitudes ------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/quant-convert/calibrate/amax.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <numeric>

using namespace quant;
using namespace quant::convert;

/// The largest number of E4M3.
static constexpr float kLargest = 448;

/// Of the pieces that tokens reached, in their order.
static std::vector<float> historyOf(const InputRange &range) {
  std::vector<float> history;
  for (size_t i = 0; i < range.largest.size(); ++i)
    if (range.tokens[i] > 0)
      history.push_back(range.largest[i]);
  return history;
}

std::optional<float> convert::reduceAmax(const InputRange &range, const AmaxOptions &options) {
  std::vector<float> history = historyOf(range);
  if (history.empty())
    return std::nullopt;
  auto last = static_cast<std::ptrdiff_t>(history.size());
  switch (options.recipe) {
  case AmaxRecipe::RunningMax:
    return std::ranges::max(history);
  case AmaxRecipe::Delayed:
    return *std::max_element(history.end() - std::min<std::ptrdiff_t>(last, options.history), history.end());
  case AmaxRecipe::Percentile:
    break;
  }
  std::ranges::sort(history);
  double at = options.percentile / 100 * static_cast<double>(last - 1);
  auto below = static_cast<size_t>(at), above = std::min(below + 1, history.size() - 1);
  return static_cast<float>(history[below] + (at - std::floor(at)) * (static_cast<double>(history[above]) - history[below]));
}

//===----------------------------------------------------------------------===//
// Layers that go together
//===----------------------------------------------------------------------===//

namespace {

/// Layers that read one input and have one scale.
struct SharedInput {
  std::vector<std::string> layers;
  InputRange range; ///< the larger of theirs
  std::optional<float> amax;
  std::string experts; ///< the same input of all experts of the layer; empty: it is no expert's

  int64_t tokens() const { return std::reduce(range.tokens.begin(), range.tokens.end()); }
};

} // namespace

/// What the layers with one input have in common: "model.layers.3.mlp gate_up".
static std::string inputName(const std::string &layer) {
  constexpr std::pair<std::string_view, std::string_view> kFused[] = {
      {"q_a_proj", "a"}, {"q_proj", "a"}, {"kv_a_proj_with_mqa", "a"}, {"gate_proj", "gate_up"}, {"up_proj", "gate_up"}};
  size_t at = layer.rfind('.');
  std::string_view projection = std::string_view(layer).substr(at + 1);
  const auto *fused = std::ranges::find(kFused, projection, &std::pair<std::string_view, std::string_view>::first);
  return layer.substr(0, at) + " " + std::string(fused == std::end(kFused) ? projection : fused->second);
}

/// "model.layers.3.mlp.experts.7 gate_up" without the expert's number.
static std::string allExperts(const std::string &input) {
  constexpr std::string_view kExperts = ".experts.";
  size_t at = input.find(kExperts);
  return at == input.npos ? "" : input.substr(0, at + kExperts.size()) + input.substr(input.find(' ', at));
}

static std::map<std::string, SharedInput> sharedInputs(const InputRanges &ranges, const AmaxOptions &options) {
  std::map<std::string, SharedInput> inputs;
  for (const auto &[layer, range] : ranges) {
    std::string name = inputName(layer);
    SharedInput &input = inputs[name];
    input.experts = allExperts(name);
    input.layers.push_back(layer);
    input.range.largest.resize(range->largest.size());
    input.range.tokens.resize(range->tokens.size());
    for (size_t i = 0; i < range->largest.size(); ++i) {
      input.range.largest[i] = std::max(input.range.largest[i], range->largest[i]);
      input.range.tokens[i] = std::max(input.range.tokens[i], range->tokens[i]);
    }
  }
  for (auto &[name, input] : inputs)
    input.amax = reduceAmax(input.range, options);
  return inputs;
}

/// Errors: see staticScales().
static Result<StaticScale> scaleOf(const SharedInput &input, std::optional<float> amax) {
  const std::string &layer = input.layers.front();
  if (!amax)
    return fail(
        fmt::format("{}: no token of the calibration text reached it, nor any expert of its layer: there is no scale for its "
                    "inputs; give it a scheme that scales inputs per token, such as fp8-tensor, in a --policy",
                    layer));
  StaticScale scale{*amax, *amax / kLargest, input.tokens()};
  if (!std::isnormal(scale.scale))
    return fail(
        fmt::format("{}: the largest magnitude of its inputs on the calibration text is {}, which gives no scale; is the "
                    "checkpoint damaged? Else give it a scheme that scales inputs per token, such as fp8-tensor, in a --policy",
                    layer, *amax));
  for (float largest : historyOf(input.range)) {
    ++scale.pieces;
    scale.beyond += largest > *amax;
  }
  return scale;
}

Result<StaticScales> convert::staticScales(const InputRanges &ranges, const AmaxOptions &options, int64_t expertFloor) {
  auto inputs = sharedInputs(ranges, options);
  std::map<std::string, float> ofExperts;
  for (const auto &[name, input] : inputs)
    if (input.amax && !input.experts.empty()) {
      float &largest = ofExperts[input.experts];
      largest = std::max(largest, *input.amax);
    }
  StaticScales scales;
  for (const auto &[name, input] : inputs) {
    bool isFew = !input.experts.empty() && (!input.amax || input.tokens() < expertFloor);
    auto others = ofExperts.find(input.experts);
    bool borrows = isFew && others != ofExperts.end();
    QUANT_TRY_ASSIGN(StaticScale scale, scaleOf(input, borrows ? others->second : input.amax));
    scale.isBorrowed = borrows;
    for (const std::string &layer : input.layers)
      scales[layer] = scale;
  }
  return scales;
}
