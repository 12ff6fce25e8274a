//===- DecomposeMla.cpp - attention in its absorbed form ------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "dialects/deepseek/DeepSeek.h"
#include "dialects/hopper/MlaDecodeSchedule.h"
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
  DecomposeMlaAttention(MLIRContext *context, bool tensorCores) : OpRewritePattern(context), tensorCores(tensorCores) {}

  LogicalResult matchAndRewrite(MlaAttentionOp op, PatternRewriter &rewriter) const override {
    Location loc = op.getLoc();
    int64_t heads = op.getHeads(), latent = qblock::getMatrixShape(op.getKvB().getType()).back();
    LatentAppendOp::create(rewriter, loc, op.getKvA(), op.getGamma(), op.getRope(), op.getCache(), op.getPositions(),
                           op.getSequences(), op.getPages(), op.getEpsAttr(), op.getInterleavedAttr(), op.getCacheFormatAttr());
    bool decodes = tensorCores && hopper::getMlaDecodeConfig(op);
    Value attended = decodes ? decode(op, heads, latent, rewriter) : core(op, heads, latent, rewriter);
    rewriter.replaceOpWithNewOp<MlaExpandOp>(op, op.getType(), attended, op.getKvB(), heads, op.getNopeDim(), op.getRopeDim(),
                                             op.getVDim());
    return success();
  }

private:
  bool tensorCores;

  static RankedTensorType rows(int64_t columns, Type element) {
    return RankedTensorType::get({ShapedType::kDynamic, columns}, element);
  }

  static Value core(MlaAttentionOp op, int64_t heads, int64_t latent, PatternRewriter &rewriter) {
    Location loc = op.getLoc();
    RankedTensorType type = rows(heads * latent, rewriter.getF32Type());
    Value query = MlaAbsorbOp::create(rewriter, loc, type, op.getQ(), op.getKvB(), /*rope=*/Value(), heads, op.getNopeDim(),
                                      op.getRopeDim(), op.getVDim());
    return MlaCoreOp::create(rewriter, loc, type, query, op.getQ(), op.getRope(), op.getCache(), op.getPositions(),
                             op.getSequences(), op.getPages(), op.getHeadsAttr(), op.getNopeDimAttr(), op.getRopeDimAttr(),
                             op.getVDimAttr(), op.getSoftmaxScaleAttr(), op.getInterleavedAttr(), op.getCacheFormatAttr(),
                             op.getFirstPositionAttr());
  }

  static Value decode(MlaAttentionOp op, int64_t heads, int64_t latent, PatternRewriter &rewriter) {
    Location loc = op.getLoc();
    Type element = rewriter.getBF16Type();
    auto rope = static_cast<int64_t>(op.getRopeDim());
    Value queries = MlaAbsorbOp::create(rewriter, loc, rows(heads * (latent + rope), element), op.getQ(), op.getKvB(),
                                        op.getRope(), heads, op.getNopeDim(), op.getRopeDim(), op.getVDim(), op.getInterleaved());
    return MlaDecodeOp::create(rewriter, loc, rows(heads * latent, element), queries, op.getCache(), op.getPositions(),
                               op.getSequences(), op.getPages(), op.getHeadsAttr(), op.getRopeDimAttr(),
                               op.getSoftmaxScaleAttr());
  }
};

struct DecomposeMla : quant::impl::DecomposeMlaBase<DecomposeMla> {
  using DecomposeMlaBase::DecomposeMlaBase;

  void runOnOperation() override {
    RewritePatternSet patterns(&getContext());
    patterns.add<DecomposeMlaAttention>(&getContext(), tensorCores);
    if (failed(applyPatternsGreedily(getOperation(), std::move(patterns))))
      signalPassFailure();
  }
};

} // namespace
