//===- memory.h - a program's values on a GPU -------------------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_RUNTIME_DEVICE_GPU_MEMORY_H
#define QUANT_RUNTIME_DEVICE_GPU_MEMORY_H

#include "runtime/checkpoint/checkpoint.h"
#include "runtime/device/common/weights.h"
#include "runtime/device/gpu/device.h"
#include "runtime/module/program.h"

#include <deque>
#include <map>

namespace quant::runtime {

/// Where the values that launches use lie on a device. Filled in three steps: use(), findWeights(), place(). A weight that is
/// only used together with others lies there once, in their buffer.
class GpuMemory {
public:
  /// Where a value lies, or several weights one after another. A weight group's own region is its table of pointers.
  struct Place {
    Region region;
    std::vector<Region> pointees;
  };

  /// The program must outlive this. `cacheRows`: of the KV caches.
  GpuMemory(const Program &program, int64_t cacheRows);

  /// Values that a launch has in one buffer. `stacked`: of weight groups, the tensors of all experts, those of the first of each
  /// group, then those of the second.
  struct Use {
    std::vector<int> values;
    bool stacked = false;

    auto operator<=>(const Use &) const = default;
  };

  /// A launch needs these. Errors: several, and one of them is no weight; stacked, and one of them is no weight group, or they
  /// have different numbers of experts.
  Result<void> use(const Use &values);

  /// Finds the weights of the program; they must outlive this. Errors: weights that are not the program's.
  Result<void> findWeights(const checkpoint::Checkpoint &checkpoint);
  /// Turns those that do not lie in the checkpoint as kernels read them, before anything looks at them.
  void turnWeights(ThreadPool &pool) { repacked.turn(pool); }
  /// The tensors of block scales, to be checked.
  std::vector<const checkpoint::Checkpoint::Tensor *> scales() const;
  /// checkpoint::checkFinite of every weight.
  Result<void> checkVectors() const;

  /// Allocates everything that is used, and brings the weights there. Errors: the device's.
  Result<void> place(GpuDevice &device);
  const Place &of(const Use &values) const { return places.at(values); }

private:
  using Tensors = std::vector<const checkpoint::Checkpoint::Tensor *>;

  const Value &value(int index) const { return program.values[static_cast<size_t>(index)]; }
  uint64_t largestBytes(const Value &value) const;
  Result<Region> constant(GpuDevice &device, const Tensors &parts);
  Result<Place> placeGroup(GpuDevice &device, int index);
  Result<void> checkStacked(const std::vector<int> &values) const;
  Result<Place> placeUse(GpuDevice &device, const Use &use);
  Tensors tensorsOf(const Use &use) const;
  MemoryNeeds needs() const;

  const Program &program;
  int64_t cacheRows;
  std::map<Use, Place> places;
  RepackedTensors repacked;
  std::map<int, Tensors> weights;           ///< of the program's values
  std::map<Tensors, Region> constants;      ///< a tensor that two values name lies there once
  std::deque<std::vector<uint64_t>> tables; ///< what devices may keep pointers to
  Region arena;
};

} // namespace quant::runtime

#endif // QUANT_RUNTIME_DEVICE_GPU_MEMORY_H
