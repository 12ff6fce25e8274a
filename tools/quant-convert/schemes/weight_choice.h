//===- weight_choice.h - which weights are cast to FP8 ----------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_TOOLS_QUANT_CONVERT_SCHEMES_WEIGHT_CHOICE_H
#define QUANT_TOOLS_QUANT_CONVERT_SCHEMES_WEIGHT_CHOICE_H

#include "runtime/checkpoint/checkpoint.h"

#include <set>

namespace quant::convert {

/// Names of tensors.
using WeightSet = std::set<std::string, std::less<>>;

/// The weights of a checkpoint that have a scale ("X.weight" for "X.weight_scale_inv"). Fails if there is none.
Result<WeightSet> scaledWeights(const checkpoint::Checkpoint &reference);

/// One name a line; empty lines and those that begin with '#' are left out. Fails on an empty list.
Result<WeightSet> readWeightsList(const std::filesystem::path &path);

/// Those that DeepSeek-V3 stores as FP8 in a model of this config.json: attention and FFN, MTP layers included; no embedding,
/// norm, gate, eh_proj or head.
Result<WeightSet> modelWeights(const checkpoint::Checkpoint &checkpoint);

/// Takes those out that a pattern matches. As Python's re.match: from the name's beginning, its end is free.
Result<void> ignoreWeights(WeightSet &weights, const std::vector<std::string> &patterns);

/// For modules_to_not_convert: the modules of all that stays as it is and is no vector: "lm_head", "model.layers.3.mlp.gate",
/// "vision_tower.blocks.0.attn.qkv". Loaders go by names: what is not listed they take for quantized, unless it is a layer that
/// they never quantize, and which those are differs. A parameter that is not called "weight" is listed by its own name.
std::vector<std::string> notConvertedModules(const checkpoint::Checkpoint &checkpoint, const WeightSet &weights);

} // namespace quant::convert

#endif // QUANT_TOOLS_QUANT_CONVERT_SCHEMES_WEIGHT_CHOICE_H
