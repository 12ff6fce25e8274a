//===- validate.cpp - the rules of a model configuration ------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "models/config/validate.h"

#include "models/config/names.h"
#include "models/text.h"

#include <algorithm>
#include <cstdint>
#include <regex>

using namespace quant;
using namespace quant::models;

using Rule = Result<void> (*)(const ModelConfig &, const FieldNames &);

//===----------------------------------------------------------------------===//
// Ranges
//===----------------------------------------------------------------------===//

template <typename T, size_t N>
static Result<void> checkRanges(const NumberField<T> (&fields)[N], const ModelConfig &config, const FieldNames &names) {
  for (const auto &field : fields) {
    T value = config.*field.member;
    if (!(value >= field.min && value <= field.max)) // a NaN is outside, too
      return fail(text(names(field.deepSeek), ": ", value, " is not in ", field.min, " .. ", field.max));
  }
  return {};
}

static Result<void> checkRanges(const ModelConfig &config, const FieldNames &names) {
  QUANT_TRY(checkRanges(kIntFields, config, names));
  return checkRanges(kRealFields, config, names);
}

//===----------------------------------------------------------------------===//
// Layers, experts and the gate
//===----------------------------------------------------------------------===//

static Result<void> checkLayers(const ModelConfig &config, const FieldNames &names) {
  if (config.modelType != "deepseek_v3" && config.modelType != "deepseek_v2")
    return fail(text("model_type: \"", config.modelType, "\" is not supported, only deepseek_v3 and deepseek_v2"));
  if (config.nDenseLayers > config.nLayers)
    return fail(
        text(names("n_dense_layers"), ": ", config.nDenseLayers, " is more than ", names("n_layers"), " ", config.nLayers));
  if (!config.hasMoe())
    return {};
  for (const char *field : {"n_routed_experts", "n_activated_experts", "moe_inter_dim"})
    for (const auto &number : kIntFields)
      if (number.deepSeek == field && config.*number.member == 0)
        return fail(text(names(field), ": 0, but the layers from ", config.nDenseLayers,
                         " on have experts; a model without experts has ", names("n_dense_layers"), " = ", names("n_layers")));
  int64_t moeLayers = config.nLayers + config.nMtpLayers - config.nDenseLayers;
  if (moeLayers * config.nRoutedExperts > kMaxExpertsOfAllLayers)
    return fail(text(names("n_routed_experts"), ": ", config.nRoutedExperts, " in each of ", moeLayers, " layers are more than ",
                     kMaxExpertsOfAllLayers, " together"));
  return {};
}

static Result<void> checkExperts(const ModelConfig &config, const FieldNames &names) {
  if (!config.hasMoe())
    return {};
  int64_t experts = config.nRoutedExperts, groups = config.nExpertGroups;
  if (config.nActivatedExperts > experts)
    return fail(text(names("n_activated_experts"), ": ", config.nActivatedExperts, " is more than ", names("n_routed_experts"),
                     " ", experts));
  if (experts % groups != 0)
    return fail(text(names("n_expert_groups"), ": ", groups, " does not divide ", names("n_routed_experts"), " ", experts));
  if (config.nLimitedGroups > groups)
    return fail(
        text(names("n_limited_groups"), ": ", config.nLimitedGroups, " is more than ", names("n_expert_groups"), " ", groups));
  int64_t reachable = config.nLimitedGroups * (experts / groups);
  if (config.nActivatedExperts > reachable)
    return fail(text(names("n_activated_experts"), ": ", config.nActivatedExperts, " is more than the ", reachable,
                     " experts in ", config.nLimitedGroups, " groups (", names("n_limited_groups"), ") of ", experts / groups));
  return {};
}

static Result<void> checkGate(const ModelConfig &config, const FieldNames &names) {
  bool sigmoid = config.scoreFunc == ScoreFunc::Sigmoid;
  if (sigmoid != (config.topkMethod == TopkMethod::NoauxTc))
    return fail(text("topk_method: \"", name(config.topkMethod), "\" does not go with ", names("score_func"), " \"",
                     name(config.scoreFunc), "\": noaux_tc is for sigmoid, the others for softmax"));
  if (!sigmoid && config.normTopkProb)
    return fail(text("norm_topk_prob: true with ", names("score_func"),
                     " \"softmax\" means different things to different programs (transformers ignores it, modeling_deepseek.py "
                     "normalises and then does not scale); set it to false"));
  int64_t groups = config.nExpertGroups;
  if (config.topkMethod == TopkMethod::Greedy && groups != 1)
    return fail(
        text(names("n_expert_groups"), ": ", groups,
             " with topk_method \"greedy\", which knows no groups; set it to 1, or topk_method to \"group_limited_greedy\""));
  if (config.hasMoe() && sigmoid && groups > 1 && config.nRoutedExperts / groups < 2)
    return fail(
        text(names("n_expert_groups"), ": ", groups, " leaves one expert a group, but noaux_tc scores a group by its best two"));
  return {};
}

//===----------------------------------------------------------------------===//
// Rotary positions, storage
//===----------------------------------------------------------------------===//

static Result<void> checkRope(const ModelConfig &config, const FieldNames &names) {
  if (config.qkRopeHeadDim % 2 != 0)
    return fail(text(names("qk_rope_head_dim"), ": ", config.qkRopeHeadDim, " is odd, rotary positions turn pairs"));
  if (config.betaFast < config.betaSlow)
    return fail(text(names("beta_fast"), ": ", config.betaFast, " is less than ", names("beta_slow"), " ", config.betaSlow));
  double factor = config.ropeAttentionFactor.value_or(1.0);
  if (!(factor >= 1e-6 && factor <= 100))
    return fail(text(names("rope_attention_factor"), ": ", factor, " is not in 1e-06 .. 100"));
  return {};
}

static bool isModuleCharacter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-' || c == '.' ||
         c == '*';
}

static Result<void> checkStorage(const ModelConfig &config, const FieldNames &names) {
  bool allowsExpressions = config.quantization.mainScheme().method != "fp8";
  for (const std::string &module : config.quantization.notQuantized) {
    if (allowsExpressions && module.starts_with(kExpression))
      continue;
    bool plain = module.find_first_not_of("*.") != std::string::npos;
    for (char c : module)
      plain &= isModuleCharacter(c);
    if (!plain)
      return fail(text(names("modules_to_not_convert"), ": \"", module,
                       "\" is not a module's name; letters, digits, '_', '-', '.' and '*' for one part are known, regular "
                       "expressions are not"));
  }
  return config.quantization.checkExpressions();
}

//===----------------------------------------------------------------------===//
// Products
//===----------------------------------------------------------------------===//

/// a * b * ... in i64; false when that overflows.
static bool product(std::initializer_list<int64_t> factors, int64_t &result) {
  result = 1;
  for (int64_t factor : factors)
    if (__builtin_mul_overflow(result, factor, &result))
      return false;
  return true;
}

/// Sizes that are products stay below 2^31, and the whole model and its cache can be counted in bytes.
static Result<void> checkProducts(const ModelConfig &config, const FieldNames &names) {
  struct Width {
    const char *what;
    int64_t factor, each;
  };
  const Width widths[] = {{"n_heads", config.nHeads, config.qkHeadDim()},
                          {"n_heads", config.nHeads, config.qkNopeHeadDim + config.vHeadDim},
                          {"n_shared_experts", config.nSharedExperts, config.moeInterDim}};
  int64_t widest = std::max({config.vocabSize, config.dim, config.interDim, config.kvLoraRank + config.qkRopeHeadDim});
  for (const Width &width : widths) {
    int64_t rows = 0;
    if (!product({width.factor, width.each}, rows) || rows > INT32_MAX)
      return fail(text(names(width.what), ": ", width.factor, " times ", width.each, " is more than 2^31 - 1"));
    widest = std::max(widest, rows);
  }
  // Every weight of a layer is at most widest x widest, and a layer has fewer than 8 + 3 * (experts + 1) of them.
  int64_t bytes = 0, layers = config.nLayers + config.nMtpLayers + 2;
  if (!product({widest, std::max(config.dim, std::max(config.qLoraRank, config.kvLoraRank)), 16}, bytes) ||
      !product({bytes, layers, 8}, bytes) ||
      !product({3, config.nRoutedExperts + 4, config.moeInterDim + 1, config.dim, layers, 32}, bytes))
    return fail(text(names("dim"), ": ", config.dim, " with ", names("n_layers"), " ", config.nLayers,
                     " makes a model whose size overflows 64 bits"));
  if (!product({config.maxBatchSize, config.maxSeqLen, config.nHeads * (config.qkHeadDim() + config.vHeadDim), layers, 4}, bytes))
    return fail(text(names("max_seq_len"), ": ", config.maxSeqLen, " makes a cache whose size overflows 64 bits"));
  return {};
}

Result<void> models::validateConfig(const ModelConfig &config, const FieldNames &names) {
  const Rule rules[] = {checkRanges, checkLayers, checkExperts, checkGate, checkRope, checkStorage, checkProducts};
  for (Rule rule : rules)
    QUANT_TRY(rule(config, names));
  return {};
}

Result<void> models::validateConfig(const ModelConfig &config) { return validateConfig(config, FieldNames{}); }
