//===- QBlockKernels.cpp - what becomes of the ops: kernels, weights ------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "dialects/qblock/QBlock.h"

#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace quant::qblock;

//===----------------------------------------------------------------------===//
// Weights
//===----------------------------------------------------------------------===//

static void addParts(Value source, Weight &weight) {
  if (auto concat = source.getDefiningOp<ConcatOp>()) {
    for (Value part : concat.getSources())
      addParts(part, weight);
    return;
  }
  ArrayRef<int64_t> shape = getMatrixShape(source.getType());
  WeightPart part{source, {}, {}, {}, weight.rows, shape[shape.size() - 2]};
  if (auto assemble = source.getDefiningOp<AssembleOp>()) {
    part.data = assemble.getData();
    part.scale = assemble.getScale();
    part.zero = assemble.getZero();
    part.global = assemble.getGlobal();
  }
  weight.rows += part.rows;
  weight.parts.push_back(part);
}

Weight quant::qblock::describeWeight(Value value) {
  Weight weight;
  ArrayRef<int64_t> shape = getMatrixShape(value.getType());
  if (shape.size() == 3)
    weight.groups = shape[0];
  weight.columns = shape.back();
  if (auto type = dyn_cast<BlockTensorType>(value.getType())) {
    weight.storage = type.getStorageType();
    weight.scaleType = type.getScaleType();
    weight.zeroType = type.getZeroType();
    weight.zeroConstant = type.getZeroConstant();
    weight.hasGlobalScale = type.hasGlobalScale();
    weight.blockRows = type.getBlockExtent(shape.size() - 2);
    weight.blockColumns = type.getBlockExtent(shape.size() - 1);
  } else {
    weight.storage = cast<RankedTensorType>(value.getType()).getElementType();
  }
  addParts(value, weight);
  return weight;
}

//===----------------------------------------------------------------------===//
// Kernels and their grids
//===----------------------------------------------------------------------===//

Type DequantizeOp::getNamedType() { return getSource().getType(); }

/// A block for each tile of a weight's rows, of each group's where there are groups.
static AffineExpr gridOfWeight(Type weight, int64_t tileRows) {
  ArrayRef<int64_t> shape = getMatrixShape(weight);
  int64_t groups = shape.size() == 3 ? shape[0] : 1;
  return getAffineConstantExpr(groups * llvm::divideCeil(shape[shape.size() - 2], tileRows), weight.getContext());
}

#define QUANT_MATMUL_KERNEL(OP)                                                                                                  \
  AffineExpr OP::getGrid(AffineExpr, int64_t tileRows) { return gridOfWeight(getW().getType(), tileRows); }                      \
  Type OP::getNamedType() { return getW().getType(); }                                                                           \
  SmallVector<OpOperand *> OP::getWeightOperands() { return {&getWMutable()}; }

QUANT_MATMUL_KERNEL(MatmulOp)
QUANT_MATMUL_KERNEL(MatmulAccOp)
QUANT_MATMUL_KERNEL(GroupedMatmulOp)
QUANT_MATMUL_KERNEL(GroupedMatmulAccOp)
QUANT_MATMUL_KERNEL(GroupedSwigluOp)

#undef QUANT_MATMUL_KERNEL
