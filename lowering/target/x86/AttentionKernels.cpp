//===- AttentionKernels.cpp - attention over the latent cache -------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "dialects/deepseek/RowPrograms.h"
#include "lowering/target/x86/RowMapping.h"

#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace quant;
using namespace quant::host;

namespace {

/// One head of one token: scores in blocks of 16 positions with a running maximum, as in FlashAttention (arXiv:2205.14135).
class AttentionEmitter {
public:
  /// `queryPe` is the address of the head's query after rope.
  AttentionEmitter(KernelContext &context, deepseek::MlaCoreOp op, const Rows &cache, Value queryPe)
      : b(context.b), op(op), cache(cache), latent(cache.columns - op.getRopeDim()), queryPe(queryPe),
        scores(context.allocate(kLanes * 4)) {}

  void emit(Value query, Value positions, Value target) {
    b.chunks(latent, [&](Value column, int64_t lanes) { b.store(b.splatF32(lanes, 0.0f), b.at(target, column, 4)); });
    Value lowest = b.number(-std::numeric_limits<float>::infinity());
    SmallVector<Value> state = b.loop(b.size(0), positions, kLanes, {lowest, b.number(0.0f)}, [&](Value first, ValueRange carried) {
      Value count = b.min(b.sub(positions, first), kLanes);
      return block(query, first, count, carried[0], carried[1], target);
    });
    Value inverse = b.div(b.number(1.0f), state[1]);
    b.chunks(latent, [&](Value column, int64_t lanes) {
      Value address = b.at(target, column, 4);
      b.store(b.mul(b.load(b.vecF32(lanes), address), b.splat(inverse, lanes)), address);
    });
  }

private:
  HostBuilder &b;
  deepseek::MlaCoreOp op;
  const Rows &cache;
  int64_t latent;
  Value queryPe, scores;

  Value dot(Value left, Value right, int64_t count) {
    return b.reduceChunks(
        count, b.number(0.0f),
        [&](Value column, int64_t lanes, Value acc) {
          Value x = b.load(b.vecF32(lanes), b.at(left, column, 4)), y = b.load(b.vecF32(lanes), b.at(right, column, 4));
          return b.fma(x, y, acc);
        },
        [&](Value vector) { return b.sumLanes(vector); }, [&](Value x, Value y) { return b.add(x, y); });
  }

  /// Folds `count` positions from `first` on into the result; returns the new maximum and the new sum of weights.
  SmallVector<Value> block(Value query, Value first, Value count, Value maximum, Value sum, Value target) {
    Value scale = b.number(static_cast<float>(op.getSoftmaxScale().convertToDouble()));
    b.store(b.splatF32(kLanes, -std::numeric_limits<float>::infinity()), scores);
    b.loop(b.size(0), count, 1, [&](Value index) {
      Value row = b.rowAddress(cache, b.add(first, index));
      Value score = b.add(dot(query, row, latent), dot(queryPe, b.at(row, latent, 4), op.getRopeDim()));
      b.store(b.mul(score, scale), b.at(scores, index, 4));
    });
    Value all = b.load(b.vecF32(), scores);
    Value newMaximum = b.max(maximum, b.maxLanes(all));
    Value weights = b.exp(b.sub(all, b.splat(newMaximum, kLanes)));
    // exp by polynomial does not promise 0 at -inf: lanes without a position must weigh nothing.
    Value lanes = vector::StepOp::create(b, b.vec(kLanes, b.getIndexType()));
    Value lanes64 = arith::IndexCastOp::create(b, b.vec(kLanes, b.i64()), lanes);
    Value present = b.compare(arith::CmpIPredicate::slt, lanes64, b.splat(count, kLanes));
    weights = b.select(present, weights, b.splatF32(kLanes, 0.0f));
    Value isFirst = b.compare(arith::CmpIPredicate::eq, first, 0);
    Value correction = b.select(isFirst, b.number(0.0f), b.exp(b.sub(maximum, newMaximum)));
    b.store(weights, scores);
    accumulate(first, count, correction, target);
    return {newMaximum, b.fma(sum, correction, b.sumLanes(weights))};
  }

  void accumulate(Value first, Value count, Value correction, Value target) {
    b.chunks(latent, [&](Value column, int64_t lanes) {
      Value address = b.at(target, column, 4);
      Value start = b.mul(b.load(b.vecF32(lanes), address), b.splat(correction, lanes));
      SmallVector<Value> acc = b.loop(b.size(0), count, 1, {start}, [&](Value index, ValueRange carried) {
        Value weight = b.splat(b.load(b.f32(), b.at(scores, index, 4)), lanes);
        Value latents = b.loadColumns(cache, b.rowAddress(cache, b.add(first, index)), column, lanes);
        return SmallVector<Value>{b.fma(weight, latents, carried[0])};
      });
      b.store(acc[0], address);
    });
  }
};

} // namespace

LogicalResult quant::host::emitMlaCore(KernelContext &context, deepseek::MlaCoreOp op, Value tokenAndHead) {
  HostBuilder &b = context.b;
  Result<Rows> queryLatent = context.operands.rows(op.getQLatent()), q = context.operands.rows(op.getQ()),
                  rope = context.operands.rows(op.getRope()), cache = context.operands.rows(op.getCache());
  if (!queryLatent || !q || !rope || !cache)
    return unsupportedOperand(op);
  Rows out = context.operands.resultRows(0);
  int64_t heads = op.getHeads(), nope = op.getNopeDim(), ropeDim = op.getRopeDim(), latent = cache->columns - ropeDim;
  Value token = b.div(tokenAndHead, heads), head = b.rem(tokenAndHead, heads);
  Value query = b.at(b.rowAddress(*queryLatent, token), b.mul(head, latent), 4);
  Value queryRope = b.at(b.rowAddress(*q, token), b.add(b.mul(head, nope + ropeDim), nope), 4);
  Value positions = b.add(b.add(context.operands.position(), token), 1);
  HostRows words(context, token);
  Rows queryPe = words.scratch(ropeDim);
  deepseek::rotateRow(words, rows::listAt(queryRope, q->element, ropeDim), *rope, op.getInterleaved(), queryPe);
  AttentionEmitter(context, op, *cache, queryPe.base)
      .emit(query, positions, b.at(b.rowAddress(out, token), b.mul(head, latent), 4));
  return success();
}
