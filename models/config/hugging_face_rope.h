//===- hugging_face_rope.h - rope_scaling and rope_parameters ---*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_MODELS_CONFIG_HUGGING_FACE_ROPE_H
#define QUANT_MODELS_CONFIG_HUGGING_FACE_ROPE_H

#include "models/config/fields.h"
#include "runtime/support/object_reader.h"

#include <string>

namespace quant::models {

/// Reads rope_scaling (with rope_theta beside it), or rope_parameters since transformers 5 (with rope_theta inside), into
/// `config`. Both may be there when they mean the same. Says in `names` which one it was, and adds what YaRN's keys are when they
/// are left out to `defaults`.
Result<void> readRope(ObjectReader &fields, ModelConfig &config, FieldNames &names, std::string &defaults);

} // namespace quant::models

#endif // QUANT_MODELS_CONFIG_HUGGING_FACE_ROPE_H
