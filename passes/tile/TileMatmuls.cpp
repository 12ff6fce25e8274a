//===- TileMatmuls.cpp - 128x128 blocks -----------------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "dialects/program/Program.h"
#include "dialects/qblock/QBlock.h"
#include "passes/Passes.h"

#include "mlir/Dialect/Affine/IR/AffineOps.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/SCF/Transforms/TileUsingInterface.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"

namespace quant {
#define GEN_PASS_DEF_TILEMATMULS
#include "passes/Passes.h.inc"
} // namespace quant

using namespace mlir;
using namespace quant;

namespace {

struct TileMatmuls : quant::impl::TileMatmulsBase<TileMatmuls> {
  using TileMatmulsBase::TileMatmulsBase;

  void runOnOperation() override {
    if (failed(readSizes()))
      return signalPassFailure();
    if (sizes.empty())
      return;
    SmallVector<Operation *> matmuls;
    getOperation().walk([&](Operation *op) {
      if (isa<qblock::MatmulOp, qblock::GroupedMatmulOp>(op))
        matmuls.push_back(op);
    });
    for (Operation *op : matmuls) {
      setGrid(cast<KernelOpInterface>(op));
      if (failed(tile(op)))
        return signalPassFailure();
    }
  }

private:
  /// The tile (M, N, K), 0 for all of a dimension; empty: nothing is to be cut.
  SmallVector<int64_t> sizes;

  /// From the kernel's schedule, or where it has none from the options. Several schedules are for kernels that tile themselves.
  LogicalResult readSizes() {
    if (blockM < 0 || blockN < 1 || blockK < 1)
      return getOperation().emitError("block sizes must be positive (block-m may be 0)");
    sizes = {blockM, blockN, blockK};
    if (SmallVector<program::ScheduleAttr> schedules = program::getSchedules(getOperation()); !schedules.empty())
      sizes = llvm::to_vector(schedules.front().getTile());
    return success();
  }

  /// The kernel's grid counts these tiles.
  void setGrid(KernelOpInterface op) {
    if (!getOperation()->hasAttr(program::kGridAttr) || sizes[1] == 0)
      return;
    AffineExpr rows = getAffineDimExpr(static_cast<unsigned>(program::getRowDim(getOperation())), &getContext());
    AffineMap grid = AffineMap::get(program::kNumDims, 0, op.getGrid(rows, sizes[1]));
    getOperation()->setAttr(program::kGridAttr, AffineMapAttr::get(grid));
  }

  /// The tiles must be cuttable: a static, non-empty weight, and no scale block that ends inside a tile.
  LogicalResult check(Operation *op, Type weight) {
    ArrayRef<int64_t> shape = qblock::getMatrixShape(weight);
    auto result = cast<RankedTensorType>(op->getResult(0).getType());
    if (ShapedType::isDynamicShape(shape) || llvm::is_contained(shape, 0))
      return op->emitError("cannot be tiled: the weight must have static sizes other than 0, not ") << weight;
    if (result.getElementTypeBitWidth() > 32)
      return op->emitError("cannot be tiled: accumulates in f32, the result is ") << result;
    auto block = dyn_cast<qblock::BlockTensorType>(weight);
    int64_t rank = shape.size();
    for (auto [dim, tile] : {std::pair<int64_t, int64_t>(rank - 2, sizes[1]), std::pair<int64_t, int64_t>(rank - 1, sizes[2])}) {
      int64_t extent = block ? block.getBlockExtent(dim) : 1;
      if (tile > 0 && tile < shape[dim] && extent < shape[dim] && tile % extent != 0 && extent % tile != 0)
        return op->emitError("cannot be tiled: tiles of ") << tile << " cut through the blocks of " << extent << " of " << weight;
    }
    return success();
  }

  LogicalResult tile(Operation *op) {
    auto grouped = dyn_cast<qblock::GroupedMatmulOp>(op);
    if (failed(check(op, op->getOperand(1).getType())))
      return failure();
    IRRewriter rewriter(op);
    Operation *matmul;
    if (grouped) {
      FailureOr<qblock::GroupedMatmulAccOp> accumulating = withZeroAccumulator(rewriter, grouped);
      if (failed(accumulating))
        return failure();
      matmul = *accumulating;
    } else {
      matmul = withZeroAccumulator(rewriter, cast<qblock::MatmulOp>(op));
    }
    FailureOr<Operation *> inner =
        applyTiling(rewriter, matmul, {grouped ? 1 : sizes[0], sizes[1], 0}, scf::SCFTilingOptions::LoopType::ForallOp);
    if (failed(inner))
      return failure();
    return applyTiling(rewriter, *inner, {0, 0, sizes[2]}, scf::SCFTilingOptions::LoopType::ForOp);
  }

  /// The size of the first dimension of a tensor or block-scaled tensor.
  static Value leadingSize(IRRewriter &rewriter, Location loc, Value value) {
    if (isa<qblock::BlockTensorType>(value.getType()))
      value = qblock::StorageOp::create(rewriter, loc, value).getData();
    return tensor::DimOp::create(rewriter, loc, value, 0);
  }

  /// An f32 tensor of zeros; `rows` is its first size where that is dynamic.
  static Value zeros(IRRewriter &rewriter, Location loc, RankedTensorType type, Value rows) {
    Value empty = tensor::EmptyOp::create(rewriter, loc, type, type.isDynamicDim(0) ? ValueRange(rows) : ValueRange());
    Value zero = arith::ConstantOp::create(rewriter, loc, rewriter.getZeroAttr(rewriter.getF32Type()));
    return linalg::FillOp::create(rewriter, loc, zero, empty).getResult(0);
  }

  /// `value` rounded to the element type of `op`'s result, in place of it.
  static void replaceRounded(IRRewriter &rewriter, Operation *op, Value value) {
    Type type = op->getResult(0).getType();
    if (value.getType() != type)
      value = arith::TruncFOp::create(rewriter, op->getLoc(), type, value);
    rewriter.replaceOp(op, value);
  }

  static qblock::MatmulAccOp withZeroAccumulator(IRRewriter &rewriter, qblock::MatmulOp op) {
    Location loc = op.getLoc();
    auto type = RankedTensorType::get(op.getType().getShape(), rewriter.getF32Type());
    Value rows = type.isDynamicDim(0) ? leadingSize(rewriter, loc, op.getX()) : Value();
    Value acc = zeros(rewriter, loc, type, rows);
    auto matmul = qblock::MatmulAccOp::create(rewriter, loc, type, op.getX(), op.getW(), acc);
    replaceRounded(rewriter, op, matmul);
    return matmul;
  }

  /// All dimensions but the last as one. Scale blocks must be single rows.
  static FailureOr<Value> collapseRows(IRRewriter &rewriter, Operation *op, Value value, ReassociationIndices rows) {
    Location loc = op->getLoc();
    auto collapse = [&](Value tensor) -> Value {
      SmallVector<ReassociationIndices> groups = {rows, {static_cast<int64_t>(rows.size())}};
      return tensor::CollapseShapeOp::create(rewriter, loc, tensor, groups);
    };
    auto type = dyn_cast<qblock::BlockTensorType>(value.getType());
    if (!type)
      return collapse(value);
    ArrayRef<int64_t> block = type.getBlock();
    if (type.hasZeroPoint() || type.getZeroConstant() || type.hasGlobalScale() ||
        llvm::any_of(block.drop_back(), [](int64_t extent) { return extent != 1; }))
      return op->emitError("cannot be tiled: x must have scales for each row, not ") << type;
    auto storage = qblock::StorageOp::create(rewriter, loc, value);
    Value data = collapse(storage.getData()), scale = collapse(storage.getScale());
    auto flat = qblock::BlockTensorType::get(cast<ShapedType>(data.getType()).getShape(), type.getStorageType(),
                                             block.take_back(2), type.getScaleType(), Type(), type.getKMajorScales());
    return qblock::AssembleOp::create(rewriter, loc, flat, data, scale, Value()).getResult();
  }

  /// The grouped matmul with its rows in one dimension.
  static FailureOr<qblock::GroupedMatmulAccOp> withZeroAccumulator(IRRewriter &rewriter, qblock::GroupedMatmulOp op) {
    Location loc = op.getLoc();
    auto result = cast<RankedTensorType>(op.getType());
    int64_t topK = result.getDimSize(1), columns = result.getDimSize(2);
    if (ShapedType::isDynamic(topK))
      return op.emitError("cannot be tiled: top_k must be static in ") << result;
    FailureOr<Value> x = op.getX();
    if (qblock::getMatrixShape(op.getX().getType()).size() == 3)
      x = collapseRows(rewriter, op, op.getX(), {0, 1});
    if (failed(x))
      return failure();
    Value rows = op.getRows();
    if (rows)
      rows = tensor::CollapseShapeOp::create(rewriter, loc, rows, ArrayRef<ReassociationIndices>{{0, 1}});
    int64_t tokens = result.getDimSize(0);
    Value dynamicTokens, dynamicRows;
    if (ShapedType::isDynamic(tokens)) {
      dynamicTokens = leadingSize(rewriter, loc, op.getRows() ? op.getRows() : op.getX());
      dynamicRows = arith::MulIOp::create(rewriter, loc, dynamicTokens, arith::ConstantIndexOp::create(rewriter, loc, topK));
    }
    int64_t flatRows = ShapedType::isDynamic(tokens) ? tokens : tokens * topK;
    auto flat = RankedTensorType::get({flatRows, columns}, rewriter.getF32Type());
    Value acc = zeros(rewriter, loc, flat, dynamicRows);
    auto matmul = qblock::GroupedMatmulAccOp::create(rewriter, loc, flat, *x, op.getW(), op.getOffsets(), rows, acc, topK);
    SmallVector<OpFoldResult> shape = {rewriter.getIndexAttr(tokens), rewriter.getIndexAttr(topK),
                                       rewriter.getIndexAttr(columns)};
    if (dynamicTokens)
      shape[0] = dynamicTokens;
    Value expanded = tensor::ExpandShapeOp::create(rewriter, loc, result.clone(rewriter.getF32Type()), matmul,
                                                   ArrayRef<ReassociationIndices>{{0, 1}, {2}}, shape);
    replaceRounded(rewriter, op, expanded);
    return matmul;
  }

  /// Tiles `op` and returns the op inside the loops.
  static FailureOr<Operation *> applyTiling(IRRewriter &rewriter, Operation *op, ArrayRef<int64_t> sizes,
                                            scf::SCFTilingOptions::LoopType loops) {
    if (llvm::all_of(sizes, [](int64_t size) { return size == 0; }))
      return op;
    scf::SCFTilingOptions options;
    options.setTileSizes(getAsIndexOpFoldResult(op->getContext(), sizes));
    options.setLoopType(loops);
    rewriter.setInsertionPoint(op);
    FailureOr<scf::SCFTilingResult> tiled = scf::tileUsingSCF(rewriter, cast<TilingInterface>(op), options);
    if (failed(tiled))
      return op->emitError("cannot be tiled by ") << sizes;
    rewriter.replaceOp(op, tiled->replacements);
    return tiled->tiledOps.front();
  }
};

} // namespace
