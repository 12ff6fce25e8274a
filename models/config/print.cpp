//===- print.cpp - printers of a model configuration ----------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "models/config/print.h"

#include "models/config/fields.h"
#include "models/config/names.h"
#include "models/config/scheme_config.h"
#include "models/config/tokens.h"

#include <nlohmann/json.hpp>

using namespace quant;
using namespace quant::models;

using nlohmann::json;

static json schemeJson(const Scheme &scheme) {
  json result = {{"scale_fmt", quant::name(scheme.scaleFmt)}};
  if (scheme.block[0] > 0 && scheme.block[1] > 0)
    result["weight_block_size"] = scheme.block;
  if (scheme.name != deepSeekFp8(scheme.scaleFmt).name)
    result["scheme"] = scheme.name;
  return result;
}

json models::toJson(const ModelConfig &config) {
  json result;
  for (const auto &field : kIntFields)
    result[field.deepSeek] = config.*field.member;
  for (const auto &field : kRealFields)
    result[field.deepSeek] = config.*field.member;
  result["model_type"] = config.modelType;
  result["score_func"] = name(config.scoreFunc);
  result["topk_method"] = name(config.topkMethod);
  result["norm_topk_prob"] = config.normTopkProb;
  result["tie_word_embeddings"] = config.tieWordEmbeddings;
  result["has_rope_scaling"] = config.hasRopeScaling;
  result["rope_interleave"] = config.ropeInterleave;
  result["dtype"] = config.isQuantized() ? "fp8" : storageName(config); // quantized, as `scheme` says
  result.update(schemeJson(config.quantization.mainScheme()));
  if (config.isQuantized() && config.quantization.groups != everyLinear(config.quantization.mainScheme()))
    for (const SchemeGroup &group : config.quantization.groups) {
      result["scheme_groups"].push_back(schemeJson(group.scheme));
      result["scheme_groups"].back()["targets"] = group.targets;
    }
  result["modules_to_not_convert"] = config.quantization.notQuantized;
  if (config.ropeAttentionFactor)
    result["rope_attention_factor"] = *config.ropeAttentionFactor;
  if (config.bosTokenId)
    result["bos_token_id"] = *config.bosTokenId;
  if (!config.eosTokenIds.empty())
    result["eos_token_id"] = tokenIdsJson(config.eosTokenIds);
  return result;
}

static json ropeScaling(const ModelConfig &config) {
  if (!config.hasRopeScaling)
    return nullptr;
  json rope = {{"type", "yarn"}};
  for (const auto &field : kIntFields)
    if (field.huggingFace.starts_with('@'))
      rope[field.huggingFace.substr(1)] = config.*field.member;
  for (const auto &field : kRealFields)
    if (field.huggingFace.starts_with('@'))
      rope[field.huggingFace.substr(1)] = config.*field.member;
  if (config.ropeAttentionFactor)
    rope["attention_factor"] = *config.ropeAttentionFactor;
  return rope;
}

json models::toHuggingFaceJson(const ModelConfig &config) {
  json result = {{"model_type", config.modelType},
                 {"architectures", {config.modelType == "deepseek_v3" ? "DeepseekV3ForCausalLM" : "DeepseekV2ForCausalLM"}},
                 {"attention_bias", false},
                 {"hidden_act", "silu"},
                 {"moe_layer_freq", 1},
                 {"num_key_value_heads", config.nHeads},
                 {"scoring_func", name(config.scoreFunc)},
                 {"topk_method", name(config.topkMethod)},
                 {"norm_topk_prob", config.normTopkProb},
                 {"tie_word_embeddings", config.tieWordEmbeddings},
                 {"rope_interleave", config.ropeInterleave},
                 {"rope_scaling", ropeScaling(config)},
                 {"torch_dtype", config.plain == DType::F32   ? "float32"
                                 : config.plain == DType::F16 ? "float16"
                                                              : "bfloat16"}};
  for (const auto &field : kIntFields)
    if (!field.huggingFace.empty() && !field.huggingFace.starts_with('@'))
      result[field.huggingFace] = config.*field.member;
  for (const auto &field : kRealFields)
    if (!field.huggingFace.starts_with('@'))
      result[field.huggingFace] = config.*field.member;
  if (config.qLoraRank == 0)
    result["q_lora_rank"] = nullptr;
  if (config.isQuantized())
    result["quantization_config"] = toQuantizationConfig(config.quantization.mainScheme(), config.quantization.notQuantized);
  if (config.bosTokenId)
    result["bos_token_id"] = *config.bosTokenId;
  if (!config.eosTokenIds.empty())
    result["eos_token_id"] = tokenIdsJson(config.eosTokenIds);
  return result;
}
