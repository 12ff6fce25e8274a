//===- hugging_face_style.cpp - configurations in Hugging Face's words ----===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "models/config/hugging_face_style.h"

#include "models/config/gate.h"
#include "models/config/names.h"
#include "models/config/storage.h"
#include "models/config/validate.h"
#include "models/text.h"
#include "runtime/support/object_reader.h"

#include <fmt/core.h>

using namespace quant;
using namespace quant::models;

using nlohmann::json;

static void readHuggingFaceNumbers(ObjectReader &fields, ModelConfig &config) {
  for (const auto &field : kIntFields) {
    if (field.huggingFace.empty() || field.huggingFace.starts_with('@'))
      continue;
    if (field.required)
      fields.require(field.huggingFace);
    fields.read(field.huggingFace, config.*field.member);
  }
  for (const auto &field : kRealFields)
    if (!field.huggingFace.starts_with('@'))
      fields.read(field.huggingFace, config.*field.member);
  fields.read("tie_word_embeddings", config.tieWordEmbeddings);
  fields.read("rope_interleave", config.ropeInterleave);
  fields.read("bos_token_id", config.bosTokenId);
  fields.read("eos_token_id", config.eosTokenId);
}

static void readHuggingFaceGate(ObjectReader &fields, ModelConfig &config) {
  config.scoreFunc = config.modelType == "deepseek_v3" ? ScoreFunc::Sigmoid : ScoreFunc::Softmax;
  setGateDefaults(config);
  fields.expect("scoring_func", std::string(name(config.scoreFunc)), "the gate of " + config.modelType);
  fields.readEnum("topk_method", config.topkMethod, parseTopkMethod);
  fields.read("norm_topk_prob", config.normTopkProb);
}

/// What the family allows and none of its models uses.
static void refuseUnsupported(ObjectReader &fields, const ModelConfig &config) {
  fields.expect("hidden_act", "silu", "the experts are SwiGLU");
  fields.expect("attention_bias", false, "the attention projections have no bias");
  fields.expect("mlp_bias", false, "the FFN has no bias");
  fields.expect("moe_layer_freq", 1, "every layer from first_k_dense_replace on has experts");
  fields.expect("num_key_value_heads", config.nHeads, "latent attention has as many key heads as num_attention_heads");
  fields.expect("partial_rotary_factor", 1, "all of qk_rope_head_dim turns");
}

/// The values of the rope object; `type` and `rope_type` are old and new name of one key.
static void readRopeObject(ObjectReader &rope, ModelConfig &config) {
  std::string type = "default", oldType;
  rope.read("type", oldType);
  if (!oldType.empty())
    type = oldType;
  rope.read("rope_type", type);
  if (!oldType.empty() && type != oldType)
    rope.refuse("rope_type", "\"" + type + "\" contradicts type \"" + oldType + "\"");
  rope.read("rope_theta", config.ropeTheta);
  if (type == "default")
    return;
  if (type != "yarn" && type != "deepseek_yarn")
    return rope.refuse("type", "\"" + type + "\" is not supported, only yarn and default");
  config.hasRopeScaling = true;
  rope.require("factor");
  rope.require("original_max_position_embeddings");
  rope.expect("truncate", true, "the ends of the ramp are whole dimensions");
  for (const auto &field : kIntFields)
    if (field.huggingFace.starts_with('@'))
      rope.read(field.huggingFace.substr(1), config.*field.member);
  for (const auto &field : kRealFields)
    if (field.huggingFace.starts_with('@'))
      rope.read(field.huggingFace.substr(1), config.*field.member);
  rope.read("attention_factor", config.ropeAttentionFactor);
}

/// rope_scaling, or rope_parameters since transformers 5. Says in `names` which one it was.
static Result<void> readRope(ObjectReader &fields, ModelConfig &config, FieldNames &names) {
  const json *scaling = fields.find("rope_scaling"), *parameters = fields.find("rope_parameters");
  if (scaling && parameters && *scaling != *parameters)
    fields.refuse("rope_scaling", "contradicts rope_parameters; one of them is enough");
  if (fields.failed() || (!scaling && !parameters))
    return fields.result();
  names.ropeObject = scaling ? "rope_scaling" : "rope_parameters";
  const json &object = scaling ? *scaling : *parameters;
  if (!object.is_object())
    return fail(fmt::format("{}: {} is not an object", names.ropeObject, shortText(object)));
  ObjectReader rope(object, fmt::format("{}.", names.ropeObject));
  readRopeObject(rope, config);
  return rope.result();
}

Result<ModelConfig> models::parseHuggingFace(const json &object) {
  ObjectReader fields(object);
  FieldNames names{NameStyle::HuggingFace};
  ModelConfig config;
  fields.require("model_type");
  fields.read("model_type", config.modelType);
  if (!fields.failed() && config.modelType != "deepseek_v3" && config.modelType != "deepseek_v2")
    return fail(text("model_type: ", shortText(config.modelType), " is not supported, only deepseek_v3 and deepseek_v2"));
  readHuggingFaceNumbers(fields, config);
  readHuggingFaceGate(fields, config);
  refuseUnsupported(fields, config);
  QUANT_TRY(readRope(fields, config, names));
  QUANT_TRY(readStorage(fields, config));
  QUANT_TRY(fields.result());
  QUANT_TRY(validateConfig(config, names));
  return config;
}
