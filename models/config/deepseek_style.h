//===- deepseek_style.h - configurations in DeepSeek's words ----*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_MODELS_CONFIG_DEEPSEEK_STYLE_H
#define QUANT_MODELS_CONFIG_DEEPSEEK_STYLE_H

#include "models/config.h"
#include "runtime/support/result.h"

#include <nlohmann/json_fwd.hpp>

#include <string>
#include <vector>

namespace quant::models {

/// Reads an object with the keys of ModelArgs (inference/model.py of deepseek-ai/DeepSeek-V3) and our own, and validates.
/// Adds to `notes` which defaults of ModelArgs were taken.
Result<ModelConfig> parseDeepSeek(const nlohmann::json &object, std::vector<std::string> &notes);

} // namespace quant::models

#endif // QUANT_MODELS_CONFIG_DEEPSEEK_STYLE_H
