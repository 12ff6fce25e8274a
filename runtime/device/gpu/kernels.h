//===- kernels.h - a module's GPU kernels and their recipes -----*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_RUNTIME_DEVICE_GPU_KERNELS_H
#define QUANT_RUNTIME_DEVICE_GPU_KERNELS_H

#include "runtime/module/program.h"

namespace quant::runtime {

/// The recipe of the first variant whose rows fit; adds M to `sizes`. Errors: none does.
Result<const abi::LaunchRecipe *> chooseRecipe(const Kernel &kernel, abi::Sizes &sizes);

/// The program's values that an operand of a recipe is in a dispatch. Errors: the recipe does not say.
Result<std::vector<int>> valuesOf(const abi::Operand &operand, const Dispatch &dispatch);

} // namespace quant::runtime

#endif // QUANT_RUNTIME_DEVICE_GPU_KERNELS_H
