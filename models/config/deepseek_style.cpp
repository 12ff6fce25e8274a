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
#include "models/config/validate.h"
#include "runtime/support/object_reader.h"

#include <algorithm>

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
                                                          "scale_fmt"};

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
  fields.readEnum("dtype", config.dtype, parseWeightDType);
  fields.readEnum("scale_fmt", config.scaleFmt, parseScaleFmt);
  readWeightBlock(fields, config.weightBlock);
  fields.read("modules_to_not_convert", config.modulesNotQuantized);
  fields.read("bos_token_id", config.bosTokenId);
  fields.read("eos_token_id", config.eosTokenId);
}

Result<ModelConfig> models::parseDeepSeek(const json &object) {
  QUANT_TRY(checkDeepSeekKeys(object));
  ObjectReader fields(object);
  ModelConfig config;
  config.ropeFactor = 40; // ModelArgs' default
  for (const auto &field : kIntFields) {
    if (field.required)
      fields.require(field.deepSeek);
    fields.read(field.deepSeek, config.*field.member);
  }
  for (const auto &field : kRealFields)
    fields.read(field.deepSeek, config.*field.member);
  if (!fields.find("mscale_all_dim"))
    config.mscaleAllDim = config.mscale; // MLA.softmax_scale uses mscale, and cos and sin get no factor
  readDeepSeekRest(fields, config);
  QUANT_TRY(fields.result());
  QUANT_TRY(validateConfig(config, FieldNames{}));
  return config;
}
