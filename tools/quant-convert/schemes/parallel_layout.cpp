//===- parallel_layout.cpp - DeepSeek's names and placement ---------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/quant-convert/schemes/parallel_layout.h"

#include "runtime/support/text.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <ranges>
#include <vector>

using namespace quant;
using namespace quant::convert;

namespace {

/// What becomes of a module, by the last part of its name.
struct Rule {
  std::string_view from, to;
  int dim; ///< -1: on every rank
};

constexpr std::array kRules = {
    Rule{"embed_tokens", "embed", 0},
    Rule{"q_proj", "wq", 0},
    Rule{"q_b_proj", "wq_b", 0},
    Rule{"kv_b_proj", "wkv_b", 0},
    Rule{"gate_proj", "w1", 0},
    Rule{"up_proj", "w3", 0},
    Rule{"lm_head", "head", 0},
    Rule{"o_proj", "wo", 1},
    Rule{"down_proj", "w2", 1},
    Rule{"q_a_proj", "wq_a", -1},
    Rule{"kv_a_proj_with_mqa", "wkv_a", -1},
    Rule{"q_a_layernorm", "q_norm", -1},
    Rule{"kv_a_layernorm", "kv_norm", -1},
    Rule{"input_layernorm", "attn_norm", -1},
    Rule{"post_attention_layernorm", "ffn_norm", -1},
    Rule{"norm", "norm", -1},
    Rule{"gate", "gate", -1},
};
/// What only an MTP layer has.
constexpr std::array kMtpRules = {Rule{"eh_proj", "eh_proj", -1}, Rule{"enorm", "enorm", -1}, Rule{"hnorm", "hnorm", -1},
                                  Rule{"head", "head", 0}};
/// Parts of names, wherever they stand.
constexpr std::array kParts = {Rule{"self_attn", "attn", -1}, Rule{"mlp", "ffn", -1}, Rule{"weight_scale_inv", "scale", -1},
                               Rule{"weight_scale", "scale", -1}, Rule{"e_score_correction_bias", "bias", -1}};

} // namespace

template <size_t N>
static const Rule *find(const std::array<Rule, N> &rules, std::string_view part) {
  auto found = std::ranges::find(rules, part, &Rule::from);
  return found == rules.end() ? nullptr : &*found;
}

static std::vector<std::string_view> split(std::string_view name) {
  std::vector<std::string_view> parts;
  for (auto part : std::views::split(name, '.'))
    parts.emplace_back(part.begin(), part.end());
  return parts;
}

static std::optional<int64_t> parseNumber(std::string_view text) {
  int64_t number = -1;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  return error == std::errc() && end == text.data() + text.size() && number >= 0 ? std::optional(number) : std::nullopt;
}

/// The number after the part `before`, as in "layers.61" and "experts.7".
static std::optional<int64_t> numberAfter(const std::vector<std::string_view> &parts, std::string_view before) {
  auto found = std::ranges::find(parts, before);
  return found != parts.end() && found + 1 != parts.end() ? parseNumber(found[1]) : std::nullopt;
}

Result<std::optional<Placement>> convert::place(std::string_view tensor, const LayoutOptions &options) {
  auto parts = split(tensor);
  auto layer = numberAfter(parts, "layers");
  bool isMtp = layer && *layer >= options.firstMtpLayer;
  if (isMtp && !options.keepMtp)
    return std::nullopt;
  if (!parts.empty() && parts.front() == "model")
    parts.erase(parts.begin());
  const Rule *rule = parts.size() < 2 ? nullptr : find(kRules, parts[parts.size() - 2]);
  if (!rule && isMtp && parts.size() >= 2)
    rule = find(kMtpRules, parts[parts.size() - 2]);
  if (!rule)
    return fail("tensor " + quote(tensor) + ": DeepSeek's model-parallel layout has no such module; is it a DeepSeek model?");
  Placement result;
  if (std::ranges::find(parts, "experts") != parts.end()) {
    auto expert = numberAfter(parts, "experts");
    if (!expert || *expert >= options.experts)
      return fail(fmt::format("tensor {}: is of an expert beyond --n-experts {}", quote(tensor), options.experts));
    result.rank = *expert / (options.experts / options.ranks);
  } else if (rule->dim >= 0) {
    result.dim = rule->dim;
  }
  for (size_t i = 0; i < parts.size(); ++i) {
    const Rule *part = i + 2 == parts.size() ? rule : find(kParts, parts[i]);
    result.name += (i == 0 ? "" : ".") + std::string(part ? part->to : parts[i]);
  }
  return result;
}
