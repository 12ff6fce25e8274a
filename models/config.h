//===- config.h - the parameters of a DeepSeek-V3-family model ----*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// One struct for the two ways a configuration is written down:
//   - DeepSeek's own (deepseek-ai/DeepSeek-V3, inference/configs/*.json; the keys of `ModelArgs` in inference/model.py),
//   - Hugging Face's config.json (model_type deepseek_v3 or deepseek_v2).
// The folder config/ reads, checks and prints it: read.h, validate.h, print.h.
// A configuration that comes out of parseConfig() or loadConfig() has passed every rule of validateConfig(): the sizes are
// positive and bounded, no product of them overflows, and top-k, groups and layers fit each other.
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_MODELS_CONFIG_H
#define QUANT_MODELS_CONFIG_H

#include "models/config/scheme_config.h"

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace quant::models {

/// How the gate turns logits into scores.
enum class ScoreFunc { Sigmoid, Softmax };

/// How the gate selects experts.
enum class TopkMethod {
  NoauxTc,            ///< V3: groups, scores plus a per-expert bias for the selection only
  GroupLimitedGreedy, ///< V2: groups, no bias
  Greedy              ///< V2-Lite: no groups
};

/// A group's score, by which the groups are limited.
enum class GroupScore {
  SumOfTop2, ///< of the biased scores (noaux_tc)
  Max
};

/// Every parameter of a model. In brackets: the name in DeepSeek's files and in toJson() | the name in Hugging Face's
/// config.json.
struct ModelConfig {
  /// [model_type | model_type] "deepseek_v3" or "deepseek_v2"
  std::string modelType = "deepseek_v3";

  // Sizes.
  int64_t vocabSize = 0;   ///< [vocab_size | vocab_size]
  int64_t dim = 0;         ///< [dim | hidden_size]
  int64_t interDim = 0;    ///< [inter_dim | intermediate_size] of a dense layer
  int64_t moeInterDim = 0; ///< [moe_inter_dim | moe_intermediate_size] of one expert
  int64_t nLayers = 0;     ///< [n_layers | num_hidden_layers] without the MTP layers
  /// [n_dense_layers | first_k_dense_replace] layers 0 .. n-1 have a dense FFN, the others experts
  int64_t nDenseLayers = 0;
  int64_t nHeads = 0; ///< [n_heads | num_attention_heads]
  /// [n_mtp_layers | num_nextn_predict_layers] stored as layers nLayers .. nLayers + n - 1
  int64_t nMtpLayers = 0;

  // Experts and gate.
  int64_t nRoutedExperts = 0;                 ///< [n_routed_experts | n_routed_experts]
  int64_t nSharedExperts = 0;                 ///< [n_shared_experts | n_shared_experts] stored as one FFN of n * moeInterDim
  int64_t nActivatedExperts = 0;              ///< [n_activated_experts | num_experts_per_tok] top-k
  int64_t nExpertGroups = 1;                  ///< [n_expert_groups | n_group]
  int64_t nLimitedGroups = 1;                 ///< [n_limited_groups | topk_group] groups a token may choose from
  double routeScale = 1.0;                    ///< [route_scale | routed_scaling_factor] applied after normalisation
  ScoreFunc scoreFunc = ScoreFunc::Softmax;   ///< [score_func | scoring_func]
  TopkMethod topkMethod = TopkMethod::Greedy; ///< [topk_method | topk_method]
  bool normTopkProb = false;                  ///< [norm_topk_prob | norm_topk_prob] the selected weights sum to 1

  // Multi-head latent attention.
  int64_t qLoraRank = 0;     ///< [q_lora_rank | q_lora_rank] 0 (or null): q_proj instead of q_a_proj and q_b_proj
  int64_t kvLoraRank = 0;    ///< [kv_lora_rank | kv_lora_rank]
  int64_t qkNopeHeadDim = 0; ///< [qk_nope_head_dim | qk_nope_head_dim]
  int64_t qkRopeHeadDim = 0; ///< [qk_rope_head_dim | qk_rope_head_dim] even
  int64_t vHeadDim = 0;      ///< [v_head_dim | v_head_dim]
  double rmsNormEps = 1e-6;  ///< [rms_norm_eps | rms_norm_eps]; not of the latent norms, see kLatentNormEps
  /// [tie_word_embeddings | tie_word_embeddings] the head is embed_tokens, there is no lm_head.weight
  bool tieWordEmbeddings = false;

  // Rotary positions. The formulas are in models/rope.h.
  double ropeTheta = 10000.0; ///< [rope_theta | rope_theta, or rope_parameters.rope_theta]
  /// [has_rope_scaling | rope_scaling is there and its type is yarn] YaRN is on. Without the key in a DeepSeek file:
  /// max_seq_len > original_seq_len, which is DeepSeek's own condition
  bool hasRopeScaling = false;
  double ropeFactor = 1.0;       ///< [rope_factor | rope_scaling.factor]
  int64_t originalSeqLen = 4096; ///< [original_seq_len | rope_scaling.original_max_position_embeddings]
  double betaFast = 32;          ///< [beta_fast | rope_scaling.beta_fast]
  double betaSlow = 1;           ///< [beta_slow | rope_scaling.beta_slow]
  double mscale = 1.0;           ///< [mscale | rope_scaling.mscale]
  double mscaleAllDim = 0.0;     ///< [mscale_all_dim | rope_scaling.mscale_all_dim] in a DeepSeek file the same as mscale
  /// [rope_attention_factor | rope_scaling.attention_factor] when given, the cos/sin factor instead of the mscale quotient
  std::optional<double> ropeAttentionFactor;
  /// [rope_interleave | rope_interleave] pairs are (0, 1), (2, 3), ... in the checkpoint's order, else (0, n/2), (1, n/2 + 1),
  /// ...
  bool ropeInterleave = true;

  // Storage.
  /// [dtype | dtype or torch_dtype] of what is not quantized: BF16, F32 or F16
  DType plain = DType::BF16;
  /// [dtype, scale_fmt, weight_block_size, scheme, scheme_groups, modules_to_not_convert | quantization_config] of the linear
  /// layers; without groups all are `plain`. Norms, embeddings, the gate, eh_proj and the heads are never quantized, whatever it
  /// says.
  QuantizationConfig quantization;

  // Limits and tokens.
  int64_t maxBatchSize = 8;          ///< [max_batch_size | -]
  int64_t maxSeqLen = 4096 * 4;      ///< [max_seq_len | max_position_embeddings] tokens, prompt and answer together
  std::optional<int64_t> bosTokenId; ///< [bos_token_id | bos_token_id]
  std::vector<int64_t> eosTokenIds;  ///< [eos_token_id | eos_token_id] an integer or a list; any of them ends the text

  bool operator==(const ModelConfig &) const = default;

  /// Layer `layer` (MTP layers count on from nLayers) has experts.
  bool isMoeLayer(int64_t layer) const { return layer >= nDenseLayers; }
  /// Any layer, MTP included, has experts.
  bool hasMoe() const { return nLayers + nMtpLayers > nDenseLayers; }
  /// The gate has an e_score_correction_bias, f32 [nRoutedExperts].
  bool hasGateBias() const { return topkMethod == TopkMethod::NoauxTc; }
  GroupScore groupScore() const { return hasGateBias() ? GroupScore::SumOfTop2 : GroupScore::Max; }
  /// Of a query or key head: position-free part and rotary part.
  int64_t qkHeadDim() const { return qkNopeHeadDim + qkRopeHeadDim; }
  /// Some linear layers are quantized.
  bool isQuantized() const { return !quantization.groups.empty(); }
};

/// Epsilon of q_a_layernorm and kv_a_layernorm: 1e-6 whatever rms_norm_eps says (DeepSeek's model.py, its
/// modeling_deepseek.py and transformers agree: those norms are built without the configured epsilon).
inline constexpr double kLatentNormEps = 1e-6;

} // namespace quant::models

#endif // QUANT_MODELS_CONFIG_H
