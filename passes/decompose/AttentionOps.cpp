//===- AttentionOps.cpp - what latent attention means ------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "dialects/deepseek/RowPrograms.h"
#include "passes/decompose/Definition.h"

#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"

using namespace mlir;
using namespace quant;
using namespace quant::deepseek;

/// kv_b as a floating-point tensor.
static Value dequantized(Definition &d, Value weight) {
  auto type = dyn_cast<qblock::BlockTensorType>(weight.getType());
  if (!type)
    return weight;
  return qblock::DequantizeOp::create(d, RankedTensorType::get(type.getShape(), d.getF32Type()), weight);
}

/// Element i of a vector after rope by a row of the table, whose first half are cosines. The pairs are (2j, 2j + 1) where
/// `interleaved`, else (j, j + R/2).
static Value rotated(Definition &d, Value table, Value row, int64_t size, bool interleaved, Value i,
                     function_ref<Value(Value)> x) {
  int64_t half = size / 2;
  Value pair = interleaved ? d.div(i, 2) : d.rem(i, half);
  Value isFirst = interleaved ? d.equal(d.rem(i, 2), d.size(0)) : d.less(i, d.size(half));
  Value distance = d.size(interleaved ? 1 : half);
  Value other = x(d.select(isFirst, d.add(i, distance), d.sub(i, distance)));
  Value cosine = d.at(table, {row, pair}), sine = d.at(table, {row, d.add(pair, d.size(half))});
  Value straight = d.mul(x(i), cosine), crossed = d.mul(other, sine);
  return d.select(isFirst, d.sub(straight, crossed), d.add(straight, crossed));
}

/// Element `r` of a head's query behind rope.
static Value rotatedQuery(Definition &d, Value q, Value table, Value t, Value head, int64_t nope, int64_t rope, bool interleaved,
                          Value r) {
  auto part = [&](Value column) { return d.at(q, {t, d.add(d.add(d.mul(head, nope + rope), d.size(nope)), column)}); };
  return rotated(d, table, t, rope, interleaved, r, part);
}

static SmallVector<Value> defineMlaAbsorb(Definition &d, MlaAbsorbOp op) {
  int64_t latent = qblock::getMatrixShape(op.getKvB().getType())[1], nope = op.getNopeDim(), rope = op.getRopeDim();
  int64_t columns = latent + (op.getRope() ? rope : 0);
  Value kvB = dequantized(d, op.getKvB());
  return {d.generate(op.getType(), d.dim(op.getQ(), 0), [&](ValueRange i) {
    Value head = d.div(i[1], columns), c = d.rem(i[1], columns);
    // Behind the latents, where that column is not taken, any will do.
    Value inLatent = op.getRope() ? d.min(c, latent - 1) : c;
    Value absorbed = d.sum(d.size(nope), [&](Value n) {
      Value query = d.at(op.getQ(), {i[0], d.add(d.mul(head, nope + rope), n)});
      return d.mul(query, d.at(kvB, {d.add(d.mul(head, nope + op.getVDim()), n), inLatent}));
    });
    if (!op.getRope())
      return absorbed;
    Value r = d.select(d.less(c, latent), d.size(0), d.sub(c, d.size(latent)));
    Value turned = rotatedQuery(d, op.getQ(), op.getRope(), i[0], head, nope, rope, op.getInterleaved(), r);
    return d.select(d.less(c, latent), absorbed, turned);
  })};
}

/// Softmax over the last dimension of scores [T, H, S].
static Value softmax(Definition &d, Value scores, ValueRange sizes, int64_t heads) {
  Value positions = sizes[1];
  Value largest = d.generate({ShapedType::kDynamic, heads}, sizes[0], [&](ValueRange i) {
    return d.max(positions, [&](Value s) { return d.at(scores, {i[0], i[1], s}); });
  });
  Value exponentials = d.generate({ShapedType::kDynamic, heads, ShapedType::kDynamic}, sizes,
                                  [&](ValueRange i) { return d.exp(d.sub(d.at(scores, i), d.at(largest, {i[0], i[1]}))); });
  Value total = d.generate({ShapedType::kDynamic, heads}, sizes[0], [&](ValueRange i) {
    return d.sum(positions, [&](Value s) { return d.at(exponentials, {i[0], i[1], s}); });
  });
  return d.generate({ShapedType::kDynamic, heads, ShapedType::kDynamic}, sizes,
                    [&](ValueRange i) { return d.div(d.at(exponentials, i), d.at(total, {i[0], i[1]})); });
}

/// Softmax of `product(token, head, row of the cache)` over the token's keys, times their latents. Tokens are those of `queries`.
template <typename Op>
static SmallVector<Value> attention(Definition &d, Op op, Value queries, Value cache, int64_t latent,
                                    function_ref<Value(Value t, Value head, Value row)> product) {
  int64_t heads = op.getHeads();
  Value tokens = d.dim(queries, 0);
  int64_t firstPosition = 0;
  if constexpr (requires { op.getFirstPosition(); })
    firstPosition = op.getFirstPosition();
  auto positionOf = [&](Value t) { return d.indexAt(op.getPositions(), {t}); };
  // Past the token's own position, its own row stands in.
  auto rowOf = [&](Value t, Value s) {
    Value position = arith::MinSIOp::create(d, s, positionOf(t)), sequence = d.indexAt(op.getSequences(), {t});
    Value page = d.indexAt(op.getPages(), {sequence, d.div(position, kPageRows)});
    return d.add(d.mul(page, kPageRows), d.rem(position, kPageRows));
  };
  Value positions = d.add(d.maxIndex(tokens, positionOf), d.size(1));
  Value scores = d.generate({ShapedType::kDynamic, heads, ShapedType::kDynamic}, {tokens, positions}, [&](ValueRange i) {
    Value t = i[0], s = i[2], never = d.number(-std::numeric_limits<double>::infinity());
    Value score = d.mul(product(t, i[1], rowOf(t, s)), d.number(op.getSoftmaxScale().convertToDouble()));
    Value isPast = d.less(s, d.add(positionOf(t), d.size(1)));
    score = d.select(isPast, score, never);
    if (firstPosition)
      return d.select(d.less(s, d.size(firstPosition)), never, score);
    return score;
  });
  Value weights = softmax(d, scores, {tokens, positions}, heads);
  return {d.generate(op.getType(), tokens, [&](ValueRange i) {
    Value head = d.div(i[1], latent), c = d.rem(i[1], latent);
    return d.sum(positions, [&](Value s) { return d.mul(d.at(weights, {i[0], head, s}), d.at(cache, {rowOf(i[0], s), c})); });
  })};
}

static SmallVector<Value> defineMlaCore(Definition &d, MlaCoreOp op) {
  int64_t heads = op.getHeads(), rope = op.getRopeDim();
  int64_t latent = cast<ShapedType>(op.getQLatent().getType()).getDimSize(1) / heads;
  Value cache = op.getCache();
  if (std::optional<CacheFormat> format = op.getCacheFormat())
    cache = unpackCache(d, cache, *format, latent, rope, memref::DimOp::create(d, cache, 0));
  return attention(d, op, op.getQ(), cache, latent, [&](Value t, Value head, Value row) {
    Value byLatent = d.sum(d.size(latent), [&](Value c) {
      return d.mul(d.at(op.getQLatent(), {t, d.add(d.mul(head, latent), c)}), d.at(cache, {row, c}));
    });
    Value byRope = d.sum(d.size(rope), [&](Value r) {
      Value turned = rotatedQuery(d, op.getQ(), op.getRope(), t, head, op.getNopeDim(), rope, op.getInterleaved(), r);
      return d.mul(turned, d.at(cache, {row, d.add(d.size(latent), r)}));
    });
    return d.add(byLatent, byRope);
  });
}

static SmallVector<Value> defineMlaDecode(Definition &d, MlaDecodeOp op) {
  int64_t columns = op.getCache().getType().getDimSize(1), latent = columns - static_cast<int64_t>(op.getRopeDim());
  return attention(d, op, op.getQueries(), op.getCache(), latent, [&](Value t, Value head, Value row) {
    return d.sum(d.size(columns), [&](Value c) {
      return d.mul(d.at(op.getQueries(), {t, d.add(d.mul(head, columns), c)}), d.at(op.getCache(), {row, c}));
    });
  });
}

static SmallVector<Value> defineMlaExpand(Definition &d, MlaExpandOp op) {
  int64_t latent = qblock::getMatrixShape(op.getKvB().getType())[1], nope = op.getNopeDim(), vDim = op.getVDim();
  Value kvB = dequantized(d, op.getKvB());
  return {d.generate(op.getType(), d.dim(op.getX(), 0), [&](ValueRange i) {
    Value head = d.div(i[1], vDim), v = d.rem(i[1], vDim);
    Value row = d.add(d.mul(head, nope + vDim), d.add(d.size(nope), v));
    return d.sum(d.size(latent),
                 [&](Value c) { return d.mul(d.at(op.getX(), {i[0], d.add(d.mul(head, latent), c)}), d.at(kvB, {row, c})); });
  })};
}

void quant::addAttentionDefinitions(RewritePatternSet &patterns) {
  MLIRContext *context = patterns.getContext();
  patterns.add<DefinePattern<MlaAbsorbOp>>(context, defineMlaAbsorb);
  patterns.add<DefinePattern<MlaCoreOp>>(context, defineMlaCore);
  patterns.add<DefinePattern<MlaDecodeOp>>(context, defineMlaDecode);
  patterns.add<DefinePattern<MlaExpandOp>>(context, defineMlaExpand);
}
