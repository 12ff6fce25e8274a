//===- kernels.h - a module's GPU kernels and their recipes -----*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_RUNTIME_DEVICE_GPU_KERNELS_H
#define QUANT_RUNTIME_DEVICE_GPU_KERNELS_H

#include "runtime/abi/launch_recipe.h"
#include "runtime/module/program.h"

namespace quant::runtime {

/// One of the ways to launch a kernel.
struct LaunchVariant {
  abi::LaunchRecipe recipe;
  int64_t lowRows = 0, highRows = 0; ///< what M must lie in, both ends included
};

/// The ways to launch one kernel.
struct GpuKernel {
  std::string name;
  std::vector<LaunchVariant> variants;
  /// Whether a launch may differ where `position` alone does. It grows with every token, all else stays.
  bool followsPosition = false;

  /// The first variant whose rows fit, and adds M to `sizes`. Errors: none does.
  Result<const LaunchVariant *> choose(abi::Sizes &sizes) const;
};

/// Errors: kernels that the target has no code for, all of them by name.
Result<void> checkKernels(const Target &target);

/// Of each kernel of a target that checkKernels() has passed. Errors: a malformed recipe.
Result<std::vector<GpuKernel>> readKernels(const Target &target);

/// The program's values that an operand of a recipe is in a dispatch. Errors: the recipe does not say.
Result<std::vector<int>> valuesOf(const abi::Operand &operand, const Dispatch &dispatch);

} // namespace quant::runtime

#endif // QUANT_RUNTIME_DEVICE_GPU_KERNELS_H
