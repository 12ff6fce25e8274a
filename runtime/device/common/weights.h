//===- weights.h - a program's weights in a checkpoint ----------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_RUNTIME_DEVICE_COMMON_WEIGHTS_H
#define QUANT_RUNTIME_DEVICE_COMMON_WEIGHTS_H

#include "runtime/checkpoint/checkpoint.h"
#include "runtime/device/common/memory.h"
#include "runtime/module/program.h"

#include <deque>

namespace quant::runtime {

/// Tensors that were turned when they were loaded (Value::repack), in memory of their own.
class RepackedTensors {
public:
  /// `stored` as the program reads it; `second` as of repackTensor(). Errors: the memory cannot be had.
  Result<const checkpoint::Checkpoint::Tensor *> add(const checkpoint::Checkpoint::Tensor &stored, const Value &value,
                                                     float second);

private:
  struct Entry {
    checkpoint::TensorInfo info;
    Memory memory;
    checkpoint::Checkpoint::Tensor tensor;
  };
  std::deque<Entry> entries;
};

/// Each tensor of `value`, a Weight (one) or a WeightGroup (`count`). They belong to `checkpoint`, or to `repacked`, where the
/// program wants them turned. Errors: a tensor is missing, or its dtype or shape is not the program's; the message says what was
/// expected and what found. A global scale that is none. Codes whose columns stand in another order than their groups
/// (checkColumnOrder).
Result<std::vector<const checkpoint::Checkpoint::Tensor *>>
findWeights(const Value &value, const checkpoint::Checkpoint &checkpoint, RepackedTensors &repacked);

} // namespace quant::runtime

#endif // QUANT_RUNTIME_DEVICE_COMMON_WEIGHTS_H
