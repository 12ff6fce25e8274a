//===- QBlockTiling.cpp - TilingInterface of the matmuls ----------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The iteration space is (M, N, K), of a grouped matmul (groups, N, K), K being the reduction that goes through `acc`. With it
// upstream's scf::tileUsingSCF cuts a matmul into blocks.
//
//===----------------------------------------------------------------------===//

#include "dialects/qblock/QBlock.h"

#include "mlir/Dialect/Affine/IR/AffineOps.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/Dialect/Utils/StructuredOpsUtils.h"
#include "mlir/IR/Builders.h"
#include "mlir/Interfaces/LoopLikeInterface.h"

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

/// A rectangle of an operand in either form.
static Value sliceMatrix(OpBuilder &builder, Location loc, Value matrix, ArrayRef<OpFoldResult> offsets,
                         ArrayRef<OpFoldResult> sizes) {
  if (isa<BlockTensorType>(matrix.getType()))
    return ExtractSliceOp::create(builder, loc, matrix, offsets, sizes);
  SmallVector<OpFoldResult> strides(offsets.size(), builder.getIndexAttr(1));
  return tensor::ExtractSliceOp::create(builder, loc, matrix, offsets, sizes, strides);
}

//===----------------------------------------------------------------------===//
// matmul_acc
//===----------------------------------------------------------------------===//

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

//===----------------------------------------------------------------------===//
// grouped_matmul_acc
//===----------------------------------------------------------------------===//

SmallVector<utils::IteratorType> GroupedMatmulAccOp::getLoopIteratorTypes() {
  return {utils::IteratorType::parallel, utils::IteratorType::parallel, utils::IteratorType::reduction};
}

SmallVector<Range> GroupedMatmulAccOp::getIterationDomain(OpBuilder &builder) {
  auto range = [&](int64_t dim) {
    return Range{builder.getIndexAttr(0), matrixDim(builder, getLoc(), getW(), dim), builder.getIndexAttr(1)};
  };
  return {range(0), range(1), range(2)};
}

namespace {
/// First row, and number of rows, of neighbouring groups.
struct RowRange {
  OpFoldResult first, count;
};
} // namespace

/// The rows that groups [group, group + count) own, counted from the op's own first row.
static RowRange rowsOfGroups(OpBuilder &builder, GroupedMatmulAccOp op, OpFoldResult group, OpFoldResult count) {
  Location loc = op.getLoc();
  AffineExpr a, b;
  bindSymbols(builder.getContext(), a, b);
  int64_t groups = getMatrixShape(op.getW().getType())[0];
  if (isConstantIntValue(group, 0) && !ShapedType::isDynamic(groups) && isConstantIntValue(count, groups))
    return {group, matrixDim(builder, loc, op.getAcc(), 0)};
  auto offsetOf = [&](OpFoldResult index) {
    Value offset = tensor::ExtractOp::create(builder, loc, op.getOffsets(), getValueOrCreateConstantIndexOp(builder, loc, index));
    return arith::IndexCastOp::create(builder, loc, builder.getIndexType(), offset).getResult();
  };
  Value origin = offsetOf(builder.getIndexAttr(0)), first = offsetOf(group);
  Value end = offsetOf(affine::makeComposedFoldedAffineApply(builder, loc, a + b, {group, count}));
  return {arith::SubIOp::create(builder, loc, first, origin).getResult(),
          arith::SubIOp::create(builder, loc, end, first).getResult()};
}

FailureOr<TilingResult> GroupedMatmulAccOp::getTiledImplementation(OpBuilder &builder, ArrayRef<OpFoldResult> offsets,
                                                                   ArrayRef<OpFoldResult> sizes) {
  Location loc = getLoc();
  AffineExpr count;
  bindSymbols(builder.getContext(), count);
  OpFoldResult zero = builder.getIndexAttr(0);
  RowRange owned = rowsOfGroups(builder, *this, offsets[0], sizes[0]);
  OpFoldResult entries = affine::makeComposedFoldedAffineApply(builder, loc, count + 1, {sizes[0]});
  // A gathered x holds tokens, which any group may want.
  RowRange read = getRows() ? RowRange{zero, matrixDim(builder, loc, getX(), 0)} : owned;
  Value x = sliceMatrix(builder, loc, getX(), {read.first, offsets[2]}, {read.count, sizes[2]});
  Value w = sliceMatrix(builder, loc, getW(), offsets, sizes);
  Value bounds = sliceMatrix(builder, loc, getOffsets(), {offsets[0]}, {entries});
  Value rows = getRows() ? sliceMatrix(builder, loc, getRows(), {owned.first}, {owned.count}) : Value();
  Value acc = sliceMatrix(builder, loc, getAcc(), {owned.first, offsets[1]}, {owned.count, sizes[1]});
  auto tile = GroupedMatmulAccOp::create(builder, loc, acc.getType(), x, w, bounds, rows, acc, getTopK());
  SmallVector<Operation *> slices;
  for (Value slice : tile->getOperands())
    slices.push_back(slice.getDefiningOp());
  return TilingResult{{tile}, {tile.getResult()}, slices};
}

LogicalResult GroupedMatmulAccOp::getResultTilePosition(OpBuilder &builder, unsigned, ArrayRef<OpFoldResult> offsets,
                                                        ArrayRef<OpFoldResult> sizes, SmallVector<OpFoldResult> &resultOffsets,
                                                        SmallVector<OpFoldResult> &resultSizes) {
  RowRange owned = rowsOfGroups(builder, *this, offsets[0], sizes[0]);
  resultOffsets = {owned.first, offsets[1]};
  resultSizes = {owned.count, sizes[1]};
  return success();
}
