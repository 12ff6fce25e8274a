//===- AttentionKernels.cpp - attention over the latent cache -------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// All heads read the same rows of the cache. Heads of one token are computed together, 16 positions at a time: the scores in
// register tiles of heads x positions, a running maximum (FlashAttention, arXiv:2205.14135), the sums of latents in tiles of
// heads x columns. Rows of another type than f32, or of no whole vectors, are decoded once for all of these heads.
//
//===----------------------------------------------------------------------===//

#include "dialects/deepseek/LatentCache.h"
#include "dialects/deepseek/RowPrograms.h"
#include "lowering/target/x86/RegisterTile.h"
#include "lowering/target/x86/RowMapping.h"

#include <limits>
#include <numeric>

using namespace mlir;
using namespace quant;
using namespace quant::host;
using rows::Column, rows::Num;

namespace {

/// Positions at a time, and heads whose queries and results a thread keeps.
constexpr int64_t kPositions = kLanes, kHeads = 16;
static_assert(deepseek::kPageRows % kPositions == 0, "positions that are computed together lie in one page");

/// What the op computes with.
struct Attention {
  Rows queryLatent, query, rope, cache, positions, sequences, pages, result;
  int64_t heads, nope, ropeDim, latent;
};

/// Some heads of one token.
class AttentionEmitter {
public:
  AttentionEmitter(KernelContext &context, deepseek::MlaCoreOp op, const Attention &attention)
      : context(context), b(context.b), op(op), attention(attention),
        width(llvm::alignTo(attention.latent + attention.ropeDim, kLanes)), padded(llvm::alignTo(attention.latent, kLanes)),
        shape(tileShape(context.b.target)) {
    queries = context.allocate(kHeads * width * 4);
    results = context.allocate(kHeads * padded * 4);
    scores = context.allocate(kHeads * kPositions * 4);
    states = context.allocate(kHeads * sizeof(float) * 3);
    isDirect = attention.cache.element.isF32() && attention.latent + attention.ropeDim == width && padded <= width;
    if (!isDirect)
      decoded = context.allocate(kPositions * width * 4);
    shape.rows = std::gcd(attention.heads, shape.rows);
  }

  void emit(Value token, Value firstHead, Value count) {
    HostRows words(context, token);
    b.loop(b.size(0), count, 1, [&](Value head) { prepare(words, head, b.add(firstHead, head)); });
    Num sequence = words.at(attention.sequences, words.row());
    Value positions = (words.at(attention.positions, words.row()) + 1).value;
    b.loop(b.size(0), positions, kPositions, [&](Value first) {
      Value start = first, most = b.size(kPositions);
      if (int64_t skipped = op.getFirstPosition()) {
        start = b.max(first, b.size(skipped));
        most = b.sub(b.add(first, kPositions), start);
      }
      Value each = b.min(b.sub(positions, start), most);
      Keys keys = keysOf(words, deepseek::cacheRow(words, attention.pages, sequence, {b, start}).value, each);
      b.loop(b.size(0), count, shape.rows, [&](Value head) {
        multiplyKeys(keys, each, head);
        for (int64_t row = 0; row < shape.rows; ++row)
          foldScores(each, b.add(head, row), first);
        addLatents(keys, each, head);
      });
    });
    b.loop(b.size(0), count, 1, [&](Value head) { finish(token, head, b.add(firstHead, head)); });
  }

private:
  KernelContext &context;
  HostBuilder &b;
  deepseek::MlaCoreOp op;
  const Attention &attention;
  /// Columns of a query and a key, and of a result, in whole vectors.
  int64_t width, padded;
  TileShape shape;
  bool isDirect;
  /// Of each head: [latent, rope] of the query, sums of latents, scores or weights of the positions, the state.
  Value queries, results, scores, states;
  /// Keys as f32, where the cache does not hold them so.
  Value decoded;

  /// Rows [latent, rope] of f32.
  struct Keys {
    Value base;
    int64_t stride;
  };

  //===--- State of a head: the maximum, the sum of weights, the correction of what was summed before ---===//
  Value stateOf(Value head, int64_t member) { return b.at(states, b.add(b.mul(head, 3), member), 4); }
  Value maximum(Value head) { return stateOf(head, 0); }
  Value weightSum(Value head) { return stateOf(head, 1); }
  Value correction(Value head) { return stateOf(head, 2); }
  Value queryOf(Value head) { return b.at(queries, head, width * 4); }
  Value resultOf(Value head) { return b.at(results, head, padded * 4); }
  Value scoresOf(Value head) { return b.at(scores, head, kPositions * 4); }

  Rows ofHead(const Rows &rows, Value token, Value first, int64_t columns) {
    return rows::listAt(b.at(b.rowAddress(rows, token), rows.element, first), rows.element, columns);
  }

  void prepare(HostRows &words, Value head, Value number) {
    const Rows &queryLatent = attention.queryLatent, &query = attention.query, &rope = attention.rope;
    int64_t nope = attention.nope, ropeDim = attention.ropeDim, latent = attention.latent;
    Value token = words.row().value, zero = b.splatF32(kLanes, 0.0f), target = queryOf(head);
    b.store(zero, b.at(target, width - kLanes, 4));
    Rows from = ofHead(queryLatent, token, b.mul(number, latent), latent);
    Rows latents = rows::scratchAt(target, b.f32(), latent), ropes = rows::scratchAt(b.at(target, latent, 4), b.f32(), ropeDim);
    words.forColumns(latent, [&](Column column) { words.store(latents, column, words.load(from, column)); });
    Value first = b.add(b.mul(number, nope + ropeDim), nope);
    deepseek::rotateRow(words, ofHead(query, token, first, ropeDim), rope, op.getInterleaved(), ropes);
    b.loop(b.size(0), b.size(padded), kLanes, [&](Value column) { b.store(zero, b.at(resultOf(head), column, 4)); });
    b.store(b.number(-std::numeric_limits<double>::infinity()), maximum(head));
    b.store(b.number(0.0), weightSum(head));
  }

  /// The keys of `count` rows of the cache from `first` on, which lie in one page.
  Keys keysOf(HostRows &words, Value first, Value count) {
    if (isDirect)
      return {b.rowAddress(attention.cache, first), attention.cache.stride * 4};
    deepseek::LatentCache cache(attention.cache, op.getCacheFormat(), attention.latent, attention.ropeDim);
    b.loop(b.size(0), count, 1, [&](Value index) {
      Num row{b, b.add(first, index)};
      Value target = b.at(decoded, index, width * 4);
      b.store(b.splatF32(kLanes, 0.0f), b.at(target, width - kLanes, 4));
      Rows latents = rows::scratchAt(target, b.f32(), attention.latent);
      Rows ropes = rows::scratchAt(b.at(target, attention.latent, 4), b.f32(), attention.ropeDim), from = cache.ropes.ofRow(row);
      words.forColumns(attention.latent, [&](Column column) { words.store(latents, column, cache.load(words, row, column)); });
      words.forColumns(attention.ropeDim, [&](Column column) { words.store(ropes, column, words.load(from, column)); });
    });
    return {decoded, width * 4};
  }

  /// The products of a tile's queries with the keys; past the last key, the last stands in.
  void multiplyKeys(const Keys &keys, Value count, Value head) {
    int64_t rows = shape.rows, columns = shape.vectors;
    b.loop(b.size(0), count, columns, [&](Value position) {
      SmallVector<Value> from, acc(rows * columns, b.splatF32(kLanes, 0.0f));
      for (int64_t p = 0; p < columns; ++p)
        from.push_back(b.at(keys.base, b.min(b.add(position, p), b.sub(count, 1)), keys.stride));
      acc = b.loop(b.size(0), b.size(width), kLanes, acc, [&](Value column, ValueRange carried) {
        SmallVector<Value> loaded, result;
        for (Value key : from)
          loaded.push_back(b.load(b.vecF32(), b.at(key, column, 4)));
        for (int64_t row = 0; row < rows; ++row) {
          Value query = b.load(b.vecF32(), b.at(b.at(queryOf(head), row * width, 4), column, 4));
          for (int64_t p = 0; p < columns; ++p)
            result.push_back(b.fma(query, loaded[p], carried[row * columns + p]));
        }
        return result;
      });
      for (int64_t row = 0; row < rows; ++row)
        for (int64_t p = 0; p < columns; ++p)
          b.store(b.sumLanes(acc[row * columns + p]), b.at(b.at(scoresOf(head), row * kPositions + p, 4), position, 4));
    });
  }

  /// Scores become weights, and what was summed before them is to be corrected.
  void foldScores(Value count, Value head, Value first) {
    Value here = b.firstLanes(count);
    Value scaled = b.mul(b.load(b.vecF32(), scoresOf(head)), b.splatF32(kLanes, op.getSoftmaxScale().convertToDouble()));
    Value all = b.select(here, scaled, b.splatF32(kLanes, -std::numeric_limits<double>::infinity()));
    Value before = b.load(b.f32(), maximum(head)), now = b.max(before, b.maxLanes(all));
    // exp by polynomial does not promise 0 at -inf: lanes without a position must weigh nothing.
    Value weights = b.select(here, b.exp(b.sub(all, b.splat(now, kLanes))), b.splatF32(kLanes, 0.0f));
    Value factor = b.select(b.equal(first, 0), b.number(0.0), b.exp(b.sub(before, now)));
    b.store(weights, scoresOf(head));
    b.store(now, maximum(head));
    b.store(factor, correction(head));
    b.store(b.fma(b.load(b.f32(), weightSum(head)), factor, b.sumLanes(weights)), weightSum(head));
  }

  void addLatents(const Keys &keys, Value count, Value head) {
    forVectorTiles(b, shape, attention.latent, [&](Value column, TileShape tile) {
      SmallVector<Value> sums, addresses;
      for (int64_t row = 0; row < tile.rows; ++row) {
        Value factor = b.splat(b.load(b.f32(), correction(b.add(head, row))), kLanes);
        for (int64_t v = 0; v < tile.vectors; ++v) {
          addresses.push_back(b.at(b.at(resultOf(head), column, 4), row * padded + v * kLanes, 4));
          sums.push_back(b.mul(b.load(b.vecF32(), addresses.back()), factor));
        }
      }
      Value weights = scoresOf(head), latents = b.at(keys.base, column, 4);
      auto factor = [&](int64_t row, Value k) { return b.load(b.f32(), b.at(b.at(weights, row * kPositions, 4), k, 4)); };
      auto vector = [&](Value k, int64_t v) { return b.load(b.vecF32(), b.at(b.at(latents, k, keys.stride), v * kLanes, 4)); };
      sums = OuterProduct{tile, factor, vector}.sum(b, count, sums);
      for (auto [sum, address] : llvm::zip_equal(sums, addresses))
        b.store(sum, address);
    });
  }

  void finish(Value token, Value head, Value number) {
    Rows target = ofHead(attention.result, token, b.mul(number, attention.latent), attention.latent);
    Value inverse = b.div(b.number(1.0), b.load(b.f32(), weightSum(head)));
    b.chunks(attention.latent, [&](Value column, int64_t lanes) {
      Value sums = b.load(b.vecF32(lanes), b.at(resultOf(head), column, 4));
      b.storeLanes(target.element, b.at(target.base, column, bytesOf(target.element)), b.mul(sums, b.splat(inverse, lanes)));
    });
  }
};

} // namespace

int64_t quant::host::headsOfBlock(deepseek::MlaCoreOp op) { return std::gcd<int64_t>(op.getHeads(), 4); }

int64_t quant::host::blocksOfStep(deepseek::MlaCoreOp op) { return kHeads / headsOfBlock(op); }

LogicalResult quant::host::emitMlaCore(KernelContext &context, deepseek::MlaCoreOp op, Value block) {
  Result<Rows> queryLatent = context.operands.rows(op.getQLatent()), q = context.operands.rows(op.getQ()),
               rope = context.operands.rows(op.getRope()), cache = context.operands.rows(op.getCache()),
               positions = context.operands.rows(op.getPositions()), sequences = context.operands.rows(op.getSequences()),
               pages = context.operands.rows(op.getPages());
  if (!queryLatent || !q || !rope || !cache || !positions || !sequences || !pages)
    return unsupportedOperand(op);
  HostBuilder &b = context.b;
  int64_t heads = op.getHeads(), group = headsOfBlock(op), perToken = heads / group;
  Attention attention{*queryLatent,
                      *q,
                      *rope,
                      *cache,
                      *positions,
                      *sequences,
                      *pages,
                      context.operands.resultRows(0),
                      heads,
                      static_cast<int64_t>(op.getNopeDim()),
                      static_cast<int64_t>(op.getRopeDim()),
                      queryLatent->columns / heads};
  AttentionEmitter emitter(context, op, attention);
  // A step's blocks may be of several tokens.
  Value end = context.endBlock, last = b.add(b.div(b.sub(end, 1), perToken), 1);
  b.loop(b.div(block, perToken), last, 1, [&](Value token) {
    Value firstBlock = b.mul(token, perToken), first = b.max(b.sub(block, firstBlock), b.size(0));
    Value groups = b.sub(b.min(b.sub(end, firstBlock), b.size(perToken)), first);
    emitter.emit(token, b.mul(first, group), b.mul(groups, group));
  });
  return success();
}
