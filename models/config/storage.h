//===- storage.h - how the weights of a configuration are stored --*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_MODELS_CONFIG_STORAGE_H
#define QUANT_MODELS_CONFIG_STORAGE_H

#include "models/config.h"
#include "runtime/support/object_reader.h"

namespace quant::models {

/// Reads dtype (torch_dtype) and quantization_config of a Hugging Face configuration.
Result<void> readStorage(ObjectReader &fields, ModelConfig &config);

/// Reads dtype, scale_fmt, weight_block_size and scheme of a configuration in DeepSeek's style.
void readDeepSeekStorage(ObjectReader &fields, ModelConfig &config);

} // namespace quant::models

#endif // QUANT_MODELS_CONFIG_STORAGE_H
