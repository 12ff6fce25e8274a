//===- Projections.h - joining weights and slicing what they give -*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Shared by merge-projections and decompose-experts.
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_PASSES_FUSE_PROJECTIONS_H
#define QUANT_PASSES_FUSE_PROJECTIONS_H

#include "dialects/qblock/QBlock.h"

#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/IR/Builders.h"

namespace quant {

/// Whether the rows of `first` end on a block's edge, so that other rows can follow.
inline bool endsOnBlockEdge(mlir::Type first) {
  auto type = llvm::dyn_cast<qblock::BlockTensorType>(first);
  if (!type)
    return true;
  int64_t rowDim = type.getRank() - 2, extent = type.getBlock()[rowDim];
  return !mlir::ShapedType::isDynamic(extent) && type.getDimSize(rowDim) % extent == 0;
}

/// Whether two weights, both static, differ in nothing but their number of rows.
inline bool haveSameScheme(mlir::Type a, mlir::Type b) {
  auto shapeA = llvm::to_vector(qblock::getMatrixShape(a));
  llvm::ArrayRef<int64_t> shapeB = qblock::getMatrixShape(b);
  if (shapeA.size() != shapeB.size() || mlir::ShapedType::isDynamicShape(shapeA) || mlir::ShapedType::isDynamicShape(shapeB))
    return false;
  shapeA[shapeA.size() - 2] = shapeB[shapeB.size() - 2];
  if (auto block = llvm::dyn_cast<qblock::BlockTensorType>(a))
    return block.cloneWithShape(shapeA) == b;
  auto tensor = llvm::dyn_cast<mlir::RankedTensorType>(a);
  return tensor && tensor.clone(shapeA) == b;
}

/// Whether the rows of `second` can follow those of `first` in one weight.
inline bool canJoinRows(mlir::Type first, mlir::Type second) {
  return haveSameScheme(first, second) && endsOnBlockEdge(first);
}

/// The weights' rows one after another.
inline mlir::Value joinRows(mlir::OpBuilder &builder, mlir::Location loc, llvm::ArrayRef<mlir::Value> weights) {
  auto shape = llvm::to_vector(qblock::getMatrixShape(weights.front().getType()));
  int64_t &rows = shape[shape.size() - 2];
  rows = 0;
  for (mlir::Value weight : weights)
    rows += qblock::getMatrixShape(weight.getType())[shape.size() - 2];
  mlir::Type first = weights.front().getType(), type;
  if (auto block = llvm::dyn_cast<qblock::BlockTensorType>(first))
    type = block.cloneWithShape(shape);
  else
    type = llvm::cast<mlir::RankedTensorType>(first).clone(shape);
  return qblock::ConcatOp::create(builder, loc, type, weights);
}

/// Columns [offset, offset + size) of activations whose first dimension alone is dynamic.
inline mlir::Value sliceColumns(mlir::OpBuilder &builder, mlir::Location loc, mlir::Value source, int64_t offset, int64_t size) {
  auto type = llvm::cast<mlir::RankedTensorType>(source.getType());
  llvm::SmallVector<mlir::OpFoldResult> offsets(type.getRank(), builder.getIndexAttr(0)), sizes,
      strides(type.getRank(), builder.getIndexAttr(1));
  for (int64_t dim = 0; dim < type.getRank(); ++dim)
    sizes.push_back(mlir::tensor::getMixedSize(builder, loc, source, dim));
  offsets.back() = builder.getIndexAttr(offset);
  sizes.back() = builder.getIndexAttr(size);
  return mlir::tensor::ExtractSliceOp::create(builder, loc, source, offsets, sizes, strides);
}

} // namespace quant

#endif // QUANT_PASSES_FUSE_PROJECTIONS_H
