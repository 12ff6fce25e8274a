//===- launch.h - a launch of a recipe through the CUDA driver --*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_RUNTIME_DEVICE_CUDA_LAUNCH_H
#define QUANT_RUNTIME_DEVICE_CUDA_LAUNCH_H

#include "runtime/device/cuda/driver.h"
#include "runtime/device/gpu/device.h"

#include <array>

namespace quant::runtime::cuda {

/// Tensor maps are encoded once, with the launch.
///
/// With `overlap`, a programmatic recipe is launched with programmatic stream serialization: its blocks may start while the
/// kernel in front of it still runs. Before it waits for that kernel it touches `early` operands alone (abi::LaunchRecipe), and
/// those are weights: no kernel writes them, and the session has waited for their copies before the first launch. Behind a copy
/// of the inputs the stream is ordered as ever. Every launch waits for those in front before it ends, so that the outputs' copy
/// behind the last one finds all of them finished.
class CudaLaunch : public PreparedLaunch {
public:
  static Result<std::unique_ptr<PreparedLaunch>> create(const Driver &driver, Function function, Stream stream,
                                                        const LaunchPlan &plan, bool overlap);
  Result<void> enqueue() override;

private:
  /// Any parameter of a kernel.
  union Argument {
    TensorMap map;
    uint64_t bits;
  };

  explicit CudaLaunch(const Driver &driver, Function function) : driver(driver), function(function) {}
  void configure(const abi::LaunchRecipe &recipe, int64_t blocks, Stream stream, bool overlap);
  Result<void> addTensorMap(const abi::TensorMapParameter &parameter, const LaunchPlan &plan);
  Result<void> addArgument(const abi::Parameter &parameter, const LaunchPlan &plan);
  void addScalar(uint64_t bits) { arguments.emplace_back().bits = bits; }

  const Driver &driver;
  Function function;
  LaunchConfig config = {};
  std::array<LaunchAttribute, 2> attributes = {};
  std::vector<Argument> arguments;
  std::vector<void *> addresses; ///< of the arguments
};

} // namespace quant::runtime::cuda

#endif // QUANT_RUNTIME_DEVICE_CUDA_LAUNCH_H
