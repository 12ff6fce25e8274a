//===- validate.h - the rules of a model configuration ----------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_MODELS_CONFIG_VALIDATE_H
#define QUANT_MODELS_CONFIG_VALIDATE_H

#include "models/config/fields.h"
#include "runtime/support/result.h"

namespace quant::models {

/// Every rule a configuration must keep, for one that was built or changed in code. Names are DeepSeek's.
Result<void> validateConfig(const ModelConfig &config);

/// validateConfig() with errors in the words of `names`.
Result<void> validateConfig(const ModelConfig &config, const FieldNames &names);

} // namespace quant::models

#endif // QUANT_MODELS_CONFIG_VALIDATE_H
