//===- gate.h - what a gate is when not all of it is said -------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_MODELS_CONFIG_GATE_H
#define QUANT_MODELS_CONFIG_GATE_H

#include "models/config.h"

namespace quant::models {

/// Sigmoid is V3 and softmax V2: what follows from scoreFunc and nExpertGroups when the rest is not given.
void setGateDefaults(ModelConfig &config);

} // namespace quant::models

#endif // QUANT_MODELS_CONFIG_GATE_H
