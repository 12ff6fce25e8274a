//===- config_parse.cpp - configurations in DeepSeek's and Hugging Face's words -===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "models/config_fields.h"
#include "models/text.h"
#include "runtime/support/object_reader.h"

#include <fmt/core.h>

#include <algorithm>

using namespace quant;
using namespace quant::models;
using nlohmann::json;

//===----------------------------------------------------------------------===//
// What both styles share
//===----------------------------------------------------------------------===//

/// Sigmoid is V3 and softmax V2: what follows from one when the others are not given (ModelArgs has only score_func).
static void setGateDefaults(ModelConfig &config) {
  bool sigmoid = config.scoreFunc == ScoreFunc::Sigmoid;
  config.normTopkProb = sigmoid;
  config.topkMethod = sigmoid                    ? TopkMethod::NoauxTc
                      : config.nExpertGroups > 1 ? TopkMethod::GroupLimitedGreedy
                                                 : TopkMethod::Greedy;
}

static void readWeightBlock(ObjectReader &fields, std::array<int64_t, 2> &block) {
  const json *value = fields.find("weight_block_size");
  if (!value)
    return;
  bool pair = value->is_array() && value->size() == 2 && (*value)[0].is_number_integer() && (*value)[1].is_number_integer();
  if (!pair)
    return fields.refuse("weight_block_size", shortText(*value) + " is not two integers, rows and columns");
  // What does not fit i64 wraps to a negative number, which is out of range all the same.
  block = {(*value)[0].get<int64_t>(), (*value)[1].get<int64_t>()};
}

//===----------------------------------------------------------------------===//
// DeepSeek's style
//===----------------------------------------------------------------------===//

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

static Result<ModelConfig> parseDeepSeek(const json &object) {
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

//===----------------------------------------------------------------------===//
// Hugging Face's style
//===----------------------------------------------------------------------===//

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

static void readQuantization(ObjectReader &fields, ModelConfig &config) {
  config.dtype = WeightDType::FP8;
  std::string method, format = "e4m3", activations = "dynamic";
  fields.require("quant_method");
  fields.read("quant_method", method);
  if (method != "fp8")
    return fields.refuse("quant_method", "\"" + method + "\" is not supported, only fp8");
  fields.read("fmt", format);
  if (format != "e4m3" && format != "float8_e4m3fn")
    return fields.refuse("fmt", "\"" + format + "\" is not supported, only e4m3");
  fields.read("activation_scheme", activations);
  if (activations != "dynamic")
    return fields.refuse("activation_scheme", "\"" + activations + "\" is not supported, only dynamic");
  if (!fields.find("weight_block_size"))
    return fields.refuse("weight_block_size",
                         "is missing; FP8 with one scale a tensor is not supported, only blocks such as [128, 128]");
  readWeightBlock(fields, config.weightBlock);
  fields.readEnum("scale_fmt", config.scaleFmt, parseScaleFmt);
  // Two names of one list: transformers reads the first, vLLM the second.
  fields.read("modules_to_not_convert", config.modulesNotQuantized);
  std::vector<std::string> ignored;
  fields.read("ignored_layers", ignored);
  for (std::string &module : ignored)
    if (std::ranges::find(config.modulesNotQuantized, module) == config.modulesNotQuantized.end())
      config.modulesNotQuantized.push_back(std::move(module));
}

static Result<void> readStorage(ObjectReader &fields, ModelConfig &config) {
  std::string dtype = "bfloat16";
  fields.read("torch_dtype", dtype);
  fields.read("dtype", dtype); // the newer name
  if (fields.failed())
    return fields.result();
  if (const json *quantization = fields.find("quantization_config")) {
    if (!quantization->is_object())
      return fail("quantization_config: " + shortText(*quantization) + " is not an object");
    ObjectReader quantizationFields(*quantization, "quantization_config.");
    readQuantization(quantizationFields, config);
    return quantizationFields.result();
  }
  if (dtype != "bfloat16" && dtype != "float32")
    return fail("torch_dtype: \"" + dtype +
                "\" is not supported, only bfloat16 and float32 (FP8 comes with a quantization_config)");
  config.dtype = dtype == "bfloat16" ? WeightDType::BF16 : WeightDType::F32;
  return {};
}

static Result<ModelConfig> parseHuggingFace(const json &object) {
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

//===----------------------------------------------------------------------===//
// Which one it is
//===----------------------------------------------------------------------===//

Result<ModelConfig> models::parseConfig(const json &object) {
  if (!object.is_object())
    return fail("a model configuration is a JSON object, this is " + shortText(object));
  if (object.contains("hidden_size") && object.contains("dim"))
    return fail("hidden_size and dim: the keys of Hugging Face's and of DeepSeek's style are mixed; keep to one");
  if (object.contains("dim"))
    return parseDeepSeek(object);
  if (object.contains("model_type") || object.contains("hidden_size"))
    return parseHuggingFace(object);
  return fail("neither Hugging Face's model_type and hidden_size nor DeepSeek's dim is there; this is no model configuration");
}
