//===- deepseek_style.cpp - configurations in DeepSeek's words ------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "models/config/deepseek_style.h"

#include "models/config/gate.h"
#include "models/config/names.h"
#include "models/config/storage.h"
#include "models/config/tokens.h"
#include "models/config/validate.h"
#include "runtime/support/object_reader.h"

#include <fmt/core.h>

#include <algorithm>
#include <utility>

using namespace quant;
using namespace quant::models;

using nlohmann::json;

/// The keys of toJson() that are not numbers of the tables. ModelArgs has dtype, scale_fmt and score_func; the others are ours.
static constexpr std::string_view kOtherDeepSeekKeys[] = {"model_type",
                                                          "score_func",
                                                          "topk_method",
                                                          "norm_topk_prob",
                                                          "tie_word_embeddings",
                                                          "has_rope_scaling",
                                                          "rope_interleave",
                                                          "weight_block_size",
                                                          "modules_to_not_convert",
                                                          "rope_attention_factor",
                                                          "bos_token_id",
                                                          "eos_token_id",
                                                          "dtype",
                                                          "scale_fmt",
                                                          "scheme",
                                                          "scheme_groups"};

/// A key that ModelArgs and we do not know is a typing error: it would silently leave a default in place.
static Result<void> checkDeepSeekKeys(const json &object) {
  for (const auto &[key, value] : object.items()) {
    auto isKey = [&](const auto &field) { return field.deepSeek == key; };
    if (std::ranges::none_of(kIntFields, isKey) && std::ranges::none_of(kRealFields, isKey) &&
        std::ranges::find(kOtherDeepSeekKeys, key) == std::end(kOtherDeepSeekKeys))
      return fail(shortText(key) + ": is not a key of a DeepSeek configuration (ModelArgs in inference/model.py)");
  }
  return {};
}

static void readDeepSeekRest(ObjectReader &fields, ModelConfig &config) {
  fields.readEnum("score_func", config.scoreFunc, parseScoreFunc);
  setGateDefaults(config);
  config.modelType = config.scoreFunc == ScoreFunc::Sigmoid ? "deepseek_v3" : "deepseek_v2";
  fields.read("model_type", config.modelType);
  fields.readEnum("topk_method", config.topkMethod, parseTopkMethod);
  fields.read("norm_topk_prob", config.normTopkProb);
  fields.read("tie_word_embeddings", config.tieWordEmbeddings);
  config.hasRopeScaling = config.maxSeqLen > config.originalSeqLen;
  fields.read("has_rope_scaling", config.hasRopeScaling);
  fields.read("rope_attention_factor", config.ropeAttentionFactor);
  fields.read("rope_interleave", config.ropeInterleave);
  readDeepSeekStorage(fields, config);
  readTokenIds(fields, config);
}

/// ModelArgs' defaults that are not those of ModelConfig. Experts that nobody has are left at 0.
static void setModelArgsDefaults(ObjectReader &fields, ModelConfig &config) {
  if (!fields.find("rope_factor"))
    config.ropeFactor = 40;
  const std::pair<std::string_view, int64_t> experts[] = {
      {"moe_inter_dim", 1408}, {"n_routed_experts", 64}, {"n_shared_experts", 2}, {"n_activated_experts", 6}};
  for (const auto &[key, value] : experts)
    for (const auto &field : kIntFields)
      if (field.deepSeek == key && !fields.find(key) && config.hasMoe())
        config.*field.member = value;
}

/// "n_shared_experts 2, route_scale 1": the keys of ModelArgs that are left out and what they are then.
static std::string listDefaults(ObjectReader &fields, const ModelConfig &config) {
  constexpr std::string_view ours[] = {"max_batch_size", "n_mtp_layers", "rms_norm_eps", "mscale_all_dim"};
  std::string list;
  auto add = [&](std::string_view key, const auto &value) {
    if (!fields.find(key) && std::ranges::find(ours, key) == std::end(ours))
      list += fmt::format("{}{} {}", list.empty() ? "" : ", ", key, value);
  };
  for (const auto &field : kIntFields)
    add(field.deepSeek, config.*field.member);
  for (const auto &field : kRealFields)
    add(field.deepSeek, config.*field.member);
  add("score_func", name(config.scoreFunc));
  return list;
}

Result<ModelConfig> models::parseDeepSeek(const json &object, std::vector<std::string> &notes) {
  QUANT_TRY(checkDeepSeekKeys(object));
  ObjectReader fields(object);
  ModelConfig config;
  for (const auto &field : kIntFields) {
    if (field.required)
      fields.require(field.deepSeek);
    fields.read(field.deepSeek, config.*field.member);
  }
  for (const auto &field : kRealFields)
    fields.read(field.deepSeek, config.*field.member);
  setModelArgsDefaults(fields, config);
  if (!fields.find("mscale_all_dim"))
    config.mscaleAllDim = config.mscale; // MLA.softmax_scale uses mscale, and cos and sin get no factor
  readDeepSeekRest(fields, config);
  QUANT_TRY(fields.result());
  QUANT_TRY(validateConfig(config, FieldNames{}));
  if (std::string defaults = listDefaults(fields, config); !defaults.empty())
    notes.push_back("not in the configuration, so that the default of ModelArgs counts: " + defaults);
  return config;
}
