//===- print.h - printers of a model configuration --------------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_MODELS_CONFIG_PRINT_H
#define QUANT_MODELS_CONFIG_PRINT_H

#include "models/config.h"

#include <nlohmann/json_fwd.hpp>

namespace quant::models {

/// For the module's manifest: DeepSeek's key names, every field, so that parseConfig(toJson(c)) == c.
nlohmann::json toJson(const ModelConfig &config);

/// For a checkpoint's config.json: Hugging Face's key names, with quantization_config (both skip keys) when there is a scheme.
/// Only what means nothing there is left out: maxBatchSize, and YaRN's numbers when it is off.
nlohmann::json toHuggingFaceJson(const ModelConfig &config);

} // namespace quant::models

#endif // QUANT_MODELS_CONFIG_PRINT_H
