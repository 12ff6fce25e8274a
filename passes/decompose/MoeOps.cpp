//===- MoeOps.cpp - what dispatch means ---------------------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Sorting without a sort: an element's rank is the number of those before it.
//
//===----------------------------------------------------------------------===//

#include "passes/decompose/Definition.h"

#include "mlir/Dialect/Tensor/IR/Tensor.h"

using namespace mlir;
using namespace quant;
using namespace quant::deepseek;

static constexpr int64_t kDynamic = ShapedType::kDynamic;

static SmallVector<Value> defineMoeDispatch(Definition &d, MoeDispatchOp op) {
  int64_t topK = op.getIds().getType().getDimSize(1);
  Value tokens = d.dim(op.getIds(), 0), pairs = d.mul(tokens, topK);
  auto expertOf = [&](Value pair) { return d.indexAt(op.getIds(), {d.div(pair, topK), d.rem(pair, topK)}); };
  Value offsets = d.generate(op.getOffsets().getType(), {}, [&](ValueRange expert) {
    return d.toI32(d.sumIndex(pairs, [&](Value pair) { return d.count(d.less(expertOf(pair), expert[0])); }));
  });
  // A pair's place is the number of pairs of lower experts, and of earlier ones of its own.
  Value places = d.generate(RankedTensorType::get({kDynamic}, d.getIndexType()), pairs, [&](ValueRange pair) {
    Value own = expertOf(pair[0]);
    return d.sumIndex(pairs, [&](Value other) {
      Value expert = expertOf(other);
      return d.count(d.either(d.less(expert, own), d.both(d.equal(expert, own), d.less(other, pair[0]))));
    });
  });
  Value rows = d.generate(op.getRows().getType(), tokens, [&](ValueRange i) {
    Value place = d.add(d.mul(i[0], topK), i[1]);
    return d.toI32(d.sumIndex(pairs, [&](Value pair) {
      Value isHere = d.equal(tensor::ExtractOp::create(d, places, pair), place);
      return d.select(isHere, pair, d.size(0));
    }));
  });
  return {offsets, rows};
}

void quant::addMoeDefinitions(RewritePatternSet &patterns) {
  MLIRContext *context = patterns.getContext();
  patterns.add<DefinePattern<MoeDispatchOp>>(context, defineMoeDispatch);
}
