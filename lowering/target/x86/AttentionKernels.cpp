//===- AttentionKernels.cpp - attention over the latent cache -------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "dialects/deepseek/LatentCache.h"
#include "dialects/deepseek/RowPrograms.h"
#include "lowering/target/x86/RowMapping.h"

#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace quant;
using namespace quant::host;
using rows::Column, rows::Num;

namespace {

/// One head of one token: scores in blocks of 16 positions with a running maximum, as in FlashAttention (arXiv:2205.14135).
class AttentionEmitter {
public:
  /// `query` and `queryRope` (after rope) are the head's, `result` its latents.
  AttentionEmitter(KernelContext &context, HostRows &words, const deepseek::LatentCache &cache, const Rows &query,
                   const Rows &queryRope, const Rows &result)
      : b(context.b), words(words), cache(cache), query(query), queryRope(queryRope), result(result),
        scores(words.scratch(kLanes)) {}

  void emit(Num positions, double scale) {
    forResult([&](Column column) { return words.constant(0.0, column); });
    SmallVector<Value> init = {words.constant(kMinusInfinity).value, words.constant(0.0).value};
    auto state = b.loop(b.size(0), positions.value, kLanes, init, [&](Value index, ValueRange carried) {
      Num first{b, index}, count{b, b.min((positions - first).value, kLanes)};
      return block(first, count, scale, {b, carried[0]}, {b, carried[1]});
    });
    Num inverse = 1.0 / Num(b, state[1]);
    forResult([&](Column column) { return words.load(result, column) * inverse; });
  }

private:
  static constexpr double kMinusInfinity = -std::numeric_limits<double>::infinity();

  HostBuilder &b;
  HostRows &words;
  const deepseek::LatentCache &cache;
  Rows query, queryRope, result, scores;

  void forResult(function_ref<Num(Column)> value) {
    words.forColumns(result.columns, [&](Column column) { words.store(result, column, value(column)); });
  }

  Num dot(const Rows &left, function_ref<Num(Column)> right) {
    return words.sum(left.columns, [&](Column column, Num sum) { return fma(words.load(left, column), right(column), sum); });
  }

  /// The query's product with the latent and the rope key of a position.
  Num product(const Num &row) {
    Rows rope = cache.ropes.ofRow(row);
    return dot(query, [&](Column column) { return cache.load(words, row, column); }) +
           dot(queryRope, [&](Column column) { return words.load(rope, column); });
  }

  /// Folds `count` positions from `first` on into the result; returns the new maximum and the new sum of weights.
  SmallVector<Value> block(const Num &first, const Num &count, double scale, const Num &maximum, const Num &sum) {
    Column lanes{words.size(0), kLanes, kLanes, false};
    words.store(scores, lanes, words.constant(kMinusInfinity));
    words.loop(words.size(0), count, [&](Num index) { words.put(scores, index, product(first + index) * scale); });
    Num all = words.load(scores, lanes), newMaximum = max(maximum, {{b, b.maxLanes(all.value)}});
    // exp by polynomial does not promise 0 at -inf: lanes without a position must weigh nothing.
    Value lane = vector::StepOp::create(b, b.vec(kLanes, b.getIndexType()));
    Num number{b, arith::IndexCastOp::create(b, b.vec(kLanes, b.i64()), lane)};
    Num weights = select(number < count, exp(all - newMaximum), 0.0);
    Num isFirst{b, b.equal(first.value, 0)}, correction = select(isFirst, words.constant(0.0), exp(maximum - newMaximum));
    words.store(scores, lanes, weights);
    forResult([&](Column column) {
      Num start = words.load(result, column) * correction;
      return words.loop(words.size(0), count, start, [&](Num index, ArrayRef<Num> carried) {
        return SmallVector<Num>{fma(cache.load(words, first + index, column), words.at(scores, index), carried[0])};
      })[0];
    });
    return {newMaximum.value, b.fma(sum.value, correction.value, b.sumLanes(weights.value))};
  }
};

} // namespace

LogicalResult quant::host::emitMlaCore(KernelContext &context, deepseek::MlaCoreOp op, Value tokenAndHead) {
  Result<Rows> queryLatent = context.operands.rows(op.getQLatent()), q = context.operands.rows(op.getQ()),
               rope = context.operands.rows(op.getRope()), cache = context.operands.rows(op.getCache());
  if (!queryLatent || !q || !rope || !cache)
    return unsupportedOperand(op);
  HostBuilder &b = context.b;
  int64_t heads = op.getHeads(), nope = op.getNopeDim(), ropeDim = op.getRopeDim(), latent = queryLatent->columns / heads;
  Value token = b.div(tokenAndHead, heads), head = b.rem(tokenAndHead, heads);
  auto ofHead = [&](const Rows &rows, Value first, int64_t columns) {
    return rows::listAt(b.at(b.rowAddress(rows, token), rows.element, first), rows.element, columns);
  };
  HostRows words(context, token);
  Rows queryRope = words.scratch(ropeDim);
  deepseek::rotateRow(words, ofHead(*q, b.add(b.mul(head, nope + ropeDim), nope), ropeDim), *rope, op.getInterleaved(),
                      queryRope);
  Value offset = b.mul(head, latent);
  deepseek::LatentCache latents(*cache, op.getCacheFormat(), latent, ropeDim);
  AttentionEmitter(context, words, latents, ofHead(*queryLatent, offset, latent), queryRope,
                   ofHead(context.operands.resultRows(0), offset, latent))
      .emit(words.position(op.getPosition()) + words.row() + 1, op.getSoftmaxScale().convertToDouble());
  return success();
}
