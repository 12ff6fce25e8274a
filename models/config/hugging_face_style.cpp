//===- hugging_face_style.cpp - configurations in Hugging Face's words ----===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "models/config/hugging_face_style.h"

#include "models/config/class_defaults.h"
#include "models/config/gate.h"
#include "models/config/hugging_face_keys.h"
#include "models/config/hugging_face_rope.h"
#include "models/config/names.h"
#include "models/config/storage.h"
#include "models/config/tokens.h"
#include "models/config/validate.h"
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
  readTokenIds(fields, config);
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
  fields.expect("use_mla", true, "only latent attention is supported");
  fields.expect("qk_head_dim", config.qkHeadDim(), "qk_nope_head_dim and qk_rope_head_dim together");
  fields.expect("num_local_experts", config.nRoutedExperts, "it is another name of n_routed_experts");
}

/// deepseek_v3 or deepseek_v2. Kimi-K2 is DeepSeek-V3 under a name of its own (its deployment guide says so).
static Result<std::string> readModelType(const json &object, std::vector<std::string> &notes) {
  ObjectReader fields(object);
  std::string type;
  fields.require("model_type");
  fields.read("model_type", type);
  QUANT_TRY(fields.result());
  for (const char *part : {"text_config", "language_config"})
    if (object.contains(part))
      return fail(fmt::format("{0}: the language model's keys are in there, the rest of model_type {1} takes no text; make a "
                              "config.json of {0} to compile it alone",
                              part, shortText(type)));
  if (type == "kimi_k2") {
    notes.emplace_back("model_type kimi_k2 is read as deepseek_v3, of which it is another name");
    return "deepseek_v3";
  }
  if (type != "deepseek_v3" && type != "deepseek_v2")
    return fail(fmt::format("model_type: {} is not supported, only deepseek_v3 and deepseek_v2 (and kimi_k2, which is "
                            "deepseek_v3); the models distilled from DeepSeek-R1 are Qwen2 and Llama models",
                            shortText(type)));
  return type;
}

/// The numbers, the gate, rope and storage of an object that leaves nothing out.
static Result<ModelConfig> readCompleted(const json &object, const std::string &modelType, std::string &defaults) {
  ObjectReader fields(object);
  FieldNames names{NameStyle::HuggingFace};
  ModelConfig config;
  config.modelType = modelType;
  readHuggingFaceNumbers(fields, config);
  readHuggingFaceGate(fields, config);
  refuseUnsupported(fields, config);
  std::string ropeDefaults;
  QUANT_TRY(readRope(fields, config, names, ropeDefaults));
  QUANT_TRY(readStorage(fields, config));
  QUANT_TRY(fields.result());
  if (!ropeDefaults.empty())
    defaults += (defaults.empty() ? "" : ", ") + ropeDefaults;
  QUANT_TRY(validateConfig(config, names));
  return config;
}

/// Whether `message` names one of the keys of `defaults`, "n_group 8, topk_group 4".
static bool namesDefault(const std::string &message, std::string_view defaults) {
  while (!defaults.empty()) {
    if (message.find(defaults.substr(0, defaults.find(' '))) != message.npos)
      return true;
    size_t next = defaults.find(", ");
    defaults = next == defaults.npos ? "" : defaults.substr(next + 2);
  }
  return false;
}

Result<ModelConfig> models::parseHuggingFace(const json &object, std::vector<std::string> &notes) {
  QUANT_TRY_ASSIGN(std::string modelType, readModelType(object, notes));
  QUANT_TRY(checkHuggingFaceKeys(object, notes));
  QUANT_TRY_ASSIGN(CompletedConfig completed, completeConfig(object, modelType));
  auto config = readCompleted(completed.object, modelType, completed.defaults);
  if (completed.defaults.empty())
    return config;
  std::string note = fmt::format("not in config.json, so that the class default of {} counts: {}", modelType, completed.defaults);
  if (!config)
    return namesDefault(config.error().message, completed.defaults) ? fail(config.error().message + "; " + note) : config;
  notes.push_back(std::move(note));
  return config;
}
