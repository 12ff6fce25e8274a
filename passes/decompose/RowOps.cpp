//===- RowOps.cpp - what embedding, norm, activation mean -------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "passes/decompose/Definition.h"

#include "mlir/Dialect/Math/IR/Math.h"

using namespace mlir;
using namespace quant;
using namespace quant::deepseek;

/// y, and y quantized where the op has that result.
template <typename Op>
static SmallVector<Value> withQuantized(Definition &d, Op op, Value y) {
  SmallVector<Value> results = {y};
  if (op.getQuantized())
    results.push_back(d.create<qblock::QuantizeOp>(op.getQuantized().getType(), y, op.getAmaxFloorAttr(), op.getPowerOfTwoAttr()));
  else if (op->getNumResults() > 1)
    results.push_back(Value());
  return results;
}

static SmallVector<Value> defineEmbed(Definition &d, EmbedOp op) {
  return {d.generate(op.getType(), d.dim(op.getIds(), 0),
                     [&](ValueRange i) { return d.at(op.getTable(), {d.indexAt(op.getIds(), i[0]), i[1]}); })};
}

static SmallVector<Value> defineRmsNorm(Definition &d, RmsNormOp op) {
  Value x = op.getX(), rows = d.dim(x, 0), columns = d.dim(x, 1);
  Value inverse = d.generate({ShapedType::kDynamic}, rows, [&](ValueRange t) -> Value {
    Value squares = d.sum(columns, [&](Value i) {
      Value value = d.at(x, {t[0], i});
      return d.mulF(value, value);
    });
    Value width = d.f32(cast<ShapedType>(x.getType()).getDimSize(1));
    Value mean = d.addF(d.divF(squares, width), d.f32(op.getEps().convertToDouble()));
    return d.divF(d.f32(1), d.create<math::SqrtOp>(mean));
  });
  Value y = d.generate(op.getResult().getType(), rows, [&](ValueRange i) {
    return d.mulF(d.at(op.getGamma(), i[1]), d.mulF(d.at(x, i), d.at(inverse, i[0])));
  });
  return withQuantized(d, op, y);
}

static SmallVector<Value> defineSwiglu(Definition &d, SwigluOp op) {
  Value y = d.generate(op.getResult().getType(), d.dim(op.getGate(), 0), [&](ValueRange i) {
    Value gate = d.at(op.getGate(), i), one = d.f32(1);
    Value silu = d.divF(gate, d.addF(one, d.exp(d.subF(d.f32(0), gate))));
    return d.mulF(silu, d.at(op.getUp(), i));
  });
  return withQuantized(d, op, y);
}

static SmallVector<Value> defineLastTokens(Definition &d, LastTokensOp op) {
  Value first = d.sub(d.dim(op.getX(), 0), op.getOutputs());
  return {d.generate(op.getType(), op.getOutputs(), [&](ValueRange i) { return d.at(op.getX(), {d.add(first, i[0]), i[1]}); })};
}

void quant::addRowDefinitions(RewritePatternSet &patterns) {
  MLIRContext *context = patterns.getContext();
  patterns.add<DefinePattern<EmbedOp>>(context, defineEmbed);
  patterns.add<DefinePattern<RmsNormOp>>(context, defineRmsNorm);
  patterns.add<DefinePattern<SwigluOp>>(context, defineSwiglu);
  patterns.add<DefinePattern<LastTokensOp>>(context, defineLastTokens);
}
