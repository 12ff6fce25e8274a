//===- weights.h - a program's weights in a checkpoint ----------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_RUNTIME_DEVICE_COMMON_WEIGHTS_H
#define QUANT_RUNTIME_DEVICE_COMMON_WEIGHTS_H

#include "runtime/checkpoint/checkpoint.h"
#include "runtime/module/program.h"

namespace quant::runtime {

/// Each tensor of `value`, a Weight (one) or a WeightGroup (`count`). They belong to `checkpoint`. Errors: a tensor is missing,
/// or its dtype or shape is not the program's; the message says what was expected and what found.
Result<std::vector<const checkpoint::Checkpoint::Tensor *>> findWeights(const Value &value,
                                                                        const checkpoint::Checkpoint &checkpoint);

} // namespace quant::runtime

#endif // QUANT_RUNTIME_DEVICE_COMMON_WEIGHTS_H
