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
    if (blockM < 0 || blockN < 1 || blockK < 1) {
      getOperation().emitError("block sizes must be positive (block-m may be 0)");
      return signalPassFailure();
    }
    SmallVector<qblock::MatmulOp> matmuls;
    getOperation().walk([&](qblock::MatmulOp op) { matmuls.push_back(op); });
    for (qblock::MatmulOp op : matmuls)
      if (failed(tile(op)))
        return signalPassFailure();
  }

private:
  /// The tiles must be cuttable: a static, non-empty weight, and no scale block that ends inside a tile.
  LogicalResult check(qblock::MatmulOp op) {
    Type weight = op.getW().getType();
    ArrayRef<int64_t> shape = qblock::getMatrixShape(weight);
    if (ShapedType::isDynamicShape(shape) || llvm::is_contained(shape, 0))
      return op.emitError("cannot be tiled: the weight must have static sizes other than 0, not ") << weight;
    if (op.getType().getElementTypeBitWidth() > 32)
      return op.emitError("cannot be tiled: accumulates in f32, the result is ") << op.getType();
    auto block = dyn_cast<qblock::BlockTensorType>(weight);
    for (auto [dim, tile] : {std::pair<int64_t, int64_t>(0, blockN), std::pair<int64_t, int64_t>(1, blockK)}) {
      int64_t extent = block ? block.getBlockExtent(dim) : 1;
      if (tile < shape[dim] && extent < shape[dim] && tile % extent != 0 && extent % tile != 0)
        return op.emitError("cannot be tiled: tiles of ") << tile << " cut through the blocks of " << extent << " of " << weight;
    }
    return success();
  }

  LogicalResult tile(qblock::MatmulOp op) {
    if (failed(check(op)))
      return failure();
    IRRewriter rewriter(op);
    qblock::MatmulAccOp matmul = withZeroAccumulator(rewriter, op);
    FailureOr<Operation *> inner =
        applyTiling(rewriter, matmul, {blockM, blockN, 0}, scf::SCFTilingOptions::LoopType::ForallOp);
    if (failed(inner))
      return failure();
    return applyTiling(rewriter, *inner, {0, 0, blockK}, scf::SCFTilingOptions::LoopType::ForOp);
  }

  /// The matmul on an f32 accumulator of zeros, rounded to the result's type at the end.
  static qblock::MatmulAccOp withZeroAccumulator(IRRewriter &rewriter, qblock::MatmulOp op) {
    Location loc = op.getLoc();
    auto result = cast<RankedTensorType>(op.getType());
    auto type = RankedTensorType::get(result.getShape(), rewriter.getF32Type());
    SmallVector<Value> sizes;
    if (type.isDynamicDim(0)) {
      Value rows = op.getX();
      if (isa<qblock::BlockTensorType>(rows.getType()))
        rows = qblock::StorageOp::create(rewriter, loc, rows).getData();
      sizes.push_back(tensor::DimOp::create(rewriter, loc, rows, 0));
    }
    Value empty = tensor::EmptyOp::create(rewriter, loc, type, sizes);
    Value zero = arith::ConstantOp::create(rewriter, loc, rewriter.getZeroAttr(rewriter.getF32Type()));
    Value acc = linalg::FillOp::create(rewriter, loc, zero, empty).getResult(0);
    auto matmul = qblock::MatmulAccOp::create(rewriter, loc, type, op.getX(), op.getW(), acc);
    Value replacement = matmul;
    if (result.getElementType() != type.getElementType())
      replacement = arith::TruncFOp::create(rewriter, loc, result, replacement);
    rewriter.replaceOp(op, replacement);
    return matmul;
  }

  /// Tiles `op` and returns the op inside the loops.
  static FailureOr<Operation *> applyTiling(IRRewriter &rewriter, Operation *op, ArrayRef<int64_t> sizes,
                                            scf::SCFTilingOptions::LoopType loops) {
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
