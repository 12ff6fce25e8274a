//===- config_json.h - what config.json says of quantization ----*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_TOOLS_QUANT_CONVERT_SCHEMES_CONFIG_JSON_H
#define QUANT_TOOLS_QUANT_CONVERT_SCHEMES_CONFIG_JSON_H

#include "runtime/support/scheme.h"

#include <nlohmann/json.hpp>

#include <string>
#include <vector>

namespace quant::convert {

/// The part of a config.json whose quantization_config counts: the whole, or where that has none the part that has one, such as
/// the text_config of Kimi-VL.
const nlohmann::json &quantizedPart(const nlohmann::json &config);

/// The config.json of an FP8 checkpoint: `config` with this quantization_config and no other. `notConverted` names what is not
/// quantized, under both keys: older vLLM reads ignored_layers, transformers modules_to_not_convert.
nlohmann::json quantizedConfig(nlohmann::json config, const Scheme &scheme, const std::vector<std::string> &notConverted);

/// The config.json of an MXFP4 checkpoint, as compressed-tensors has it: weights alone. `ignored` names what is not quantized.
nlohmann::json mxfp4Config(nlohmann::json config, const std::vector<std::string> &ignored);

/// The config.json of a BF16 or F32 checkpoint: without quantization_config, in its parts neither.
nlohmann::json plainConfig(nlohmann::json config, DType dtype = DType::BF16);

} // namespace quant::convert

#endif // QUANT_TOOLS_QUANT_CONVERT_SCHEMES_CONFIG_JSON_H
