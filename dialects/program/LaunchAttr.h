//===- LaunchAttr.h - launch recipes as attributes ----------------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// `program.launch` is the recipe of runtime/abi/launch_recipe.h in the IR: a dictionary with the keys of its JSON, where objects
// are dictionaries, arrays are arrays (of i64 where all elements are), and numbers i64.
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_DIALECTS_PROGRAM_LAUNCHATTR_H
#define QUANT_DIALECTS_PROGRAM_LAUNCHATTR_H

#include "runtime/abi/launch_recipe.h"

#include "mlir/IR/BuiltinAttributes.h"
#include "mlir/IR/Operation.h"

#include <nlohmann/json.hpp>

namespace quant::program {

/// A kernel's recipe and the numbers of rows [first, last] that it is for.
struct LaunchVariant {
  int64_t first = 0, last = 0;
  abi::LaunchRecipe recipe;
};

/// The attribute of one recipe that is for every M.
mlir::Attribute getLaunchAttr(mlir::MLIRContext *context, const abi::LaunchRecipe &recipe);
/// The attribute of recipes by M; of one, that recipe's alone.
mlir::Attribute getLaunchAttr(mlir::MLIRContext *context, llvm::ArrayRef<LaunchVariant> variants);

/// The JSON of a `program.launch`: a recipe, or a list of {m, launch} (docs/module-format.md).
nlohmann::ordered_json getLaunchJson(mlir::Attribute launch);

/// Errors name what is wrong in the recipe.
mlir::LogicalResult verifyLaunch(mlir::Operation *op, mlir::Attribute launch);

} // namespace quant::program

#endif // QUANT_DIALECTS_PROGRAM_LAUNCHATTR_H
