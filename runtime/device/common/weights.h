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
#include "runtime/device/common/thread_pool.h"
#include "runtime/module/program.h"

#include <deque>

namespace quant::runtime {

/// Tensors that are turned when they are loaded (Value::isTurned), in memory of their own.
class RepackedTensors {
public:
  /// `stored` as the program reads it, once turn() has run; where `groups` is not null, with its columns sorted by those groups,
  /// which must be a list that sortColumns() takes. Both tensors must outlive turn(). Errors: the memory cannot be had.
  Result<const checkpoint::Checkpoint::Tensor *> add(const checkpoint::Checkpoint::Tensor &stored, const Value &value,
                                                     const checkpoint::Checkpoint::Tensor *groups);
  /// Turns all that were added since the last time, on the pool's threads. The pages of the files that they were read from no
  /// longer count as this process's memory.
  void turn(ThreadPool &pool);

private:
  struct Entry {
    checkpoint::TensorInfo info;
    Memory memory;
    checkpoint::Checkpoint::Tensor tensor;
    const checkpoint::Checkpoint::Tensor *stored, *groups;
    Repack repack;

    void turn();
  };
  std::deque<Entry> entries;
  size_t turned = 0; ///< entries that are
};

/// Each tensor of `value`, a Weight (one) or a WeightGroup (`count`). They belong to `checkpoint`, or to `repacked`, where the
/// program wants them turned, which RepackedTensors::turn() does. Errors: a tensor is missing, or its dtype or shape is not the
/// program's; the message says what was expected and what found. A global scale that is none. Columns in an order that the
/// program does not expect, or groups of columns that are none (runtime/checkpoint/column_order.h).
Result<std::vector<const checkpoint::Checkpoint::Tensor *>>
findWeights(const Value &value, const checkpoint::Checkpoint &checkpoint, RepackedTensors &repacked);

} // namespace quant::runtime

#endif // QUANT_RUNTIME_DEVICE_COMMON_WEIGHTS_H
