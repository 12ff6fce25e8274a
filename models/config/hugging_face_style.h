//===- hugging_face_style.h - configurations in Hugging Face's words --*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_MODELS_CONFIG_HUGGING_FACE_STYLE_H
#define QUANT_MODELS_CONFIG_HUGGING_FACE_STYLE_H

#include "models/config.h"
#include "runtime/support/result.h"

#include <nlohmann/json_fwd.hpp>

#include <string>
#include <vector>

namespace quant::models {

/// Reads a config.json of model_type deepseek_v3, deepseek_v2 or kimi_k2, and validates. Adds to `notes` what a user should know:
/// which defaults were taken, which keys are not read.
Result<ModelConfig> parseHuggingFace(const nlohmann::json &object, std::vector<std::string> &notes);

} // namespace quant::models

#endif // QUANT_MODELS_CONFIG_HUGGING_FACE_STYLE_H
