//===- Tiles.cpp - the tiles of a kernel's body ----------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "lowering/common/Tiles.h"

#include "mlir/Dialect/Affine/IR/AffineOps.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/IR/Matchers.h"

#include <fmt/core.h>

using namespace mlir;
using namespace quant;

Tiles::Tiles(PointerBuilder &b, const KernelOperands &operands, Operation *tiled, Value block) : b(b), operands(operands) {
  auto grid = tiled->getParentOfType<scf::ForallOp>();
  if (!grid)
    return;
  for (auto [index, begin, end, step] :
       llvm::zip_equal(grid.getInductionVars(), grid.getStaticLowerBound(), grid.getStaticUpperBound(), grid.getStaticStep())) {
    // Bounds that only a call knows have no number of blocks: rows are not cut by a kernel's grid yet.
    if (ShapedType::isDynamic(begin) || ShapedType::isDynamic(end) || ShapedType::isDynamic(step))
      return;
    int64_t count = llvm::divideCeil(end - begin, step);
    known[index] = b.add(b.mul(b.rem(block, count), step), begin);
    block = b.div(block, count);
  }
}

//===----------------------------------------------------------------------===//
// Sizes
//===----------------------------------------------------------------------===//

Result<Value> Tiles::size(OpFoldResult value) {
  if (auto constant = getConstantIntValue(value))
    return b.size(*constant);
  return size(cast<Value>(value));
}

Result<Value> Tiles::size(Value value) {
  if (Value found = known.lookup(value))
    return found;
  Operation *op = value.getDefiningOp();
  if (!op && isa<scf::ForOp>(value.getParentBlock()->getParentOp()))
    return fail("a loop cuts it along K, of which a tile takes all");
  if (!op)
    return fail(
        "a tile's size is given by an argument that is no run-time size of the program, or by a loop without constant bounds");
  Result<Value> computed = sizeOf(op);
  if (computed)
    known[value] = *computed;
  return computed;
}

Result<Value> Tiles::sizeOf(Operation *op) {
  auto binary = [&](auto combine) -> Result<Value> {
    QUANT_TRY_ASSIGN(Value left, size(op->getOperand(0)));
    QUANT_TRY_ASSIGN(Value right, size(op->getOperand(1)));
    return combine(left, right);
  };
  return llvm::TypeSwitch<Operation *, Result<Value>>(op)
      .Case([&](arith::ConstantOp constant) -> Result<Value> { return b.size(cast<IntegerAttr>(constant.getValue()).getInt()); })
      .Case([&](arith::IndexCastOp cast) { return size(cast.getIn()); })
      .Case([&](arith::AddIOp) { return binary([&](Value left, Value right) { return b.add(left, right); }); })
      .Case([&](arith::SubIOp) { return binary([&](Value left, Value right) { return b.sub(left, right); }); })
      .Case([&](arith::MulIOp) { return binary([&](Value left, Value right) { return b.mul(left, right); }); })
      .Case([&](tensor::DimOp dim) -> Result<Value> {
        std::optional<int64_t> index = dim.getConstantIndex();
        return index ? rowsOf(dim.getSource(), *index) : fail("the size of a dimension that only a call knows");
      })
      .Case([&](tensor::ExtractOp extract) -> Result<Value> {
        if (extract.getIndices().size() != 1)
          return fail("an element of a tensor that is no list is a tile's size");
        QUANT_TRY_ASSIGN(Value index, size(extract.getIndices().front()));
        QUANT_TRY_ASSIGN(Value list, operands.address(extract.getTensor()));
        return b.loadNumber(b.i32(), b.at(list, b.i32(), index));
      })
      .Case([&](affine::AffineApplyOp apply) {
        return this->apply(apply.getAffineMap().getResult(0), apply.getMapOperands(), apply.getAffineMap().getNumDims());
      })
      .Case([&](affine::AffineMinOp min) -> Result<Value> {
        Value least;
        for (AffineExpr expr : min.getMap().getResults()) {
          QUANT_TRY_ASSIGN(Value value, apply(expr, min.getMapOperands(), min.getMap().getNumDims()));
          least = least ? b.min(least, value) : value;
        }
        return least;
      })
      .Default([](Operation *other) -> Result<Value> {
        return fail(
            fmt::format("a tile's size is computed by {}, which kernels do not know", other->getName().getStringRef().str()));
      });
}

Result<Value> Tiles::apply(AffineExpr expr, ValueRange values, unsigned dims) {
  if (auto constant = dyn_cast<AffineConstantExpr>(expr))
    return b.size(constant.getValue());
  if (auto dim = dyn_cast<AffineDimExpr>(expr))
    return size(values[dim.getPosition()]);
  if (auto symbol = dyn_cast<AffineSymbolExpr>(expr))
    return size(values[dims + symbol.getPosition()]);
  auto binary = cast<AffineBinaryOpExpr>(expr);
  QUANT_TRY_ASSIGN(Value left, apply(binary.getLHS(), values, dims));
  QUANT_TRY_ASSIGN(Value right, apply(binary.getRHS(), values, dims));
  if (expr.getKind() == AffineExprKind::Add)
    return b.add(left, right);
  if (expr.getKind() == AffineExprKind::Mul)
    return b.mul(left, right);
  return fail("a tile's size is computed by a division, which kernels do not know");
}

/// A dimension of an operand: static, or the run-time size that counts the kernel's rows.
Result<Value> Tiles::rowsOf(Value tensor, int64_t dim) {
  int64_t extent = qblock::getMatrixShape(tensor.getType())[dim];
  if (!ShapedType::isDynamic(extent))
    return b.size(extent);
  if (auto slice = tensor.getDefiningOp<tensor::ExtractSliceOp>())
    return size(slice.getMixedSizes()[dim]);
  if (auto fill = tensor.getDefiningOp<linalg::FillOp>())
    return rowsOf(fill.getOutputs().front(), dim);
  if (auto empty = tensor.getDefiningOp<tensor::EmptyOp>())
    return size(empty.getDynamicSize(dim));
  // Rows of all leading dimensions in one.
  if (auto collapse = tensor.getDefiningOp<tensor::CollapseShapeOp>(); collapse && dim == 0) {
    Result<Value> rows = rowsOf(collapse.getSrc(), 0);
    for (int64_t factor :
         collapse.getSrcType().getShape().drop_front().take_front(collapse.getReassociationIndices()[0].size() - 1))
      rows = rows.map([&](Value count) { return b.mul(count, factor); });
    return rows;
  }
  return operands.rowCount();
}

//===----------------------------------------------------------------------===//
// Tiles
//===----------------------------------------------------------------------===//

Result<Tile> Tiles::of(Value operand) {
  if (auto slice = operand.getDefiningOp<qblock::ExtractSliceOp>())
    return cut(slice.getSource(), slice.getMixedOffsets(), slice.getMixedSizes());
  auto slice = operand.getDefiningOp<tensor::ExtractSliceOp>();
  if (slice && slice.hasUnitStride() && slice->getParentOfType<scf::ForallOp>())
    return cut(slice.getSource(), slice.getMixedOffsets(), slice.getMixedSizes());
  Tile whole{operand, {}, {}, llvm::to_vector(qblock::getMatrixShape(operand.getType()))};
  for (size_t dim = 0; dim < whole.staticSizes.size(); ++dim) {
    QUANT_TRY_ASSIGN(Value extent, rowsOf(operand, static_cast<int64_t>(dim)));
    whole.offsets.push_back(b.size(0));
    whole.sizes.push_back(extent);
  }
  return whole;
}

/// The rectangle of what may be a rectangle itself.
Result<Tile> Tiles::cut(Value source, ArrayRef<OpFoldResult> offsets, ArrayRef<OpFoldResult> sizes) {
  QUANT_TRY_ASSIGN(Tile tile, of(source));
  for (auto [dim, offset, extent] : llvm::enumerate(offsets, sizes)) {
    QUANT_TRY_ASSIGN(Value first, size(offset));
    QUANT_TRY_ASSIGN(tile.sizes[dim], size(extent));
    tile.offsets[dim] = b.add(tile.offsets[dim], first);
    tile.staticSizes[dim] = getConstantIntValue(extent).value_or(ShapedType::kDynamic);
  }
  return tile;
}

static bool isZero(Value accumulator) {
  while (auto slice = accumulator.getDefiningOp<tensor::ExtractSliceOp>())
    accumulator = slice.getSource();
  if (auto argument = dyn_cast<BlockArgument>(accumulator))
    if (auto grid = dyn_cast<scf::ForallOp>(argument.getOwner()->getParentOp()))
      accumulator = grid.getTiedOpOperand(argument)->get();
  auto fill = accumulator.getDefiningOp<linalg::FillOp>();
  return fill && matchPattern(fill.getInputs().front(), m_AnyZeroFloat());
}

Result<MatmulTiles> quant::findTiles(PointerBuilder &b, const KernelOperands &operands, DestinationStyleOpInterface op,
                                     Value block) {
  Tiles tiles(b, operands, op, block);
  MatmulTiles found;
  Value accumulator = op.getDpsInits().front();
  QUANT_TRY_ASSIGN(found.x, tiles.of(op->getOperand(0)));
  QUANT_TRY_ASSIGN(found.w, tiles.of(op->getOperand(1)));
  QUANT_TRY_ASSIGN(found.out, tiles.of(accumulator));
  int64_t columns = qblock::getMatrixShape(found.w.source.getType()).back();
  if (found.w.staticSizes.back() != columns || found.x.staticSizes.back() != columns)
    return fail(fmt::format("tiles must take all of K, {} columns", columns));
  found.beginsAtZero = isZero(accumulator);
  auto grouped = dyn_cast<qblock::GroupedMatmulAccOp>(op.getOperation());
  if (!grouped)
    return found;
  if (found.w.staticSizes[0] != 1)
    return fail("tiles must be of one group");
  found.group = found.w.offsets[0];
  found.w = {found.w.source, llvm::to_vector(llvm::drop_begin(found.w.offsets)), llvm::to_vector(llvm::drop_begin(found.w.sizes)),
             llvm::to_vector(llvm::drop_begin(found.w.staticSizes))};
  if (grouped.getRows()) {
    QUANT_TRY_ASSIGN(Tile list, tiles.of(grouped.getRows()));
    QUANT_TRY_ASSIGN(Value address, operands.address(list.source));
    found.gather = b.at(address, b.i32(), list.offsets[0]);
    found.topK = static_cast<int64_t>(grouped.getTopK());
  }
  return found;
}
