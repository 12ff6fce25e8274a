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

namespace quant::models {

/// Reads a config.json of model_type deepseek_v3 or deepseek_v2, and validates.
Result<ModelConfig> parseHuggingFace(const nlohmann::json &object);

} // namespace quant::models

#endif // QUANT_MODELS_CONFIG_HUGGING_FACE_STYLE_H
