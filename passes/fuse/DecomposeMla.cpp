//===- DecomposeMla.cpp - attention in its absorbed form ------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "dialects/deepseek/DeepSeek.h"
#include "passes/Passes.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Transforms/GreedyPatternRewriteDriver.h"

namespace quant {
#define GEN_PASS_DEF_DECOMPOSEMLA
#include "passes/Passes.h.inc"
} // namespace quant

using namespace mlir;
using namespace quant;
using namespace quant::deepseek;

namespace {

struct DecomposeMlaAttention : OpRewritePattern<MlaAttentionOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(MlaAttentionOp op, PatternRewriter &rewriter) const override {
    Location loc = op.getLoc();
    int64_t heads = op.getHeads(), latent = qblock::getMatrixShape(op.getKvB().getType()).back();
    LatentAppendOp::create(rewriter, loc, op.getKvA(), op.getGamma(), op.getRope(), op.getCache(), op.getPositions(),
                           op.getSequences(), op.getPages(), op.getEpsAttr(), op.getInterleavedAttr(), op.getCacheFormatAttr());
    auto latentType = RankedTensorType::get({ShapedType::kDynamic, heads * latent}, rewriter.getF32Type());
    Value query = MlaAbsorbOp::create(rewriter, loc, latentType, op.getQ(), op.getKvB(), heads, op.getNopeDim(), op.getRopeDim(),
                                      op.getVDim());
    Value attended =
        MlaCoreOp::create(rewriter, loc, latentType, query, op.getQ(), op.getRope(), op.getCache(), op.getPositions(),
                          op.getSequences(), op.getPages(), op.getHeadsAttr(), op.getNopeDimAttr(), op.getRopeDimAttr(),
                          op.getVDimAttr(), op.getSoftmaxScaleAttr(), op.getInterleavedAttr(), op.getCacheFormatAttr());
    rewriter.replaceOpWithNewOp<MlaExpandOp>(op, op.getType(), attended, op.getKvB(), heads, op.getNopeDim(), op.getRopeDim(),
                                             op.getVDim());
    return success();
  }
};

struct DecomposeMla : quant::impl::DecomposeMlaBase<DecomposeMla> {
  void runOnOperation() override {
    RewritePatternSet patterns(&getContext());
    patterns.add<DecomposeMlaAttention>(&getContext());
    if (failed(applyPatternsGreedily(getOperation(), std::move(patterns))))
      signalPassFailure();
  }
};

} // namespace
