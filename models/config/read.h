//===- read.h - model configurations out of JSON and files ------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_MODELS_CONFIG_READ_H
#define QUANT_MODELS_CONFIG_READ_H

#include "models/config.h"
#include "runtime/support/result.h"

#include <nlohmann/json_fwd.hpp>

#include <filesystem>
#include <string>
#include <vector>

namespace quant::models {

/// Reads a configuration in either style and validates it. The error names the field as the input spells it, the value and
/// the rule. `notes` gets what a user should know of one that is accepted: defaults that were taken, keys that are not read.
Result<ModelConfig> parseConfig(const nlohmann::json &json, std::vector<std::string> *notes = nullptr);

/// Reads `fileOrDir`, or `config.json` in it when it is a directory; then the end tokens of a generation_config.json beside it
/// count, too. Errors start with the file's path.
Result<ModelConfig> loadConfig(const std::filesystem::path &fileOrDir, std::vector<std::string> *notes = nullptr);

} // namespace quant::models

#endif // QUANT_MODELS_CONFIG_READ_H
