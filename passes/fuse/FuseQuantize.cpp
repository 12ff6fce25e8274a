//===- FuseQuantize.cpp - norm + quantize, swiglu + quantize --------------===//
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
#define GEN_PASS_DEF_FUSEQUANTIZE
#include "passes/Passes.h.inc"
} // namespace quant

using namespace mlir;
using namespace quant;

namespace {

/// Gives the producer of a quantize's source a second, quantized result.
template <typename ProducerOp>
struct FuseQuantizeInto : OpRewritePattern<qblock::QuantizeOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(qblock::QuantizeOp quantize, PatternRewriter &rewriter) const override {
    auto producer = quantize.getSource().getDefiningOp<ProducerOp>();
    if (!producer)
      return rewriter.notifyMatchFailure(quantize, "the source is not made by an op that can quantize");
    bool alike = producer.getAmaxFloor() == quantize.getAmaxFloor() && producer.getPowerOfTwo() == quantize.getPowerOfTwo();
    if (producer.getQuantized() && producer.getQuantized().getType() == quantize.getType() && alike) {
      rewriter.replaceOp(quantize, producer.getQuantized());
      return success();
    }
    if (producer.getQuantized())
      return rewriter.notifyMatchFailure(quantize, "the producer already quantizes, to another scheme");
    rewriter.setInsertionPoint(producer);
    SmallVector<Type> types{producer.getResult().getType(), quantize.getType()};
    auto fused = ProducerOp::create(rewriter, rewriter.getFusedLoc({producer.getLoc(), quantize.getLoc()}), types,
                                    producer->getOperands(), producer->getAttrs());
    fused.setAmaxFloorAttr(quantize.getAmaxFloorAttr());
    fused.setPowerOfTwo(quantize.getPowerOfTwo());
    rewriter.replaceOp(quantize, fused.getQuantized());
    rewriter.replaceAllUsesWith(producer.getResult(), fused.getResult());
    rewriter.eraseOp(producer);
    return success();
  }
};

struct FuseQuantize : quant::impl::FuseQuantizeBase<FuseQuantize> {
  void runOnOperation() override {
    RewritePatternSet patterns(&getContext());
    patterns.add<FuseQuantizeInto<deepseek::RmsNormOp>, FuseQuantizeInto<deepseek::SwigluOp>>(&getContext());
    if (failed(applyPatternsGreedily(getOperation(), std::move(patterns))))
      signalPassFailure();
  }
};

} // namespace
