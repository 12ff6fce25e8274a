//===- DecomposeExperts.cpp - routed experts as grouped matmuls -----------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "dialects/deepseek/DeepSeek.h"
#include "passes/Passes.h"
#include "passes/fuse/Projections.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/Transforms/GreedyPatternRewriteDriver.h"

namespace quant {
#define GEN_PASS_DEF_DECOMPOSEEXPERTS
#include "passes/Passes.h.inc"
} // namespace quant

using namespace mlir;
using namespace quant;
using namespace quant::deepseek;

namespace {

struct DecomposeExpertsOp : OpRewritePattern<ExpertsOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(ExpertsOp op, PatternRewriter &rewriter) const override {
    Location loc = op.getLoc();
    ArrayRef<int64_t> gate = qblock::getMatrixShape(op.getGate().getType());
    int64_t experts = gate[0], inner = gate[1], dim = gate[2];
    auto ids = cast<RankedTensorType>(op.getIds().getType());
    int64_t topK = ids.getDimSize(1);
    auto dispatch =
        MoeDispatchOp::create(rewriter, loc, RankedTensorType::get({experts + 1}, rewriter.getI32Type()), ids, op.getIds());
    auto slots = [&](int64_t columns) {
      return RankedTensorType::get({ShapedType::kDynamic, topK, columns}, rewriter.getF32Type());
    };
    auto grouped = [&](int64_t columns, Value x, Value w, Value rows) -> Value {
      return qblock::GroupedMatmulOp::create(rewriter, loc, slots(columns), x, w, dispatch.getOffsets(), rows);
    };
    // The rows of `x` with their columns in the experts' order, or x as it is and which of its rows the experts read.
    auto inputs = [&](Value x, Value order, Value rows) -> std::pair<Value, Value> {
      if (!order)
        return {x, rows};
      int64_t columns = cast<RankedTensorType>(x.getType()).getShape().back();
      Value gathered =
          qblock::GatherColumnsOp::create(rewriter, loc, slots(columns), x, order, ValueRange{op.getIds(), dispatch.getRows()});
      return {gathered, Value()};
    };
    Value gateOut, upOut;
    auto [x, rows] = inputs(op.getX(), op.getGateOrder(), dispatch.getRows());
    bool haveOneOrder = op.getGateOrder() == op.getUpOrder();
    if (haveOneOrder && canJoinRows(op.getGate().getType(), op.getUp().getType())) {
      Value merged = grouped(2 * inner, x, joinRows(rewriter, loc, {op.getGate(), op.getUp()}), rows);
      gateOut = sliceColumns(rewriter, loc, merged, 0, inner);
      upOut = sliceColumns(rewriter, loc, merged, inner, inner);
    } else {
      gateOut = grouped(inner, x, op.getGate(), rows);
      if (!haveOneOrder)
        std::tie(x, rows) = inputs(op.getX(), op.getUpOrder(), dispatch.getRows());
      upOut = grouped(inner, x, op.getUp(), rows);
    }
    Value hidden = SwigluOp::create(rewriter, loc, gateOut, upOut).getResult();
    Value out = grouped(dim, inputs(hidden, op.getDownOrder(), Value()).first, op.getDown(), Value());
    rewriter.replaceOpWithNewOp<MoeCombineOp>(op, op.getType(), out, op.getIds(), op.getWeights(), dispatch.getOffsets(),
                                              dispatch.getRows());
    return success();
  }
};

struct DecomposeExperts : quant::impl::DecomposeExpertsBase<DecomposeExperts> {
  void runOnOperation() override {
    RewritePatternSet patterns(&getContext());
    patterns.add<DecomposeExpertsOp>(&getContext());
    if (failed(applyPatternsGreedily(getOperation(), std::move(patterns))))
      signalPassFailure();
  }
};

} // namespace
