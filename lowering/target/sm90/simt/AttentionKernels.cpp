//===- AttentionKernels.cpp - attention over the latent cache ----------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "dialects/deepseek/LatentCache.h"
#include "dialects/deepseek/RowPrograms.h"
#include "lowering/target/sm90/simt/RowMapping.h"
#include "lowering/target/sm90/simt/SimtKernels.h"
#include "lowering/target/sm90/simt/SimtWeight.h"

#include <fmt/core.h>
#include <limits>

using namespace mlir;

namespace quant::nvvm {

using rows::Rows;

Result<void> emitMlaAbsorb(SimtContext &context, deepseek::MlaAbsorbOp op) {
  SimtBuilder &b = context.b;
  QUANT_TRY_ASSIGN(Rows q, context.operands.rows(op.getQ()));
  QUANT_TRY_ASSIGN(SimtWeight weight, SimtWeight::of(context.operands, op.getKvB()));
  if (weight.parts.size() != 1)
    return fail("mla_absorb takes one tensor for kv_b");
  const WeightPart &part = weight.parts[0];
  Rows out = context.operands.resultRows(0);
  int64_t heads = op.getHeads(), nope = op.getNopeDim(), rope = op.getRopeDim();
  Value token = b.div(b.block, heads), head = b.rem(b.block, heads);
  Value query = b.at(b.rowAddress(q, token), q.element, b.mul(head, nope + rope));
  Value firstRow = b.mul(head, nope + op.getVDim());
  Value target = b.at(b.rowAddress(out, token), out.element, b.mul(head, out.columns / heads));
  if (op.getRope()) {
    QUANT_TRY_ASSIGN(Rows table, context.operands.rows(op.getRope()));
    BlockRows words(b, &context.operands, token);
    deepseek::rotateRow(words, rows::listAt(b.at(query, q.element, nope), q.element, rope), table, op.getInterleaved(),
                        rows::listAt(b.at(target, out.element, weight.columns), out.element, rope));
  }
  // A thread takes four columns of the latent space and all of the head's key rows.
  b.forGroups(weight.columns, {}, [&](Value, Value first, ValueRange) {
    rows::Column column = b.quadAt(first, weight.columns);
    Value sums = b.loop(b.int32(0), b.int32(nope), 1, b.number(0.0, kQuad), [&](Value d, ValueRange sum) {
      Value row = b.add(firstRow, d), value = b.loadNumber(q.element, b.at(query, q.element, d));
      if (Value scale = weight.scaleAt(b, part, row, first))
        value = b.mul(value, scale);
      return SmallVector<Value>{
          b.fma(b.spread(value, kQuad), weight.loadColumns(b, part, row, weight.rowAddress(b, part, row), column), sum[0])};
    })[0];
    b.storeColumns(out, target, column, sums);
    return SmallVector<Value>();
  });
  return {};
}

//===----------------------------------------------------------------------===//
// Attention
//===----------------------------------------------------------------------===//

namespace {

/// One head of one token: scores in blocks of 32 positions with a running maximum, as in FlashAttention (arXiv:2205.14135). A
/// warp takes a position's score, a thread four columns of the result.
class AttentionEmitter {
public:
  /// `positions` of the token's sequence are attended to; `queryRope` is the address of the head's query after rope, in shared
  /// memory.
  AttentionEmitter(SimtBuilder &b, BlockRows &words, deepseek::MlaCoreOp op, const deepseek::LatentCache &cache,
                   const Rows &pages, rows::Num sequence, Value positions, Value queryRope)
      : b(b), words(words), op(op), cache(cache), pages(pages), sequence(sequence), positions(positions), latent(cache.latent),
        queryRope(queryRope), scores(b.allocateShared(kPositions * 4)) {}

  void emit(const Rows &query, Value queryRow, const Rows &out, Value target) {
    queryLatent = loadQuery(query, queryRow, latent);
    queryRopes = loadQuery(rows::listAt(queryRope, b.f32(), op.getRopeDim()), queryRope, op.getRopeDim());
    SmallVector<Value> state = {b.number(-std::numeric_limits<float>::infinity()), b.number(0.0)};
    state.append(sharesOfThread(), b.number(0.0, kQuad));
    state = b.loop(b.int32(0), positions, kPositions, state,
                   [&](Value first, ValueRange carried) { return emitBlock(first, carried); });
    Value inverse = b.spread(b.div(b.number(1.0), state[1]), kQuad);
    for (int64_t share = 0; share < sharesOfThread(); ++share)
      b.storeColumns(out, target, columnOfShare(share), b.mul(state[2 + share], inverse));
  }

private:
  static constexpr int64_t kPositions = kWarpLanes;
  static_assert(deepseek::kPageRows % kPositions == 0, "a block of positions lies in one page");

  SimtBuilder &b;
  BlockRows &words;
  deepseek::MlaCoreOp op;
  const deepseek::LatentCache &cache;
  const Rows &pages;
  rows::Num sequence;
  Value positions;
  int64_t latent;
  Value queryRope, scores;
  /// The lane's share of the query, four columns of each 128: latent, then rope.
  SmallVector<Value> queryLatent, queryRopes;

  /// Of the result, a thread has four columns of each 4 * threads. What lies beyond the last is not stored.
  int64_t columnsOfShare() const { return b.threads * kQuad; }
  int64_t sharesOfThread() const { return llvm::divideCeil(latent, columnsOfShare()); }
  rows::Column columnOfShare(int64_t share) {
    Value first = b.add(b.mul(b.thread, kQuad), share * columnsOfShare());
    return {{b, first}, kQuad, latent, latent % columnsOfShare() != 0};
  }

  rows::Column columnOf(int64_t group, int64_t count) {
    return b.quadAt(b.add(b.mul(b.lane, kQuad), group * kWarpColumns), count);
  }

  SmallVector<Value> loadQuery(const Rows &query, Value row, int64_t columns) {
    SmallVector<Value> quads;
    for (int64_t group = 0; group < static_cast<int64_t>(llvm::divideCeil(columns, kWarpColumns)); ++group)
      quads.push_back(b.loadColumns(query, row, columnOf(group, columns)));
    return quads;
  }

  Value loadLatent(Value row, const rows::Column &column) { return cache.load(words, {b, row}, column).value; }

  /// The query's product with the latent and the rope key in a row of the cache: the lane's share.
  Value product(Value row) {
    Value sum = b.number(0.0), rope = b.rowAddress(cache.ropes, row);
    for (auto [group, quad] : llvm::enumerate(queryLatent))
      sum = b.dot(loadLatent(row, columnOf(group, latent)), quad, sum);
    for (auto [group, quad] : llvm::enumerate(queryRopes))
      sum = b.dot(b.loadColumns(cache.ropes, rope, columnOf(group, cache.ropes.columns)), quad, sum);
    return sum;
  }

  /// Scores of a block of positions, `count` of which there are, to shared memory; -inf for the others. Their rows begin at
  /// `firstRow`.
  void scoreBlock(Value firstRow, Value count) {
    b.loop(b.warp, b.int32(kPositions), b.warps(), [&](Value index) {
      Value row = b.add(firstRow, b.min(index, b.sub(count, b.int32(1))));
      Value score = b.mul(b.sumWarp(product(row)), b.number(op.getSoftmaxScale().convertToDouble()));
      score = b.select(b.less(index, count), score, b.number(-std::numeric_limits<float>::infinity()));
      b.ifThen(b.equal(b.lane, b.int32(0)), [&] { b.store(score, b.at(scores, b.getF32Type(), index)); });
    });
  }

  /// Folds 32 positions into maximum, sum of weights and result. Each warp has all weights, a lane each.
  SmallVector<Value> emitBlock(Value first, ValueRange carried) {
    // Its rows follow each other: a page holds whole blocks.
    Value start = first, most = b.int32(kPositions);
    if (int64_t skipped = op.getFirstPosition()) {
      start = b.max(first, b.int32(skipped));
      most = b.sub(b.add(first, most), start);
    }
    Value firstRow = deepseek::cacheRow(words, pages, sequence, {b, start}).value;
    Value count = b.min(b.sub(positions, start), most);
    scoreBlock(firstRow, count);
    b.syncBlock();
    Value score = b.load(b.f32(), b.at(scores, b.getF32Type(), b.lane));
    // All have read before the next block's scores come.
    b.syncBlock();
    Value maximum = b.max(carried[0], b.maxWarp(score));
    Value weight = b.exp(b.sub(score, maximum));
    weight = b.select(b.less(b.lane, count), weight, b.number(0.0));
    Value correction = b.exp(b.sub(carried[0], maximum));
    SmallVector<Value> state = {maximum, b.fma(carried[1], correction, b.sumWarp(weight))};
    SmallVector<Value> sums;
    for (Value value : carried.drop_front(2))
      sums.push_back(b.mul(value, b.spread(correction, kQuad)));
    state.append(accumulate(firstRow, count, weight, sums));
    return state;
  }

  SmallVector<Value> accumulate(Value firstRow, Value count, Value weight, ArrayRef<Value> sums) {
    return b.loop(b.int32(0), count, 1, sums, [&](Value index, ValueRange carried) {
      Value factor = b.spread(b.shuffleFrom(weight, index), kQuad), row = b.add(firstRow, index);
      SmallVector<Value> next;
      for (auto [share, sum] : llvm::enumerate(carried))
        next.push_back(b.fma(factor, loadLatent(row, columnOfShare(share)), sum));
      return next;
    });
  }
};

} // namespace

Result<void> emitMlaCore(SimtContext &context, deepseek::MlaCoreOp op) {
  SimtBuilder &b = context.b;
  QUANT_TRY_ASSIGN(Rows queryLatent, context.operands.rows(op.getQLatent()));
  QUANT_TRY_ASSIGN(Rows q, context.operands.rows(op.getQ()));
  QUANT_TRY_ASSIGN(Rows rope, context.operands.rows(op.getRope()));
  QUANT_TRY_ASSIGN(Rows cache, context.operands.rows(op.getCache()));
  QUANT_TRY_ASSIGN(Rows tokenPositions, context.operands.rows(op.getPositions()));
  QUANT_TRY_ASSIGN(Rows sequences, context.operands.rows(op.getSequences()));
  QUANT_TRY_ASSIGN(Rows pages, context.operands.rows(op.getPages()));
  int64_t heads = op.getHeads(), nope = op.getNopeDim(), ropeDim = op.getRopeDim(), latent = queryLatent.columns / heads;
  // A lane holds its share of the query in registers.
  constexpr int64_t kMaxLatent = 1024, kMaxRope = 256;
  if (latent > kMaxLatent || ropeDim > kMaxRope)
    return fail(fmt::format("mla_core takes latents of at most {} and rope of at most {} columns", kMaxLatent, kMaxRope));
  Rows out = context.operands.resultRows(0);
  Value token = b.div(b.block, heads), head = b.rem(b.block, heads);
  Value query = b.at(b.rowAddress(queryLatent, token), queryLatent.element, b.mul(head, latent));
  Value queryRope = b.at(b.rowAddress(q, token), q.element, b.add(b.mul(head, nope + ropeDim), nope));
  BlockRows words(b, &context.operands, token);
  Value positions = (words.at(tokenPositions, words.row()) + 1).value;
  rows::Num sequence = words.at(sequences, words.row());
  Rows rotated = words.scratch(ropeDim);
  deepseek::rotateRow(words, rows::listAt(queryRope, q.element, ropeDim), rope, op.getInterleaved(), rotated);
  b.syncBlock();
  deepseek::LatentCache latents(cache, op.getCacheFormat(), latent, ropeDim);
  AttentionEmitter(b, words, op, latents, pages, sequence, positions, rotated.base)
      .emit(queryLatent, query, out, b.at(b.rowAddress(out, token), out.element, b.mul(head, latent)));
  return {};
}

} // namespace quant::nvvm
