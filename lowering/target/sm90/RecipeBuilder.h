//===- RecipeBuilder.h - operands, parameters and maps of a recipe -*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_LOWERING_TARGET_SM90_RECIPEBUILDER_H
#define QUANT_LOWERING_TARGET_SM90_RECIPEBUILDER_H

#include "lowering/target/sm90/LaunchRecipe.h"

namespace quant::nvvm {

/// Collects operands with the parameters that stand for them.
struct RecipeBuilder {
  LaunchRecipe recipe;

  int add(Operand operand) {
    recipe.operands.push_back(std::move(operand));
    return static_cast<int>(recipe.operands.size()) - 1;
  }
  void addPointer(Operand operand) { recipe.parameters.push_back(PointerParameter{add(std::move(operand))}); }
};

/// A map of the ragged form that `!hopper.tensor_map` describes: rows of `rowBytes`, `columns` of them in the tensor.
inline TensorMapParameter raggedMap(int operand, const char *dataType, SizeExpr columns, const SizeExpr &rows, int64_t rowBytes,
                                    std::vector<int64_t> box, int swizzle) {
  int64_t boxRows = box[1];
  box.push_back(1);
  TensorMapParameter map{
      operand, dataType, {std::move(columns), boxRows, rows + SizeExpr(1)}, {rowBytes, rowBytes}, std::move(box), swizzle, 256};
  map.offsetBytes = -boxRows * rowBytes;
  return map;
}

} // namespace quant::nvvm

#endif // QUANT_LOWERING_TARGET_SM90_RECIPEBUILDER_H
