//===- fields.h - the fields of a model configuration, as tables --*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// What the two readers, the rules and the two printers share.
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_MODELS_CONFIG_FIELDS_H
#define QUANT_MODELS_CONFIG_FIELDS_H

#include "models/config.h"

#include <string>
#include <string_view>

namespace quant::models {

/// Whose key names a JSON uses.
enum class NameStyle { DeepSeek, HuggingFace };

/// A number of ModelConfig: its name in both styles and the closed range of its values. A Hugging Face name that starts
/// with '@' lies in the rope object (rope_scaling or rope_parameters); an empty one means that the style has no such key.
template <typename T>
struct NumberField {
  std::string_view deepSeek, huggingFace;
  T ModelConfig::*member;
  T min, max;
  bool required = false; ///< there is no default: the key must be there
};

inline constexpr int64_t kMaxDim = 1 << 24;
inline constexpr int64_t kMaxLayers = 1024;
inline constexpr int64_t kMaxExperts = 8192;
/// Experts of all layers together; each is three tensors or six.
inline constexpr int64_t kMaxExpertsOfAllLayers = 1 << 17;

inline constexpr NumberField<int64_t> kIntFields[] = {
    {"vocab_size", "vocab_size", &ModelConfig::vocabSize, 1, kMaxDim, true},
    {"dim", "hidden_size", &ModelConfig::dim, 1, kMaxDim, true},
    {"inter_dim", "intermediate_size", &ModelConfig::interDim, 1, kMaxDim, true},
    {"moe_inter_dim", "moe_intermediate_size", &ModelConfig::moeInterDim, 0, kMaxDim},
    {"n_layers", "num_hidden_layers", &ModelConfig::nLayers, 1, kMaxLayers, true},
    {"n_dense_layers", "first_k_dense_replace", &ModelConfig::nDenseLayers, 0, kMaxLayers, true},
    {"n_heads", "num_attention_heads", &ModelConfig::nHeads, 1, 65536, true},
    {"n_mtp_layers", "num_nextn_predict_layers", &ModelConfig::nMtpLayers, 0, 16},
    {"n_routed_experts", "n_routed_experts", &ModelConfig::nRoutedExperts, 0, kMaxExperts},
    {"n_shared_experts", "n_shared_experts", &ModelConfig::nSharedExperts, 0, kMaxExperts},
    {"n_activated_experts", "num_experts_per_tok", &ModelConfig::nActivatedExperts, 0, kMaxExperts},
    {"n_expert_groups", "n_group", &ModelConfig::nExpertGroups, 1, kMaxExperts},
    {"n_limited_groups", "topk_group", &ModelConfig::nLimitedGroups, 1, kMaxExperts},
    {"q_lora_rank", "q_lora_rank", &ModelConfig::qLoraRank, 0, kMaxDim},
    {"kv_lora_rank", "kv_lora_rank", &ModelConfig::kvLoraRank, 1, kMaxDim, true},
    {"qk_nope_head_dim", "qk_nope_head_dim", &ModelConfig::qkNopeHeadDim, 1, kMaxDim, true},
    {"qk_rope_head_dim", "qk_rope_head_dim", &ModelConfig::qkRopeHeadDim, 2, kMaxDim, true},
    {"v_head_dim", "v_head_dim", &ModelConfig::vHeadDim, 1, kMaxDim, true},
    {"original_seq_len", "@original_max_position_embeddings", &ModelConfig::originalSeqLen, 1, 1 << 30},
    {"max_batch_size", "", &ModelConfig::maxBatchSize, 1, 1 << 20},
    {"max_seq_len", "max_position_embeddings", &ModelConfig::maxSeqLen, 1, 1 << 30},
};

inline constexpr NumberField<double> kRealFields[] = {
    {"route_scale", "routed_scaling_factor", &ModelConfig::routeScale, 1e-6, 1e6},
    {"rms_norm_eps", "rms_norm_eps", &ModelConfig::rmsNormEps, 1e-20, 0.1},
    {"rope_theta", "rope_theta", &ModelConfig::ropeTheta, 2, 1e15},
    {"rope_factor", "@factor", &ModelConfig::ropeFactor, 1, 1e6},
    {"beta_fast", "@beta_fast", &ModelConfig::betaFast, 1e-3, 1e6},
    {"beta_slow", "@beta_slow", &ModelConfig::betaSlow, 1e-3, 1e6},
    {"mscale", "@mscale", &ModelConfig::mscale, 0, 100},
    {"mscale_all_dim", "@mscale_all_dim", &ModelConfig::mscaleAllDim, 0, 100},
};

/// Says a field's name in the words of the file that is being read.
struct FieldNames {
  NameStyle style = NameStyle::DeepSeek;
  std::string_view ropeObject = "rope_scaling"; ///< or rope_parameters; Hugging Face only

  std::string operator()(std::string_view deepSeekName) const;
};

} // namespace quant::models

#endif // QUANT_MODELS_CONFIG_FIELDS_H
