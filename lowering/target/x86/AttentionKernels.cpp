//===- AttentionKernels.cpp - rope, latent cache, attention ---------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "lowering/target/x86/Kernels.h"

#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

#include <cmath>
#include <numbers>

using namespace mlir;
using namespace quant;
using namespace quant::host;

//===----------------------------------------------------------------------===//
// Cosines and sines
//===----------------------------------------------------------------------===//

/// sum of coefficients[i] * square^i, for a Taylor series in r^2.
static Value horner(HostBuilder &b, Value square, ArrayRef<double> coefficients, VectorType type) {
  auto constant = [&](double value) {
    return arith::ConstantOp::create(b.builder, b.loc, DenseElementsAttr::get(type, value)).getResult();
  };
  Value result = constant(coefficients.back());
  for (double coefficient : llvm::reverse(coefficients.drop_back()))
    result = b.fma(result, square, constant(coefficient));
  return result;
}

/// 1 / n! with alternating signs for n = first, first + 2, ...; 12 terms leave 1e-12 at pi.
static SmallVector<double> alternatingFactorials(int first) {
  SmallVector<double> result;
  double factorial = 1.0, sign = 1.0;
  int n = 1;
  for (int term = 0; term < 13; ++term, sign = -sign) {
    for (; n <= first + 2 * term; ++n)
      factorial *= n;
    result.push_back(sign / factorial);
  }
  return result;
}

LogicalResult quant::host::emitRopeTable(KernelContext &context, deepseek::RopeTableOp op, Value token) {
  HostBuilder &b = context.b;
  Rows out = context.operands.resultRows(0);
  ArrayRef<double> frequencies = op.getInvFreq();
  double factor = op.getFactor().convertToDouble();
  Value position = arith::SIToFPOp::create(b.builder, b.loc, b.builder.getF64Type(), b.add(context.operands.position(), token));
  Value target = out.row(b, token);
  constexpr int64_t kDoubles = 8;
  for (int64_t first = 0, count = frequencies.size(); first < count; first += kDoubles) {
    int64_t lanes = std::min(kDoubles, count - first);
    VectorType type = b.vec(lanes, b.builder.getF64Type());
    auto constant = [&](double value) {
      return arith::ConstantOp::create(b.builder, b.loc, DenseElementsAttr::get(type, value)).getResult();
    };
    Value frequency = arith::ConstantOp::create(b.builder, b.loc, DenseElementsAttr::get(type, frequencies.slice(first, lanes)));
    Value angle = b.mulF(b.splat(position, lanes), frequency);
    // To [-pi, pi]: in f64 a position of 2^20 loses nothing that f32 could show.
    Value turns = math::RoundEvenOp::create(b.builder, b.loc, b.mulF(angle, constant(0.5 / std::numbers::pi)));
    Value reduced = b.fma(turns, constant(-2.0 * std::numbers::pi), angle);
    Value square = b.mulF(reduced, reduced);
    Value cosine = horner(b, square, alternatingFactorials(0), type);
    Value sine = b.mulF(reduced, horner(b, square, alternatingFactorials(1), type));
    auto storeAt = [&](Value value, int64_t column) {
      Value scaled = b.mulF(value, constant(factor));
      b.store(arith::TruncFOp::create(b.builder, b.loc, b.vecF32(lanes), scaled), b.at(target, column, 4));
    };
    storeAt(cosine, first);
    storeAt(sine, count + first);
  }
  return success();
}

/// Rotates the `dim` values at `source` by one row of the rope table.
static void emitRope(HostBuilder &b, Value source, Value table, int64_t dim, bool interleaved, Value target) {
  int64_t half = dim / 2;
  b.loop(b.cst(0), b.cst(half), 1, [&](Value index) {
    Value first = interleaved ? b.mul(index, 2) : index, second = b.add(first, interleaved ? 1 : half);
    Value x = b.load(b.f32(), b.at(source, first, 4)), y = b.load(b.f32(), b.at(source, second, 4));
    Value cosine = b.load(b.f32(), b.at(table, index, 4)), sine = b.load(b.f32(), b.at(table, b.add(index, half), 4));
    b.store(b.subF(b.mulF(x, cosine), b.mulF(y, sine)), b.at(target, first, 4));
    b.store(b.addF(b.mulF(x, sine), b.mulF(y, cosine)), b.at(target, second, 4));
  });
}

//===----------------------------------------------------------------------===//
// Latent cache and attention
//===----------------------------------------------------------------------===//

LogicalResult quant::host::emitLatentAppend(KernelContext &context, deepseek::LatentAppendOp op, Value token) {
  HostBuilder &b = context.b;
  FailureOr<Rows> kvA = context.operands.rows(op.getKvA()), gamma = context.operands.rows(op.getGamma()),
                  rope = context.operands.rows(op.getRope()), cache = context.operands.rows(op.getCache());
  if (failed(kvA) || failed(gamma) || failed(rope) || failed(cache))
    return unsupportedOperand(op);
  int64_t latent = gamma->columns;
  Value source = kvA->row(b, token), target = cache->row(b, b.add(context.operands.position(), token));
  emitNormRow(b, *kvA, source, *gamma, latent, op.getEps().convertToDouble(), target);
  emitRope(b, b.at(source, latent, 4), rope->row(b, token), rope->columns, op.getInterleaved(), b.at(target, latent, 4));
  return success();
}

namespace {

/// One head of one token: scores in blocks of 16 positions with a running maximum, as in FlashAttention (arXiv:2205.14135).
class AttentionEmitter {
public:
  AttentionEmitter(KernelContext &context, deepseek::MlaCoreOp op, const Rows &cache)
      : b(context.b), op(op), cache(cache), latent(cache.columns - op.getRopeDim()),
        scores(context.allocate(kLanes * 4)), queryPe(context.allocate(op.getRopeDim() * 4)) {}

  void emit(Value query, Value queryRope, Value table, Value positions, Value target) {
    emitRope(b, queryRope, table, op.getRopeDim(), op.getInterleaved(), queryPe);
    b.chunks(latent, [&](Value column, int64_t lanes) { b.store(b.splatF32(lanes, 0.0f), b.at(target, column, 4)); });
    Value lowest = b.cstF32(-std::numeric_limits<float>::infinity());
    SmallVector<Value> state = b.loop(b.cst(0), positions, kLanes, {lowest, b.cstF32(0.0f)}, [&](Value first, ValueRange carried) {
      Value count = b.min(b.sub(positions, first), kLanes);
      return block(query, first, count, carried[0], carried[1], target);
    });
    Value inverse = b.divF(b.cstF32(1.0f), state[1]);
    b.chunks(latent, [&](Value column, int64_t lanes) {
      Value address = b.at(target, column, 4);
      b.store(b.mulF(b.load(b.vecF32(lanes), address), b.splat(inverse, lanes)), address);
    });
  }

private:
  HostBuilder &b;
  deepseek::MlaCoreOp op;
  const Rows &cache;
  int64_t latent;
  Value scores, queryPe;

  Value dot(Value left, Value right, int64_t count) {
    return b.reduceChunks(
        count, b.cstF32(0.0f),
        [&](Value column, int64_t lanes, Value acc) {
          Value x = b.load(b.vecF32(lanes), b.at(left, column, 4)), y = b.load(b.vecF32(lanes), b.at(right, column, 4));
          return b.fma(x, y, acc);
        },
        [&](Value vector) { return b.sumLanes(vector); }, [&](Value x, Value y) { return b.addF(x, y); });
  }

  /// Folds `count` positions from `first` on into the result; returns the new maximum and the new sum of weights.
  SmallVector<Value> block(Value query, Value first, Value count, Value maximum, Value sum, Value target) {
    Value scale = b.cstF32(static_cast<float>(op.getSoftmaxScale().convertToDouble()));
    b.store(b.splatF32(kLanes, -std::numeric_limits<float>::infinity()), scores);
    b.loop(b.cst(0), count, 1, [&](Value index) {
      Value row = cache.row(b, b.add(first, index));
      Value score = b.addF(dot(query, row, latent), dot(queryPe, b.at(row, latent, 4), op.getRopeDim()));
      b.store(b.mulF(score, scale), b.at(scores, index, 4));
    });
    Value all = b.load(b.vecF32(), scores);
    Value newMaximum = b.maxF(maximum, b.maxLanes(all));
    Value weights = b.exp(b.subF(all, b.splat(newMaximum, kLanes)));
    // exp by polynomial does not promise 0 at -inf: lanes without a position must weigh nothing.
    Value lanes = vector::StepOp::create(b.builder, b.loc, b.vec(kLanes, b.builder.getIndexType()));
    Value lanes64 = arith::IndexCastOp::create(b.builder, b.loc, b.vec(kLanes, b.i64()), lanes);
    Value present = b.compare(arith::CmpIPredicate::slt, lanes64, b.splat(count, kLanes));
    weights = b.select(present, weights, b.splatF32(kLanes, 0.0f));
    Value isFirst = b.compare(arith::CmpIPredicate::eq, first, 0);
    Value correction = b.select(isFirst, b.cstF32(0.0f), b.exp(b.subF(maximum, newMaximum)));
    b.store(weights, scores);
    accumulate(first, count, correction, target);
    return {newMaximum, b.fma(sum, correction, b.sumLanes(weights))};
  }

  void accumulate(Value first, Value count, Value correction, Value target) {
    b.chunks(latent, [&](Value column, int64_t lanes) {
      Value address = b.at(target, column, 4);
      Value start = b.mulF(b.load(b.vecF32(lanes), address), b.splat(correction, lanes));
      SmallVector<Value> acc = b.loop(b.cst(0), count, 1, {start}, [&](Value index, ValueRange carried) {
        Value weight = b.splat(b.load(b.f32(), b.at(scores, index, 4)), lanes);
        Value latents = cache.load(b, cache.row(b, b.add(first, index)), column, lanes);
        return SmallVector<Value>{b.fma(weight, latents, carried[0])};
      });
      b.store(acc[0], address);
    });
  }
};

} // namespace

LogicalResult quant::host::emitMlaCore(KernelContext &context, deepseek::MlaCoreOp op, Value tokenAndHead) {
  HostBuilder &b = context.b;
  FailureOr<Rows> queryLatent = context.operands.rows(op.getQLatent()), q = context.operands.rows(op.getQ()),
                  rope = context.operands.rows(op.getRope()), cache = context.operands.rows(op.getCache());
  if (failed(queryLatent) || failed(q) || failed(rope) || failed(cache))
    return unsupportedOperand(op);
  Rows out = context.operands.resultRows(0);
  int64_t heads = op.getHeads(), nope = op.getNopeDim(), ropeDim = op.getRopeDim(), latent = cache->columns - ropeDim;
  Value token = b.div(tokenAndHead, heads), head = b.rem(tokenAndHead, heads);
  Value query = b.at(queryLatent->row(b, token), b.mul(head, latent), 4);
  Value queryRope = b.at(q->row(b, token), b.add(b.mul(head, nope + ropeDim), nope), 4);
  Value positions = b.add(b.add(context.operands.position(), token), 1);
  AttentionEmitter(context, op, *cache)
      .emit(query, queryRope, rope->row(b, token), positions, b.at(out.row(b, token), b.mul(head, latent), 4));
  return success();
}
