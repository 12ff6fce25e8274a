//===- MoeKernels.cpp - gate, dispatch and combine ------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "lowering/target/x86/Kernels.h"

using namespace mlir;
using namespace quant;
using namespace quant::host;

static constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();

namespace {

/// The selection of one token's experts. Scores and biased scores stand in scratch, as f32 lists.
class GateEmitter {
public:
  GateEmitter(KernelContext &context, deepseek::MoeGateOp op, const Rows &logits)
      : context(context), b(context.b), op(op), logits(logits), experts(logits.columns), groups(op.getGroups()),
        scores(context.allocate(experts * 4)), biased(context.allocate(experts * 4)), groupScores(context.allocate(groups * 4)),
        groupTaken(context.allocate(groups * 4)) {}

  LogicalResult emit(Value logitRow, Value ids, Value weights) {
    if (op.getScoreFunc() == deepseek::ScoreFunc::Sigmoid)
      sigmoid(logitRow);
    else
      softmax(logitRow);
    if (failed(addBias()))
      return failure();
    if (op.getLimitedGroups() < static_cast<uint64_t>(groups)) {
      scoreGroups();
      maskGroups();
    }
    takeExperts(ids, weights);
    return success();
  }

private:
  KernelContext &context;
  HostBuilder &b;
  deepseek::MoeGateOp op;
  const Rows &logits;
  int64_t experts, groups;
  Value scores, biased, groupScores, groupTaken;

  Value element(Value list, Value index) { return b.at(list, index, 4); }
  Value loadF32(Value list, Value index) { return b.load(b.f32(), element(list, index)); }

  void sigmoid(Value row) {
    b.chunks(experts, [&](Value column, int64_t lanes) {
      Value one = b.splatF32(lanes, 1.0f), x = logits.load(b, row, column, lanes);
      Value denominator = b.addF(one, b.exp(b.subF(b.splatF32(lanes, 0.0f), x)));
      b.store(b.divF(one, denominator), element(scores, column));
    });
  }

  void softmax(Value row) {
    Value maximum = b.reduceChunks(
        experts, b.cstF32(kMinusInfinity),
        [&](Value column, int64_t lanes, Value acc) { return b.maxF(logits.load(b, row, column, lanes), acc); },
        [&](Value vector) { return b.maxLanes(vector); }, [&](Value x, Value y) { return b.maxF(x, y); });
    Value sum = b.reduceChunks(
        experts, b.cstF32(0.0f),
        [&](Value column, int64_t lanes, Value acc) {
          Value value = b.exp(b.subF(logits.load(b, row, column, lanes), b.splat(maximum, lanes)));
          b.store(value, element(scores, column));
          return b.addF(value, acc);
        },
        [&](Value vector) { return b.sumLanes(vector); }, [&](Value x, Value y) { return b.addF(x, y); });
    b.chunks(experts, [&](Value column, int64_t lanes) {
      Value value = b.load(b.vecF32(lanes), element(scores, column));
      b.store(b.divF(value, b.splat(sum, lanes)), element(scores, column));
    });
  }

  LogicalResult addBias() {
    FailureOr<Rows> bias = op.getBias() ? context.operands.rows(op.getBias()) : FailureOr<Rows>(Rows());
    if (failed(bias))
      return unsupportedOperand(op);
    b.chunks(experts, [&](Value column, int64_t lanes) {
      Value value = b.load(b.vecF32(lanes), element(scores, column));
      if (op.getBias())
        value = b.addF(value, bias->load(b, bias->row(b, b.cst(0)), column, lanes));
      b.store(value, element(biased, column));
    });
    return success();
  }

  /// The two largest biased scores of each group, one pass.
  void scoreGroups() {
    int64_t size = experts / groups;
    b.loop(b.cst(0), b.cst(groups), 1, [&](Value group) {
      Value first = b.mul(group, size), lowest = b.cstF32(kMinusInfinity);
      SmallVector<Value> top = b.loop(first, b.add(first, size), 1, {lowest, lowest}, [&](Value expert, ValueRange best) {
        Value value = loadF32(biased, expert);
        Value beatsFirst = b.compareF(arith::CmpFPredicate::OGT, value, best[0]);
        Value runnerUp = b.select(beatsFirst, best[0], b.maxF(value, best[1]));
        return SmallVector<Value>{b.select(beatsFirst, value, best[0]), runnerUp};
      });
      bool sums = op.getGroupScore() == deepseek::GroupScore::Top2Sum;
      b.store(sums ? b.addF(top[0], top[1]) : top[0], element(groupScores, group));
      b.store(b.cst32(0), element(groupTaken, group));
    });
  }

  /// The index of the largest of `count` scores that are not NaN; the lowest index where equal.
  Value argmax(Value list, int64_t count) {
    return b.loop(b.cst(1), b.cst(count), 1, {b.cst(0), loadF32(list, b.cst(0))}, [&](Value index, ValueRange best) {
      Value value = loadF32(list, index);
      Value isBetter = b.compareF(arith::CmpFPredicate::OGT, value, best[1]);
      return SmallVector<Value>{b.select(isBetter, index, best[0]), b.select(isBetter, value, best[1])};
    })[0];
  }

  void maskGroups() {
    b.loop(b.cst(0), b.cst(op.getLimitedGroups()), 1, [&](Value) {
      Value best = argmax(groupScores, groups);
      b.store(b.cstF32(kMinusInfinity), element(groupScores, best));
      b.store(b.cst32(1), element(groupTaken, best));
    });
    b.loop(b.cst(0), b.cst(experts), 1, [&](Value expert) {
      Value taken = b.loadIndex(element(groupTaken, b.div(expert, experts / groups)));
      b.ifThen(b.compare(arith::CmpIPredicate::eq, taken, 0),
               [&] { b.store(b.cstF32(kMinusInfinity), element(biased, expert)); });
    });
  }

  void takeExperts(Value ids, Value weights) {
    Value topK = b.cst(op.getTopK());
    Value sum = b.loop(b.cst(0), topK, 1, {b.cstF32(0.0f)}, [&](Value index, ValueRange carried) {
      Value best = argmax(biased, experts), score = loadF32(scores, best);
      b.store(arith::TruncIOp::create(b.builder, b.loc, b.i32(), best), element(ids, index));
      b.store(score, element(weights, index));
      b.store(b.cstF32(kMinusInfinity), element(biased, best));
      return SmallVector<Value>{b.addF(carried[0], score)};
    })[0];
    // 1e-20 as in the models' own code: sigmoid scores can underflow together.
    Value scale = b.cstF32(static_cast<float>(op.getRouteScale().convertToDouble()));
    if (op.getNormalize())
      scale = b.divF(scale, b.addF(sum, b.cstF32(1e-20f)));
    b.loop(b.cst(0), topK, 1, [&](Value index) {
      b.store(b.mulF(loadF32(weights, index), scale), element(weights, index));
    });
  }
};

} // namespace

LogicalResult quant::host::emitMoeGate(KernelContext &context, deepseek::MoeGateOp op, Value token) {
  HostBuilder &b = context.b;
  FailureOr<Rows> logits = context.operands.rows(op.getLogits());
  if (failed(logits))
    return unsupportedOperand(op);
  Rows ids = context.operands.resultRows(0), weights = context.operands.resultRows(1);
  return GateEmitter(context, op, *logits).emit(logits->row(b, token), ids.row(b, token), weights.row(b, token));
}

/// A counting sort by one thread: a few thousand pairs at most.
LogicalResult quant::host::emitMoeDispatch(KernelContext &context, deepseek::MoeDispatchOp op, Value) {
  HostBuilder &b = context.b;
  int64_t topK = cast<RankedTensorType>(op.getIds().getType()).getDimSize(1);
  int64_t experts = cast<RankedTensorType>(op.getOffsets().getType()).getDimSize(0) - 1;
  Value ids = context.operands.address(op.getIds()), offsets = context.operands.resultAddress(0),
        rows = context.operands.resultAddress(1), next = context.allocate(experts * 4);
  Value pairs = b.mul(context.operands.tokens(), topK);
  auto at = [&](Value list, Value index) { return b.at(list, index, 4); };
  auto loadWord = [&](Value list, Value index) { return b.load(b.i32(), at(list, index)); };
  b.loop(b.cst(0), b.cst(experts), 1, [&](Value expert) { b.store(b.cst32(0), at(next, expert)); });
  b.loop(b.cst(0), pairs, 1, [&](Value pair) {
    Value expert = b.loadIndex(at(ids, pair));
    b.store(b.add(loadWord(next, expert), b.cst32(1)), at(next, expert));
  });
  b.store(b.cst32(0), offsets);
  b.loop(b.cst(0), b.cst(experts), 1, [&](Value expert) {
    Value first = loadWord(offsets, expert);
    b.store(b.add(first, loadWord(next, expert)), at(offsets, b.add(expert, 1)));
    b.store(first, at(next, expert));
  });
  b.loop(b.cst(0), pairs, 1, [&](Value pair) {
    Value expert = b.loadIndex(at(ids, pair));
    Value place = loadWord(next, expert);
    b.store(arith::TruncIOp::create(b.builder, b.loc, b.i32(), pair),
            at(rows, arith::ExtSIOp::create(b.builder, b.loc, b.i64(), place)));
    b.store(b.add(place, b.cst32(1)), at(next, expert));
  });
  return success();
}

LogicalResult quant::host::emitMoeCombine(KernelContext &context, deepseek::MoeCombineOp op, Value token) {
  HostBuilder &b = context.b;
  FailureOr<Rows> x = context.operands.rows(op.getX());
  if (failed(x))
    return unsupportedOperand(op);
  Rows out = context.operands.resultRows(0);
  int64_t topK = cast<RankedTensorType>(op.getIds().getType()).getDimSize(1);
  Value ids = context.operands.address(op.getIds()), weights = context.operands.address(op.getWeights()),
        offsets = context.operands.address(op.getOffsets()), rows = context.operands.address(op.getRows());
  Value places = context.allocate(topK * 4), first = b.mul(token, topK), target = out.row(b, token);
  b.loop(b.cst(0), b.cst(topK), 1, [&](Value j) {
    Value pair = b.add(first, j), expert = b.at(offsets, b.loadIndex(b.at(ids, pair, 4)), 4);
    b.loop(b.loadIndex(expert), b.loadIndex(b.at(expert, 1, 4)), 1, [&](Value place) {
      Value isPair = b.compare(arith::CmpIPredicate::eq, b.loadIndex(b.at(rows, place, 4)), pair);
      b.ifThen(isPair, [&] { b.store(arith::TruncIOp::create(b.builder, b.loc, b.i32(), place), b.at(places, j, 4)); });
    });
  });
  b.chunks(out.columns, [&](Value column, int64_t lanes) {
    SmallVector<Value> sum = b.loop(b.cst(0), b.cst(topK), 1, {b.splatF32(lanes, 0.0f)}, [&](Value j, ValueRange carried) {
      Value weight = b.load(b.f32(), b.at(weights, b.add(first, j), 4));
      Value values = x->load(b, x->row(b, b.loadIndex(b.at(places, j, 4))), column, lanes);
      return SmallVector<Value>{b.fma(b.splat(weight, lanes), values, carried[0])};
    });
    b.store(sum[0], b.at(target, column, 4));
  });
  return success();
}
