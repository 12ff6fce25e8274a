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
struct FuseIntoProducer : OpRewritePattern<qblock::QuantizeOp> {
  FuseIntoProducer(MLIRContext *context, Pass::Statistic &fused) : OpRewritePattern(context), fused(fused) {}

  LogicalResult matchAndRewrite(qblock::QuantizeOp quantize, PatternRewriter &rewriter) const override {
    auto producer = quantize.getSource().getDefiningOp<QuantizingOpInterface>();
    if (!producer)
      return rewriter.notifyMatchFailure(quantize, "the source is not made by an op that can quantize");
    Value known = producer.getQuantized();
    bool alike = producer.getAmaxFloor() == quantize.getAmaxFloor() && producer.getPowerOfTwo() == quantize.getPowerOfTwo();
    if (known && (known.getType() != quantize.getType() || !alike))
      return rewriter.notifyMatchFailure(quantize, "the producer already quantizes, to another scheme");
    if (!known)
      known = addQuantizedResult(producer, quantize, rewriter);
    rewriter.replaceOp(quantize, known);
    ++fused;
    return success();
  }

private:
  Pass::Statistic &fused;

  /// Replaces the producer by one that quantizes as `quantize` does; returns the quantized result.
  static Value addQuantizedResult(QuantizingOpInterface producer, qblock::QuantizeOp quantize, PatternRewriter &rewriter) {
    rewriter.setInsertionPoint(producer);
    OperationState state(rewriter.getFusedLoc({producer->getLoc(), quantize.getLoc()}), producer->getName());
    state.addOperands(producer->getOperands());
    state.addAttributes(producer->getAttrs());
    state.addTypes({producer->getResult(0).getType(), quantize.getType()});
    auto fused = cast<QuantizingOpInterface>(rewriter.create(state));
    fused.setAmaxFloorAttr(quantize.getAmaxFloorAttr());
    fused.setPowerOfTwo(quantize.getPowerOfTwo());
    rewriter.replaceAllUsesWith(producer->getResult(0), fused->getResult(0));
    rewriter.eraseOp(producer);
    return fused.getQuantized();
  }
};

struct FuseQuantize : quant::impl::FuseQuantizeBase<FuseQuantize> {
  void runOnOperation() override {
    RewritePatternSet patterns(&getContext());
    patterns.add<FuseIntoProducer>(&getContext(), fused);
    if (failed(applyPatternsGreedily(getOperation(), std::move(patterns))))
      signalPassFailure();
  }
};

} // namespace
