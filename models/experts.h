//===- experts.h - are all routed experts stored alike? ---------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_MODELS_EXPERTS_H
#define QUANT_MODELS_EXPERTS_H

#include "runtime/checkpoint/checkpoint.h"
#include "runtime/support/result.h"

#include <cstdint>

namespace quant::models {

/// In each of the first `layers` layers that has routed experts, each of their tensors must be there for all `experts` of them,
/// of one dtype and one shape: they are computed together. Error: the first that is missing or differs.
Result<void> checkExperts(const checkpoint::Checkpoint &checkpoint, int64_t experts, int64_t layers);

} // namespace quant::models

#endif // QUANT_MODELS_EXPERTS_H
