//===- parallel_layout.h - DeepSeek's names and placement -------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The layout that deepseek-ai/DeepSeek-V3's inference/model.py loads: what its inference/convert.py makes of the Hugging Face
// names.
//
//   split by rows      embed_tokens > embed, q_proj > wq, q_b_proj > wq_b, kv_b_proj > wkv_b, gate_proj > w1, up_proj > w3,
//                      lm_head > head
//   split by columns   o_proj > wo, down_proj > w2
//   on every rank      q_a_proj > wq_a, kv_a_proj_with_mqa > wkv_a, q_a_layernorm > q_norm, kv_a_layernorm > kv_norm,
//                      input_layernorm > attn_norm, post_attention_layernorm > ffn_norm, norm, gate
//   on one rank        routed experts, whole: rank index / (experts / ranks)
//
// `model.` goes, self_attn > attn, mlp > ffn, weight_scale_inv > scale, e_score_correction_bias > bias. MTP layers, which that
// program does not know, are left out, or with keepMtp named by the same rules: eh_proj, enorm and hnorm on every rank,
// shared_head.head split by rows.
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_TOOLS_QUANT_CONVERT_SCHEMES_PARALLEL_LAYOUT_H
#define QUANT_TOOLS_QUANT_CONVERT_SCHEMES_PARALLEL_LAYOUT_H

#include "runtime/support/result.h"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace quant::convert {

struct LayoutOptions {
  int64_t experts = 0, ranks = 1;
  int64_t firstMtpLayer = 61; ///< layers from there on are MTP layers
  bool keepMtp = false;
};

/// Where a tensor goes.
struct Placement {
  std::string name;
  std::optional<int64_t> rank; ///< the only one
  std::optional<int> dim;      ///< split along it over all ranks; neither: a copy on each
};

/// Nothing: the tensor is left out. Fails on a name that the layout does not know and on an expert beyond `experts`.
Result<std::optional<Placement>> place(std::string_view tensor, const LayoutOptions &options);

} // namespace quant::convert

#endif // QUANT_TOOLS_QUANT_CONVERT_SCHEMES_PARALLEL_LAYOUT_H
