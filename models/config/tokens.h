//===- tokens.h - first and last tokens of a configuration ------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_MODELS_CONFIG_TOKENS_H
#define QUANT_MODELS_CONFIG_TOKENS_H

#include "models/config.h"
#include "runtime/support/object_reader.h"

#include <string_view>
#include <vector>

namespace quant::models {

/// Reads `key`: an integer, a list of integers, or null, which is none.
void readTokenIds(ObjectReader &fields, std::string_view key, std::vector<int64_t> &out);

/// bos_token_id (the first, when it is a list) and eos_token_id.
void readTokenIds(ObjectReader &fields, ModelConfig &config);

/// One as an integer, several as a list.
nlohmann::json tokenIdsJson(const std::vector<int64_t> &ids);

} // namespace quant::models

#endif // QUANT_MODELS_CONFIG_TOKENS_H
