//===- hugging_face_keys.h - which keys of config.json are read -*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_MODELS_CONFIG_HUGGING_FACE_KEYS_H
#define QUANT_MODELS_CONFIG_HUGGING_FACE_KEYS_H

#include "runtime/support/result.h"

#include <nlohmann/json_fwd.hpp>

#include <string>
#include <vector>

namespace quant::models {

/// Every key must be one that is read, or one that is known not to change what the model computes (bookkeeping, training,
/// generation). Refused by name: what is known to change it (index_topk), and any other key whose name is one of attention,
/// routing or norms, unless its value is null or false. The rest is named in `notes`.
Result<void> checkHuggingFaceKeys(const nlohmann::json &object, std::vector<std::string> &notes);

} // namespace quant::models

#endif // QUANT_MODELS_CONFIG_HUGGING_FACE_KEYS_H
