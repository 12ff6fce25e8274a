//===- QBlockTiling.cpp - TilingInterface of qblock.matmul_acc ----------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The iteration space is (M, N, K), K being the reduction that goes through `acc`. With it upstream's
// scf::tileUsingSCF cuts a matmul into blocks.
//
//===----------------------------------------------------------------------===//

#include "dialects/qblock/QBlock.h"

#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/Dialect/Utils/StructuredOpsUtils.h"
#include "mlir/IR/Builders.h"

using namespace mlir;
using namespace quant::qblock;

/// Size of dimension `dim` of a matrix operand, as an attribute where it is static.
static OpFoldResult matrixDim(OpBuilder &builder, Location loc, Value matrix, int64_t dim) {
  int64_t size = getMatrixShape(matrix.getType())[dim];
  if (!ShapedType::isDynamic(size))
    return builder.getIndexAttr(size);
  if (auto slice = matrix.getDefiningOp<ExtractSliceOp>())
    return slice.getMixedSizes()[dim];
  Value tensor = matrix;
  if (isa<BlockTensorType>(matrix.getType()))
    tensor = StorageOp::create(builder, loc, matrix).getData();
  return tensor::DimOp::create(builder, loc, tensor, dim).getResult();
}

/// A rectangle of a matrix operand in either form.
static Value sliceMatrix(OpBuilder &builder, Location loc, Value matrix, ArrayRef<OpFoldResult> offsets,
                         ArrayRef<OpFoldResult> sizes) {
  if (isa<BlockTensorType>(matrix.getType()))
    return ExtractSliceOp::create(builder, loc, matrix, offsets, sizes);
  SmallVector<OpFoldResult> strides(2, builder.getIndexAttr(1));
  return tensor::ExtractSliceOp::create(builder, loc, matrix, offsets, sizes, strides);
}

SmallVector<utils::IteratorType> MatmulAccOp::getLoopIteratorTypes() {
  return {utils::IteratorType::parallel, utils::IteratorType::parallel, utils::IteratorType::reduction};
}

SmallVector<Range> MatmulAccOp::getIterationDomain(OpBuilder &builder) {
  Location loc = getLoc();
  auto range = [&](Value matrix, int64_t dim) {
    return Range{builder.getIndexAttr(0), matrixDim(builder, loc, matrix, dim), builder.getIndexAttr(1)};
  };
  return {range(getX(), 0), range(getW(), 0), range(getX(), 1)};
}

FailureOr<TilingResult> MatmulAccOp::getTiledImplementation(OpBuilder &builder, ArrayRef<OpFoldResult> offsets,
                                                         ArrayRef<OpFoldResult> sizes) {
  Location loc = getLoc();
  Value x = sliceMatrix(builder, loc, getX(), {offsets[0], offsets[2]}, {sizes[0], sizes[2]});
  Value w = sliceMatrix(builder, loc, getW(), {offsets[1], offsets[2]}, {sizes[1], sizes[2]});
  Value acc = sliceMatrix(builder, loc, getAcc(), {offsets[0], offsets[1]}, {sizes[0], sizes[1]});
  auto tile = MatmulAccOp::create(builder, loc, acc.getType(), x, w, acc);
  return TilingResult{{tile}, {tile.getResult()}, {x.getDefiningOp(), w.getDefiningOp(), acc.getDefiningOp()}};
}

LogicalResult MatmulAccOp::getResultTilePosition(OpBuilder &builder, unsigned resultNumber, ArrayRef<OpFoldResult> offsets,
                                              ArrayRef<OpFoldResult> sizes, SmallVector<OpFoldResult> &resultOffsets,
                                              SmallVector<OpFoldResult> &resultSizes) {
  resultOffsets = {offsets[0], offsets[1]};
  resultSizes = {sizes[0], sizes[1]};
  return success();
}
