//===- names.h - the enum values of a configuration as words ----*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_MODELS_CONFIG_NAMES_H
#define QUANT_MODELS_CONFIG_NAMES_H

#include "models/config.h"
#include "runtime/support/result.h"

#include <string_view>

namespace quant::models {

/// "sigmoid", "noaux_tc", ...: as in the JSON.
std::string_view name(ScoreFunc value);
std::string_view name(TopkMethod value);
/// DeepSeek's word for how the linear layers are stored: "bf16", "f32", "fp8"; "i8", "i4" of other schemes.
std::string_view storageName(const ModelConfig &config);

/// The enum value of a JSON string, or the list of what is known.
Result<ScoreFunc> parseScoreFunc(std::string_view text);
Result<TopkMethod> parseTopkMethod(std::string_view text);

} // namespace quant::models

#endif // QUANT_MODELS_CONFIG_NAMES_H
