//===- class_defaults.h - what a key that is left out means -----*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Read on 2026-11-28:
//   transformers  src/transformers/models/deepseek_v3/configuration_deepseek_v3.py (DeepseekV3Config, of 001f85b3) and
//                 deepseek_v2/configuration_deepseek_v2.py (DeepseekV2Config, of 008e5743)
//   remote code   configuration_deepseek.py of DeepSeek-V3 and DeepSeek-V2, in copies (transformers' 43e8548f is one of V2's);
//                 Kimi-K2's was not found, and kimi_k2 is read as deepseek_v3
// The table with both, and where each was read, is in docs/configs.md. Where the two agree, or one of them has no such key, that
// value counts; where they differ there is none. Sizes that every published config.json has (hidden_size and the like) have no
// default here either.
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_MODELS_CONFIG_CLASS_DEFAULTS_H
#define QUANT_MODELS_CONFIG_CLASS_DEFAULTS_H

#include "runtime/support/result.h"

#include <nlohmann/json.hpp>

#include <string>
#include <string_view>

namespace quant::models {

/// A config.json with the keys that it leaves out.
struct CompletedConfig {
  nlohmann::json object;
  std::string defaults; ///< "n_group 8, topk_group 4": what was put in; "" when nothing was
};

/// Puts the class's default of `modelType` (deepseek_v3 or deepseek_v2) where `object` has no such key. Keys of experts are left
/// alone in a model without. A null stays where it says something (q_lora_rank: no q_a_proj; the counts of experts: none), and is
/// refused where it says nothing. Fails, naming the key, where the published classes differ.
Result<CompletedConfig> completeConfig(const nlohmann::json &object, std::string_view modelType);

} // namespace quant::models

#endif // QUANT_MODELS_CONFIG_CLASS_DEFAULTS_H
