//===- LaunchRecipe.h - how a GPU kernel is launched ---------------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The launch recipes of runtime/abi, by the names that kernels are built with.
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_LOWERING_TARGET_SM90_LAUNCHRECIPE_H
#define QUANT_LOWERING_TARGET_SM90_LAUNCHRECIPE_H

#include "runtime/abi/launch_recipe.h"

#include <nlohmann/json.hpp>

namespace quant::nvvm {

using abi::Dim;
using abi::I32Parameter;
using abi::LaunchRecipe;
using abi::Operand;
using abi::Parameter;
using abi::PointerParameter;
using abi::SizeExpr;
using abi::TensorMapParameter;

} // namespace quant::nvvm

#endif // QUANT_LOWERING_TARGET_SM90_LAUNCHRECIPE_H
