//===- finite.h - NaN and infinity in vectors of a checkpoint ---*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_RUNTIME_CHECKPOINT_FINITE_H
#define QUANT_RUNTIME_CHECKPOINT_FINITE_H

#include "runtime/checkpoint/checkpoint.h"

namespace quant::checkpoint {

/// A vector of floats: the weight of a norm or the bias of a gate, of which every token meets every element.
bool isVector(const TensorInfo &tensor);

/// Reads the tensor when it is a vector (F32, F16 or BF16), its pages and no others; takes any other as it is. Error: an element
/// is NaN or infinite, of which the first is named.
Result<void> checkFinite(const Checkpoint::Tensor &tensor);

} // namespace quant::checkpoint

#endif // QUANT_RUNTIME_CHECKPOINT_FINITE_H
