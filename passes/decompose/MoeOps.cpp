//===- MoeOps.cpp - what gate, dispatch and combine mean --------------------===//
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
static constexpr double kMinusInfinity = -std::numeric_limits<double>::infinity();

/// How many of n values come before value i: those that are larger, and equal ones of lower index.
static Value rank(Definition &d, function_ref<Value(Value)> value, Value i, int64_t n) {
  Value own = value(i);
  return d.sumIndex(d.index(n), [&](Value j) {
    Value other = value(j);
    Value isEqual = d.create<arith::CmpFOp>(arith::CmpFPredicate::OEQ, other, own);
    return d.count(d.either(d.greaterF(other, own), d.both(isEqual, d.less(j, i))));
  });
}

/// The ranks of the n values of each row.
static Value ranks(Definition &d, Value values, Value tokens, int64_t n) {
  return d.generate(RankedTensorType::get({kDynamic, n}, d.getIndexType()), tokens, [&](ValueRange i) {
    return rank(d, [&](Value j) { return d.at(values, {i[0], j}); }, i[1], n);
  });
}

static Value scoresOf(Definition &d, MoeGateOp op, Value tokens, int64_t experts) {
  Value logits = op.getLogits();
  if (op.getScoreFunc() == ScoreFunc::Sigmoid)
    return d.generate({kDynamic, experts}, tokens, [&](ValueRange i) {
      return d.divF(d.f32(1), d.addF(d.f32(1), d.exp(d.subF(d.f32(0), d.at(logits, i)))));
    });
  Value count = d.index(experts);
  Value largest = d.generate({kDynamic}, tokens, [&](ValueRange t) { return d.max(count, [&](Value e) { return d.at(logits, {t[0], e}); }); });
  auto exponential = [&](Value t, Value e) { return d.exp(d.subF(d.at(logits, {t, e}), d.at(largest, t))); };
  Value total = d.generate({kDynamic}, tokens, [&](ValueRange t) { return d.sum(count, [&](Value e) { return exponential(t[0], e); }); });
  return d.generate({kDynamic, experts}, tokens, [&](ValueRange i) { return d.divF(exponential(i[0], i[1]), d.at(total, i[0])); });
}

/// The biased scores with the experts of all but the best groups at -inf.
static Value maskGroups(Definition &d, MoeGateOp op, Value biased, Value tokens, int64_t experts) {
  int64_t groups = op.getGroups(), size = experts / groups;
  auto member = [&](Value t, Value group, Value i) { return d.at(biased, {t, d.add(d.mul(group, size), i)}); };
  Value groupScores = d.generate({kDynamic, groups}, tokens, [&](ValueRange i) {
    Value t = i[0], group = i[1];
    Value best = d.max(d.index(size), [&](Value e) { return member(t, group, e); });
    if (op.getGroupScore() == GroupScore::Max)
      return best;
    // The sum of those of rank 0 and 1 within the group.
    return d.sum(d.index(size), [&](Value e) {
      Value before = rank(d, [&](Value j) { return member(t, group, j); }, e, size);
      return d.select(d.less(before, d.index(2)), member(t, group, e), d.f32(0));
    });
  });
  Value groupRanks = ranks(d, groupScores, tokens, groups);
  return d.generate({kDynamic, experts}, tokens, [&](ValueRange i) {
    Value groupRank = d.create<tensor::ExtractOp>(groupRanks, ValueRange{i[0], d.div(i[1], size)});
    return d.select(d.less(groupRank, d.index(op.getLimitedGroups())), d.at(biased, i), d.f32(kMinusInfinity));
  });
}

static SmallVector<Value> defineMoeGate(Definition &d, MoeGateOp op) {
  int64_t experts = op.getLogits().getType().getDimSize(1), topK = op.getTopK();
  Value tokens = d.dim(op.getLogits(), 0), scores = scoresOf(d, op, tokens, experts), biased = scores;
  if (op.getBias())
    biased = d.generate({kDynamic, experts}, tokens, [&](ValueRange i) { return d.addF(d.at(scores, i), d.at(op.getBias(), i[1])); });
  if (op.getLimitedGroups() < op.getGroups())
    biased = maskGroups(d, op, biased, tokens, experts);
  Value expertRanks = ranks(d, biased, tokens, experts);
  Value ids = d.generate(op.getIds().getType(), tokens, [&](ValueRange i) {
    return d.toI32(d.sumIndex(d.index(experts), [&](Value e) {
      Value isChosen = d.equal(d.create<tensor::ExtractOp>(expertRanks, ValueRange{i[0], e}), i[1]);
      return d.select(isChosen, e, d.index(0));
    }));
  });
  auto chosen = [&](Value t, Value j) { return d.at(scores, {t, d.indexAt(ids, {t, j})}); };
  Value weights = d.generate(op.getWeights().getType(), tokens, [&](ValueRange i) {
    Value weight = chosen(i[0], i[1]);
    // 1e-20 as in the models' own code: sigmoid scores can underflow together.
    if (op.getNormalize())
      weight = d.divF(weight, d.addF(d.sum(d.index(topK), [&](Value j) { return chosen(i[0], j); }), d.f32(1e-20)));
    return d.mulF(weight, d.f32(op.getRouteScale().convertToDouble()));
  });
  return {ids, weights};
}

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
      Value isHere = d.equal(d.create<tensor::ExtractOp>(places, pair), place);
      return d.select(isHere, pair, d.index(0));
    }));
  });
  return {offsets, rows};
}

static SmallVector<Value> defineMoeCombine(Definition &d, MoeCombineOp op) {
  int64_t topK = op.getIds().getType().getDimSize(1);
  Value tokens = d.dim(op.getIds(), 0), pairs = d.mul(tokens, topK);
  Value places = d.generate(RankedTensorType::get({kDynamic}, d.getIndexType()), pairs, [&](ValueRange pair) {
    return d.sumIndex(pairs, [&](Value place) {
      Value row = d.indexAt(op.getRows(), {d.div(place, topK), d.rem(place, topK)});
      return d.select(d.equal(row, pair[0]), place, d.index(0));
    });
  });
  return {d.generate(op.getType(), tokens, [&](ValueRange i) {
    return d.sum(d.index(topK), [&](Value j) {
      Value place = d.create<tensor::ExtractOp>(places, d.add(d.mul(i[0], topK), j));
      return d.mulF(d.at(op.getWeights(), {i[0], j}), d.at(op.getX(), {d.div(place, topK), d.rem(place, topK), i[1]}));
    });
  })};
}

void quant::addMoeDefinitions(RewritePatternSet &patterns) {
  MLIRContext *context = patterns.getContext();
  patterns.add<DefinePattern<MoeGateOp>>(context, defineMoeGate);
  patterns.add<DefinePattern<MoeDispatchOp>>(context, defineMoeDispatch);
  patterns.add<DefinePattern<MoeCombineOp>>(context, defineMoeCombine);
}
