//===- MoeKernels.cpp - gate, dispatch and combine of experts ----------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "lowering/target/sm90/simt/SimtKernels.h"

#include <limits>

using namespace mlir;

namespace quant::nvvm {

static constexpr double kMinusInfinity = -std::numeric_limits<double>::infinity();

//===----------------------------------------------------------------------===//
// Gate
//===----------------------------------------------------------------------===//

namespace {

/// One token, by a warp that is a block. Scores lie in shared memory, expert e with lane e % 32.
class GateEmitter {
public:
  GateEmitter(SimtBuilder &b, deepseek::MoeGateOp op, const Rows &logits)
      : b(b), op(op), logits(logits), experts(logits.columns), groups(op.getGroups()), scores(b.allocateShared(experts * 4)),
        biased(b.allocateShared(experts * 4)), groupScores(b.allocateShared(groups * 4)) {}

  void emit(const std::optional<Rows> &bias, Value ids, const Rows &weights) {
    Value row = logits.row(b, b.block);
    if (op.getScoreFunc() == deepseek::ScoreFunc::Sigmoid)
      sigmoid(row);
    else
      softmax(row);
    b.syncBlock();
    addBias(bias);
    b.syncBlock();
    if (op.getLimitedGroups() < static_cast<uint64_t>(groups))
      closeGroups();
    takeExperts(ids, weights);
  }

private:
  SimtBuilder &b;
  deepseek::MoeGateOp op;
  const Rows &logits;
  int64_t experts, groups;
  Value scores, biased, groupScores;

  Value element(Value list, Value index) { return b.at(list, b.getF32Type(), index); }
  Value load(Value list, Value index) { return b.loadFloat(b.getF32Type(), element(list, index)); }
  Value logit(Value row, Value index) { return b.loadFloat(logits.element, b.at(row, logits.element, index)); }
  void forOwn(int64_t count, SimtBuilder::Body body) { b.loop(b.lane, b.constI32(count), kWarpLanes, body); }
  Value reduceOwn(int64_t count, Value init, function_ref<Value(Value index, Value sum)> body) {
    return b.loop(b.lane, b.constI32(count), kWarpLanes, init,
                  [&](Value index, ValueRange carried) { return SmallVector<Value>{body(index, carried[0])}; })[0];
  }

  void sigmoid(Value row) {
    forOwn(experts, [&](Value expert) {
      Value denominator = b.addF(b.constF32(1.0), b.exp(b.negF(logit(row, expert))));
      b.store(b.reciprocal(denominator), element(scores, expert));
    });
  }

  void softmax(Value row) {
    Value maximum = b.maxWarp(reduceOwn(experts, b.constF32(kMinusInfinity),
                                        [&](Value expert, Value largest) { return b.maxF(logit(row, expert), largest); }));
    Value sum = b.sumWarp(reduceOwn(experts, b.constF32(0.0), [&](Value expert, Value sum) {
      Value value = b.exp(b.subF(logit(row, expert), maximum));
      b.store(value, element(scores, expert));
      return b.addF(sum, value);
    }));
    forOwn(experts, [&](Value expert) { b.store(b.divF(load(scores, expert), sum), element(scores, expert)); });
  }

  void addBias(const std::optional<Rows> &bias) {
    Value row = bias ? bias->row(b, b.constI32(0)) : Value();
    forOwn(experts, [&](Value expert) {
      Value value = load(scores, expert);
      if (bias)
        value = b.addF(value, b.loadFloat(bias->element, b.at(row, bias->element, expert)));
      b.store(value, element(biased, expert));
    });
  }

  /// The index of the largest of `count` scores, the lowest of equal ones, in all lanes.
  Value argmax(Value list, int64_t count) {
    // A lane without a score bids an index that loses against every other.
    SmallVector<Value> best = {b.constF32(kMinusInfinity), b.constI32(std::numeric_limits<int32_t>::max())};
    best = b.loop(b.lane, b.constI32(count), kWarpLanes, best,
                  [&](Value index, ValueRange carried) { return better({load(list, index), index}, {carried[0], carried[1]}); });
    for (int64_t mask = kWarpLanes / 2; mask > 0; mask /= 2)
      best = better(best, {b.shuffleXor(best[0], mask), b.shuffleXor(best[1], mask)});
    // Where no score is a number: any index that there is.
    return b.minSigned(best[1], b.constI32(count - 1));
  }

  SmallVector<Value> better(ArrayRef<Value> one, ArrayRef<Value> other) {
    Value larger = b.compare(SimtBuilder::FloatPredicate::OGT, other[0], one[0]);
    Value equal = b.compare(SimtBuilder::FloatPredicate::OEQ, other[0], one[0]);
    Value wins = b.logicalOr(larger, b.logicalAnd(equal, b.less(other[1], one[1])));
    return {b.select(wins, other[0], one[0]), b.select(wins, other[1], one[1])};
  }

  /// -inf instead of the biased scores of all groups but the best.
  void closeGroups() {
    int64_t size = experts / groups;
    forOwn(groups, [&](Value group) { b.store(scoreOfGroup(group, size), element(groupScores, group)); });
    b.syncBlock();
    // A group that is taken leaves the list by -inf; at the end those are the open ones.
    b.loop(b.constI32(0), b.constI32(op.getLimitedGroups()), 1, [&](Value) {
      Value best = argmax(groupScores, groups);
      b.syncBlock();
      b.ifThen(b.equal(b.lane, b.constI32(0)), [&] { b.store(b.constF32(kMinusInfinity), element(groupScores, best)); });
      b.syncBlock();
    });
    forOwn(experts, [&](Value expert) {
      Value score = load(groupScores, b.divideBy(expert, size));
      Value isClosed = b.compare(SimtBuilder::FloatPredicate::UNE, score, b.constF32(kMinusInfinity));
      b.ifThen(isClosed, [&] { b.store(b.constF32(kMinusInfinity), element(biased, expert)); });
    });
    b.syncBlock();
  }

  /// The largest biased score of a group, or the sum of its two largest.
  Value scoreOfGroup(Value group, int64_t size) {
    Value first = b.mul(group, size), lowest = b.constF32(kMinusInfinity);
    SmallVector<Value> top = b.loop(first, b.add(first, size), 1, ValueRange{lowest, lowest}, [&](Value expert, ValueRange best) {
      Value value = load(biased, expert);
      Value beatsFirst = b.compare(SimtBuilder::FloatPredicate::OGT, value, best[0]);
      Value runnerUp = b.select(beatsFirst, best[0], b.maxF(value, best[1]));
      return SmallVector<Value>{b.select(beatsFirst, value, best[0]), runnerUp};
    });
    return op.getGroupScore() == deepseek::GroupScore::Top2Sum ? b.addF(top[0], top[1]) : top[0];
  }

  void takeExperts(Value ids, const Rows &weights) {
    int64_t topK = op.getTopK();
    Value idRow = b.rowAt(ids, b.getI32Type(), b.block, topK), weightRow = weights.row(b, b.block);
    Value isFirstLane = b.equal(b.lane, b.constI32(0));
    Value sum = b.loop(b.constI32(0), b.constI32(topK), 1, b.constF32(0.0), [&](Value index, ValueRange carried) {
      Value best = argmax(biased, experts), score = load(scores, best);
      b.syncBlock();
      b.ifThen(isFirstLane, [&] {
        b.store(best, b.at(idRow, b.getI32Type(), index));
        b.store(score, element(weightRow, index));
        b.store(b.constF32(kMinusInfinity), element(biased, best));
      });
      b.syncBlock();
      return SmallVector<Value>{b.addF(carried[0], score)};
    })[0];
    // 1e-20 as in the models' own code: sigmoid scores can underflow together.
    Value scale = b.constF32(op.getRouteScale().convertToDouble());
    if (op.getNormalize())
      scale = b.divF(scale, b.addF(sum, b.constF32(1e-20)));
    b.ifThen(isFirstLane, [&] {
      b.loop(b.constI32(0), b.constI32(topK), 1,
             [&](Value index) { b.store(b.mulF32(load(weightRow, index), scale), element(weightRow, index)); });
    });
  }
};

} // namespace

Result<void> emitMoeGate(SimtContext &context, deepseek::MoeGateOp op) {
  Result<Rows> logits = context.operands.rows(op.getLogits());
  if (!logits)
    return tl::unexpected(logits.error());
  std::optional<Rows> bias;
  if (op.getBias()) {
    Result<Rows> rows = context.operands.rows(op.getBias());
    if (!rows)
      return tl::unexpected(rows.error());
    bias = *rows;
  }
  Rows ids = context.operands.resultRows(0), weights = context.operands.resultRows(1);
  if (!weights.element.isF32())
    return fail("moe_gate gives f32 weights");
  GateEmitter(context.b, op, *logits).emit(bias, ids.base, weights);
  return {};
}

//===----------------------------------------------------------------------===//
// Dispatch, combine
//===----------------------------------------------------------------------===//

Result<void> emitMoeDispatch(SimtContext &context, deepseek::MoeDispatchOp op) {
  SimtBuilder &b = context.b;
  Result<Value> ids = context.operands.address(op.getIds());
  if (!ids)
    return tl::unexpected(ids.error());
  Type i32 = b.getI32Type();
  int64_t topK = cast<RankedTensorType>(op.getIds().getType()).getDimSize(1);
  int64_t experts = cast<RankedTensorType>(op.getOffsets().getType()).getDimSize(0) - 1;
  Value offsets = context.operands.resultRows(0).base, rows = context.operands.resultRows(1).base;
  Value counts = b.allocateShared(experts * 4), pairs = b.mul(context.operands.tokens(), topK), zero = b.constI32(0);
  auto forOwn = [&](SimtBuilder::Body body) { b.loop(b.thread, b.constI32(experts), b.threads, body); };
  // A thread takes an expert and goes over all pairs: the order is that of the tokens, and nobody waits for anybody.
  auto forPairs = [&](Value expert, Value init, function_ref<void(Value pair, Value place)> body) {
    return b.loop(zero, pairs, 1, init, [&](Value pair, ValueRange place) {
      Value isOwn = b.equal(b.loadI32(b.at(*ids, i32, pair)), expert);
      if (body)
        b.ifThen(isOwn, [&] { body(pair, place[0]); });
      return SmallVector<Value>{b.add(place[0], b.extendToI32(isOwn))};
    })[0];
  };
  forOwn([&](Value expert) { b.store(forPairs(expert, zero, nullptr), b.at(counts, i32, expert)); });
  b.syncBlock();
  forOwn([&](Value expert) {
    Value first = b.loop(zero, expert, 1, zero, [&](Value other, ValueRange sum) {
      return SmallVector<Value>{b.add(sum[0], b.loadI32(b.at(counts, i32, other)))};
    })[0];
    b.store(first, b.at(offsets, i32, expert));
    Value end = forPairs(expert, first, [&](Value pair, Value place) { b.store(pair, b.at(rows, i32, place)); });
    b.ifThen(b.equal(expert, b.constI32(experts - 1)), [&] { b.store(end, b.at(offsets, i32, experts)); });
  });
  return {};
}

Result<void> emitMoeCombine(SimtContext &context, deepseek::MoeCombineOp op) {
  SimtBuilder &b = context.b;
  Result<Rows> x = context.operands.rows(op.getX()), weights = context.operands.rows(op.getWeights());
  Result<Value> ids = context.operands.address(op.getIds()), offsets = context.operands.address(op.getOffsets()),
                rows = context.operands.address(op.getRows());
  if (!x || !weights)
    return tl::unexpected(x ? weights.error() : x.error());
  for (const Result<Value> *operand : {&ids, &offsets, &rows})
    if (!*operand)
      return tl::unexpected(operand->error());
  Rows out = context.operands.resultRows(0);
  Type i32 = b.getI32Type();
  int64_t topK = cast<RankedTensorType>(op.getIds().getType()).getDimSize(1);
  // All four words of the last 16 bytes are written: LLVM may load three as four.
  int64_t slots = (topK + 3) / 4 * 4;
  Value places = b.allocateShared(slots * 4), first = b.mul(b.block, topK);
  for (int64_t slot = topK; slot < slots; ++slot)
    b.ifThen(b.equal(b.thread, b.constI32(0)), [&] { b.store(b.constI32(0), b.at(places, i32, slot)); });
  // Where the token's pairs stand among their experts' rows: the threads look in parallel.
  b.loop(b.constI32(0), b.constI32(topK), 1, [&](Value slot) {
    Value pair = b.add(first, slot), bounds = b.at(*offsets, i32, b.loadI32(b.at(*ids, i32, pair)));
    b.loop(b.add(b.loadI32(bounds), b.thread), b.loadI32(b.at(bounds, i32, 1)), b.threads, [&](Value place) {
      b.ifThen(b.equal(b.loadI32(b.at(*rows, i32, place)), pair), [&] { b.store(place, b.at(places, i32, slot)); });
    });
  });
  b.syncBlock();
  Value weightRow = weights->row(b, b.block), target = out.row(b, b.block);
  b.forGroups(out.columns, [&](Value, Value column) {
    SmallVector<Value> sums(kQuad, b.constF32(0.0));
    sums = b.loop(b.constI32(0), b.constI32(topK), 1, sums, [&](Value slot, ValueRange carried) {
      Value weight = b.loadFloat(weights->element, b.at(weightRow, weights->element, slot));
      Value row = x->row(b, b.loadI32(b.at(places, i32, slot)));
      SmallVector<Value> next;
      for (auto [value, sum] : llvm::zip_equal(x->load(b, row, column), carried))
        next.push_back(b.fma(weight, value, sum));
      return next;
    });
    out.store(b, target, column, sums);
  });
  return {};
}

} // namespace quant::nvvm
