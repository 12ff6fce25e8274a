//===- AttentionOps.cpp - what rope and latent attention mean ---------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

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
  return d.create<qblock::DequantizeOp>(RankedTensorType::get(type.getShape(), d.getF32Type()), weight);
}

/// Element i of a vector after rope by a row of the table, whose first half are cosines. The pairs are (2j, 2j + 1) where
/// `interleaved`, else (j, j + R/2).
static Value rotated(Definition &d, Value table, Value row, int64_t size, bool interleaved, Value i, function_ref<Value(Value)> x) {
  int64_t half = size / 2;
  Value pair = interleaved ? d.div(i, 2) : d.rem(i, half);
  Value isFirst = interleaved ? d.equal(d.rem(i, 2), d.index(0)) : d.less(i, d.index(half));
  Value distance = d.index(interleaved ? 1 : half);
  Value other = x(d.select(isFirst, d.add(i, distance), d.sub(i, distance)));
  Value cosine = d.at(table, {row, pair}), sine = d.at(table, {row, d.add(pair, d.index(half))});
  Value straight = d.mulF(x(i), cosine), crossed = d.mulF(other, sine);
  return d.select(isFirst, d.subF(straight, crossed), d.addF(straight, crossed));
}

static SmallVector<Value> defineRopeTable(Definition &d, RopeTableOp op) {
  ArrayRef<double> frequencies = op.getInvFreq();
  int64_t half = frequencies.size();
  auto type = RankedTensorType::get({half}, d.getF64Type());
  Value frequency = d.create<arith::ConstantOp>(DenseElementsAttr::get(type, frequencies));
  Value factor = d.create<arith::ConstantOp>(d.getF64FloatAttr(op.getFactor().convertToDouble()));
  // In f64: positions go to 163840, and an f32 angle of that size has lost the turn's third decimal.
  return {d.generate(op.getType(), d.dim(op.getIds(), 0), [&](ValueRange i) -> Value {
    Value position = d.create<arith::IndexCastOp>(d.getI64Type(), d.add(op.getPosition(), i[0]));
    Value angle = d.mulF(d.create<arith::SIToFPOp>(d.getF64Type(), position),
                         d.create<tensor::ExtractOp>(frequency, d.rem(i[1], half)));
    Value turn = d.select(d.less(i[1], d.index(half)), d.create<math::CosOp>(angle), d.create<math::SinOp>(angle));
    return d.create<arith::TruncFOp>(d.getF32Type(), d.mulF(factor, turn));
  })};
}

static SmallVector<Value> defineLatentAppend(Definition &d, LatentAppendOp op) {
  int64_t latent = cast<ShapedType>(op.getGamma().getType()).getDimSize(0);
  int64_t rope = cast<ShapedType>(op.getRope().getType()).getDimSize(1);
  Type element = op.getCache().getType().getElementType();
  Value kv = op.getKvA(), count = d.index(latent);
  auto store = [&](Value value, Value t, Value column) {
    if (value.getType() != element)
      value = d.create<arith::TruncFOp>(element, value);
    d.create<memref::StoreOp>(value, op.getCache(), ValueRange{d.add(op.getPosition(), t), column});
  };
  d.forEach(d.dim(kv, 0), [&](Value t) {
    Value squares = d.sum(count, [&](Value c) { return d.mulF(d.at(kv, {t, c}), d.at(kv, {t, c})); });
    Value mean = d.addF(d.divF(squares, d.f32(latent)), d.f32(op.getEps().convertToDouble()));
    Value root = d.create<math::SqrtOp>(mean);
    d.forEach(count, [&](Value c) { store(d.mulF(d.at(op.getGamma(), c), d.divF(d.at(kv, {t, c}), root)), t, c); });
    d.forEach(d.index(rope), [&](Value i) {
      auto key = [&](Value column) { return d.at(kv, {t, d.add(count, column)}); };
      store(rotated(d, op.getRope(), t, rope, op.getInterleaved(), i, key), t, d.add(count, i));
    });
  });
  return {};
}

static SmallVector<Value> defineMlaAbsorb(Definition &d, MlaAbsorbOp op) {
  int64_t latent = qblock::getMatrixShape(op.getKvB().getType())[1], nope = op.getNopeDim();
  Value kvB = dequantized(d, op.getKvB());
  return {d.generate(op.getType(), d.dim(op.getQ(), 0), [&](ValueRange i) {
    Value head = d.div(i[1], latent), c = d.rem(i[1], latent);
    return d.sum(d.index(nope), [&](Value n) {
      Value query = d.at(op.getQ(), {i[0], d.add(d.mul(head, nope + op.getRopeDim()), n)});
      return d.mulF(query, d.at(kvB, {d.add(d.mul(head, nope + op.getVDim()), n), c}));
    });
  })};
}

/// Softmax over the last dimension of scores [T, H, S].
static Value softmax(Definition &d, Value scores, ValueRange sizes, int64_t heads) {
  Value positions = sizes[1];
  Value largest = d.generate({ShapedType::kDynamic, heads}, sizes[0], [&](ValueRange i) {
    return d.max(positions, [&](Value s) { return d.at(scores, {i[0], i[1], s}); });
  });
  Value exponentials = d.generate({ShapedType::kDynamic, heads, ShapedType::kDynamic}, sizes,
                                  [&](ValueRange i) { return d.exp(d.subF(d.at(scores, i), d.at(largest, {i[0], i[1]}))); });
  Value total = d.generate({ShapedType::kDynamic, heads}, sizes[0], [&](ValueRange i) {
    return d.sum(positions, [&](Value s) { return d.at(exponentials, {i[0], i[1], s}); });
  });
  return d.generate({ShapedType::kDynamic, heads, ShapedType::kDynamic}, sizes,
                    [&](ValueRange i) { return d.divF(d.at(exponentials, i), d.at(total, {i[0], i[1]})); });
}

static SmallVector<Value> defineMlaCore(Definition &d, MlaCoreOp op) {
  int64_t heads = op.getHeads(), rope = op.getRopeDim(), query = op.getNopeDim() + rope;
  int64_t latent = cast<ShapedType>(op.getQLatent().getType()).getDimSize(1) / heads;
  Value cache = op.getCache(), tokens = d.dim(op.getQ(), 0), positions = d.add(op.getPosition(), tokens);
  Value scores = d.generate({ShapedType::kDynamic, heads, ShapedType::kDynamic}, {tokens, positions}, [&](ValueRange i) {
    Value t = i[0], head = i[1], s = i[2];
    Value byLatent = d.sum(d.index(latent), [&](Value c) {
      return d.mulF(d.at(op.getQLatent(), {t, d.add(d.mul(head, latent), c)}), d.at(cache, {s, c}));
    });
    Value byRope = d.sum(d.index(rope), [&](Value r) {
      auto part = [&](Value column) { return d.at(op.getQ(), {t, d.add(d.add(d.mul(head, query), d.index(op.getNopeDim())), column)}); };
      Value turned = rotated(d, op.getRope(), t, rope, op.getInterleaved(), r, part);
      return d.mulF(turned, d.at(cache, {s, d.add(d.index(latent), r)}));
    });
    Value score = d.mulF(d.addF(byLatent, byRope), d.f32(op.getSoftmaxScale().convertToDouble()));
    Value isPast = d.less(s, d.add(d.add(op.getPosition(), t), d.index(1)));
    return d.select(isPast, score, d.f32(-std::numeric_limits<double>::infinity()));
  });
  Value weights = softmax(d, scores, {tokens, positions}, heads);
  return {d.generate(op.getType(), tokens, [&](ValueRange i) {
    Value head = d.div(i[1], latent), c = d.rem(i[1], latent);
    return d.sum(positions, [&](Value s) { return d.mulF(d.at(weights, {i[0], head, s}), d.at(cache, {s, c})); });
  })};
}

static SmallVector<Value> defineMlaExpand(Definition &d, MlaExpandOp op) {
  int64_t latent = qblock::getMatrixShape(op.getKvB().getType())[1], nope = op.getNopeDim(), vDim = op.getVDim();
  Value kvB = dequantized(d, op.getKvB());
  return {d.generate(op.getType(), d.dim(op.getX(), 0), [&](ValueRange i) {
    Value head = d.div(i[1], vDim), v = d.rem(i[1], vDim);
    Value row = d.add(d.mul(head, nope + vDim), d.add(d.index(nope), v));
    return d.sum(d.index(latent), [&](Value c) {
      return d.mulF(d.at(op.getX(), {i[0], d.add(d.mul(head, latent), c)}), d.at(kvB, {row, c}));
    });
  })};
}

void quant::addAttentionDefinitions(RewritePatternSet &patterns) {
  MLIRContext *context = patterns.getContext();
  patterns.add<DefinePattern<RopeTableOp>>(context, defineRopeTable);
  patterns.add<DefinePattern<LatentAppendOp>>(context, defineLatentAppend);
  patterns.add<DefinePattern<MlaAbsorbOp>>(context, defineMlaAbsorb);
  patterns.add<DefinePattern<MlaCoreOp>>(context, defineMlaCore);
  patterns.add<DefinePattern<MlaExpandOp>>(context, defineMlaExpand);
}
