//===- AttentionKernels.cpp - rope, latent cache, attention ------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "lowering/target/sm90/simt/SimtKernels.h"

#include "mlir/Dialect/LLVMIR/LLVMDialect.h"

#include <limits>
#include <numbers>

using namespace mlir;

namespace quant::nvvm {

//===----------------------------------------------------------------------===//
// Cosines and sines
//===----------------------------------------------------------------------===//

/// sum of coefficients[i] * square^i in f64.
static Value horner(SimtBuilder &b, Value square, ArrayRef<double> coefficients) {
  auto constant = [&](double value) { return b.create<arith::ConstantOp>(b.getF64FloatAttr(value)); };
  Value result = constant(coefficients.back());
  for (double coefficient : llvm::reverse(coefficients.drop_back()))
    result = b.fma(result, square, constant(coefficient));
  return result;
}

/// 1 / n! with alternating signs for n = first, first + 2, ...: the Taylor series of cos (0) and sin (1) in r^2, to 1e-12 at pi.
static SmallVector<double> alternatingFactorials(int first) {
  constexpr int kTerms = 13;
  SmallVector<double> result;
  double term = 1.0;
  for (int index = 0, n = first; index < kTerms; ++index, n += 2) {
    result.push_back(term);
    term /= -static_cast<double>(n + 1) * (n + 2);
  }
  return result;
}

/// A table of f64 in global memory; returns its address.
static Value tableOf(SimtContext &context, ArrayRef<double> values) {
  SimtBuilder &b = context.b;
  std::string name = context.name + "_frequencies";
  {
    OpBuilder::InsertionGuard guard(b);
    b.setInsertionPointToStart(context.gpuModule.getBody());
    auto type = LLVM::LLVMArrayType::get(b.getF64Type(), values.size());
    auto attribute = DenseElementsAttr::get(RankedTensorType::get(values.size(), b.getF64Type()), values);
    b.create<LLVM::GlobalOp>(type, /*isConstant=*/true, LLVM::Linkage::Internal, name, attribute, /*alignment=*/8,
                             /*addrSpace=*/1);
  }
  return b.create<LLVM::AddressOfOp>(LLVM::LLVMPointerType::get(b.getContext(), 1), name);
}

Result<void> emitRopeTable(SimtContext &context, deepseek::RopeTableOp op) {
  SimtBuilder &b = context.b;
  auto f64 = [&](double value) { return b.create<arith::ConstantOp>(b.getF64FloatAttr(value)).getResult(); };
  int64_t count = op.getInvFreq().size();
  Rows out = context.operands.resultRows(0);
  Value frequencies = tableOf(context, op.getInvFreq()), target = out.row(b, b.block);
  Value position = b.create<arith::SIToFPOp>(b.getF64Type(), b.add(context.operands.position(), b.block));
  b.loop(b.thread, b.constI32(count), b.threads, [&](Value index) {
    Value frequency = b.create<LLVM::LoadOp>(b.getF64Type(), b.at(frequencies, b.getF64Type(), index), 8);
    Value angle = b.create<arith::MulFOp>(position, frequency);
    // To [-pi, pi]: in f64 a position of 2^20 loses nothing that f32 could show.
    Value turns = b.create<LLVM::RintOp>(b.create<arith::MulFOp>(angle, f64(0.5 / std::numbers::pi)));
    Value reduced = b.fma(turns, f64(-2.0 * std::numbers::pi), angle);
    Value square = b.create<arith::MulFOp>(reduced, reduced);
    Value cosine = horner(b, square, alternatingFactorials(0));
    Value sine = b.create<arith::MulFOp>(reduced, horner(b, square, alternatingFactorials(1)));
    auto storeAt = [&](Value value, Value column) {
      Value scaled = b.create<arith::MulFOp>(value, f64(op.getFactor().convertToDouble()));
      b.storeFloats(out.element, b.at(target, out.element, column),
                    b.create<arith::TruncFOp>(b.getF32Type(), scaled).getResult());
    };
    storeAt(cosine, index);
    storeAt(sine, b.add(index, count));
  });
  return {};
}

/// Rotates `dim` values by one row of the rope table, the threads of the block taking a pair each.
static void emitRope(SimtBuilder &b, Type sourceType, Value source, const Rows &table, Value tableRow, bool interleaved,
                     Value target) {
  int64_t half = table.columns / 2;
  Type f32 = b.getF32Type();
  b.loop(b.thread, b.constI32(half), b.threads, [&](Value index) {
    Value first = interleaved ? b.mul(index, 2) : index, second = b.add(first, interleaved ? 1 : half);
    Value x = b.loadFloat(sourceType, b.at(source, sourceType, first)),
          y = b.loadFloat(sourceType, b.at(source, sourceType, second));
    Value cosine = b.loadFloat(table.element, b.at(tableRow, table.element, index));
    Value sine = b.loadFloat(table.element, b.at(tableRow, table.element, b.add(index, half)));
    b.store(b.subF(b.mulF32(x, cosine), b.mulF32(y, sine)), b.at(target, f32, first));
    b.store(b.addF(b.mulF32(x, sine), b.mulF32(y, cosine)), b.at(target, f32, second));
  });
}

//===----------------------------------------------------------------------===//
// Latent cache
//===----------------------------------------------------------------------===//

Result<void> emitLatentAppend(SimtContext &context, deepseek::LatentAppendOp op) {
  SimtBuilder &b = context.b;
  Result<Rows> kvA = context.operands.rows(op.getKvA()), gamma = context.operands.rows(op.getGamma()),
               rope = context.operands.rows(op.getRope()), cache = context.operands.rows(op.getCache());
  for (const Result<Rows> *operand : {&kvA, &gamma, &rope, &cache})
    if (!*operand)
      return tl::unexpected(operand->error());
  if (!cache->element.isF32())
    return fail("the latent cache is f32");
  Rows latent = *kvA;
  latent.columns = gamma->columns;
  Rows target = *cache;
  target.columns = gamma->columns;
  Value source = kvA->row(b, b.block), weights = gamma->row(b, b.constI32(0));
  Value row = cache->row(b, b.add(context.operands.position(), b.block));
  Value scale = emitInverseNorm(b, latent, source, latent.columns, op.getEps().convertToDouble());
  b.forGroups(latent.columns, [&](Value, Value column) {
    Quad values = latent.load(b, source, column), factors = gamma->load(b, weights, column);
    for (auto [value, factor] : llvm::zip_equal(values, factors))
      value = b.mulF32(b.mulF32(value, scale), factor);
    target.store(b, row, column, values);
  });
  emitRope(b, kvA->element, b.at(source, kvA->element, latent.columns), *rope, rope->row(b, b.block), op.getInterleaved(),
           b.at(row, cache->element, latent.columns));
  return {};
}

Result<void> emitMlaAbsorb(SimtContext &context, deepseek::MlaAbsorbOp op) {
  SimtBuilder &b = context.b;
  Result<Rows> q = context.operands.rows(op.getQ());
  Result<Weight> weight = context.operands.weight(op.getKvB());
  if (!q || !weight)
    return tl::unexpected(q ? weight.error() : q.error());
  if (weight->parts.size() != 1)
    return fail("mla_absorb takes one tensor for kv_b");
  const WeightPart &part = weight->parts[0];
  Rows keys = weight->rowsOf(part), out = context.operands.resultRows(0);
  int64_t heads = op.getHeads(), nope = op.getNopeDim();
  Value token = b.divideBy(b.block, heads), head = b.remainder(b.block, heads);
  Value query = b.at(q->row(b, token), q->element, b.mul(head, nope + op.getRopeDim()));
  Value firstRow = b.mul(head, nope + op.getVDim());
  Rows ofHead = out;
  ofHead.columns = weight->columns;
  Value target = b.at(out.row(b, token), out.element, b.mul(head, weight->columns));
  // A thread takes four columns of the latent space and all of the head's key rows.
  b.forGroups(weight->columns, [&](Value, Value column) {
    SmallVector<Value> sums(kQuad, b.constF32(0.0));
    sums = b.loop(b.constI32(0), b.constI32(nope), 1, sums, [&](Value d, ValueRange carried) {
      Value row = b.add(firstRow, d), value = b.loadFloat(q->element, b.at(query, q->element, d));
      if (Value scale = weight->scaleAt(b, part, row, column))
        value = b.mulF32(value, scale);
      SmallVector<Value> next;
      for (auto [key, sum] : llvm::zip_equal(keys.load(b, keys.row(b, row), column), carried))
        next.push_back(b.fma(value, key, sum));
      return next;
    });
    ofHead.store(b, target, column, sums);
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
  AttentionEmitter(SimtBuilder &b, deepseek::MlaCoreOp op, const Rows &cache, Value positions)
      : b(b), op(op), cache(cache), positions(positions), latent(cache.columns - op.getRopeDim()),
        scores(b.allocateShared(kPositions * 4)), queryRope(b.allocateShared(op.getRopeDim() * 4)) {}

  void emit(const Rows &query, Value queryRow, const Rows &q, Value queryRopeRow, const Rows &table, Value tableRow,
            const Rows &out, Value target) {
    emitRope(b, q.element, queryRopeRow, table, tableRow, op.getInterleaved(), queryRope);
    b.syncBlock();
    loadQuery(query, queryRow);
    int64_t own = columnsOfThread();
    SmallVector<Value> state = {b.constF32(-std::numeric_limits<float>::infinity()), b.constF32(0.0)};
    state.append(own, b.constF32(0.0));
    state = b.loop(b.constI32(0), positions, kPositions, state,
                   [&](Value first, ValueRange carried) { return emitBlock(first, carried); });
    Value inverse = b.reciprocal(state[1]);
    Rows head = out;
    head.columns = latent;
    for (int64_t index = 0; index < own; index += kQuad) {
      Quad values;
      for (int64_t item = 0; item < kQuad; ++item)
        values.push_back(b.mulF32(state[2 + index + item], inverse));
      head.store(b, target, columnAt(index), values);
    }
  }

private:
  static constexpr int64_t kPositions = kWarpLanes;

  SimtBuilder &b;
  deepseek::MlaCoreOp op;
  const Rows &cache;
  Value positions;
  int64_t latent;
  Value scores, queryRope;
  /// The lane's share of the query, four columns of each 128: latent, then rope.
  SmallVector<Quad> queryLatent, queryRopes;

  int64_t columnsOfThread() const { return (latent + b.threads * kQuad - 1) / (b.threads * kQuad) * kQuad; }
  Value columnAt(int64_t index) { return b.add(b.mul(b.thread, kQuad), index / kQuad * b.threads * kQuad); }
  Rows latents() const {
    Rows part = cache;
    part.columns = latent;
    return part;
  }
  Rows ropes() {
    Rows part = cache;
    part.columns = op.getRopeDim();
    part.offset += latent;
    return part;
  }

  static int64_t groupsOf(int64_t columns) { return (columns + kWarpColumns - 1) / kWarpColumns; }
  Value columnOf(int64_t group) { return b.add(b.mul(b.lane, kQuad), group * kWarpColumns); }

  void loadQuery(const Rows &query, Value row) {
    Rows ofHead = query;
    ofHead.columns = latent;
    for (int64_t group = 0; group < groupsOf(latent); ++group)
      queryLatent.push_back(ofHead.load(b, row, columnOf(group)));
    Rows rope{queryRope, b.getF32Type(), static_cast<int64_t>(op.getRopeDim()), static_cast<int64_t>(op.getRopeDim()), 0, 1};
    for (int64_t group = 0; group < groupsOf(rope.columns); ++group)
      queryRopes.push_back(rope.load(b, queryRope, columnOf(group)));
  }

  Value dot(const Rows &part, Value position, ArrayRef<Quad> query, Value sum) {
    Value row = part.row(b, position);
    for (auto [group, quad] : llvm::enumerate(query))
      for (auto [key, value] : llvm::zip_equal(part.load(b, row, columnOf(group)), quad))
        sum = b.fma(key, value, sum);
    return sum;
  }

  /// Scores of 32 positions to shared memory, -inf where there is none.
  void scoreBlock(Value first) {
    b.loop(b.warp, b.constI32(kPositions), b.warps(), [&](Value index) {
      Value position = b.add(first, index), last = b.sub(positions, b.constI32(1));
      Value row = b.minSigned(position, last);
      Value sum = dot(ropes(), row, queryRopes, dot(latents(), row, queryLatent, b.constF32(0.0)));
      Value score = b.mulF32(b.sumWarp(sum), b.constF32(op.getSoftmaxScale().convertToDouble()));
      score = b.select(b.less(position, positions), score, b.constF32(-std::numeric_limits<float>::infinity()));
      b.ifThen(b.equal(b.lane, b.constI32(0)), [&] { b.store(score, b.at(scores, b.getF32Type(), index)); });
    });
  }

  /// Folds 32 positions into maximum, sum of weights and result. Each warp has all weights, a lane each.
  SmallVector<Value> emitBlock(Value first, ValueRange carried) {
    scoreBlock(first);
    b.syncBlock();
    Value score = b.loadFloat(b.getF32Type(), b.at(scores, b.getF32Type(), b.lane));
    // All have read before the next block's scores come.
    b.syncBlock();
    Value maximum = b.maxF(carried[0], b.maxWarp(score));
    Value weight = b.exp(b.subF(score, maximum));
    weight = b.select(b.less(b.add(first, b.lane), positions), weight, b.constF32(0.0));
    Value correction = b.exp(b.subF(carried[0], maximum));
    SmallVector<Value> state = {maximum, b.fma(carried[1], correction, b.sumWarp(weight))};
    SmallVector<Value> sums;
    for (Value value : carried.drop_front(2))
      sums.push_back(b.mulF32(value, correction));
    state.append(accumulate(first, weight, sums));
    return state;
  }

  SmallVector<Value> accumulate(Value first, Value weight, ArrayRef<Value> sums) {
    Value count = b.minSigned(b.sub(positions, first), b.constI32(kPositions));
    return b.loop(b.constI32(0), count, 1, sums, [&](Value index, ValueRange carried) {
      Value factor = b.shuffleFrom(weight, index), row = latents().row(b, b.add(first, index));
      SmallVector<Value> next;
      for (int64_t column = 0; column < columnsOfThread(); column += kQuad)
        for (auto [item, value] : llvm::enumerate(latents().load(b, row, columnAt(column))))
          next.push_back(b.fma(factor, value, carried[column + item]));
      return next;
    });
  }
};

} // namespace

Result<void> emitMlaCore(SimtContext &context, deepseek::MlaCoreOp op) {
  SimtBuilder &b = context.b;
  Result<Rows> queryLatent = context.operands.rows(op.getQLatent()), q = context.operands.rows(op.getQ()),
               rope = context.operands.rows(op.getRope()), cache = context.operands.rows(op.getCache());
  for (const Result<Rows> *operand : {&queryLatent, &q, &rope, &cache})
    if (!*operand)
      return tl::unexpected(operand->error());
  int64_t heads = op.getHeads(), nope = op.getNopeDim(), ropeDim = op.getRopeDim(), latent = cache->columns - ropeDim;
  // A lane holds its share of the query in registers.
  constexpr int64_t kMaxLatent = 1024, kMaxRope = 256;
  if (latent > kMaxLatent || ropeDim > kMaxRope)
    return fail("mla_core takes latents of at most " + std::to_string(kMaxLatent) + " and rope of at most " +
                std::to_string(kMaxRope) + " columns");
  Rows out = context.operands.resultRows(0);
  Value token = b.divideBy(b.block, heads), head = b.remainder(b.block, heads);
  Value query = b.at(queryLatent->row(b, token), queryLatent->element, b.mul(head, latent));
  Value queryRope = b.at(q->row(b, token), q->element, b.add(b.mul(head, nope + ropeDim), nope));
  Value positions = b.add(b.add(context.operands.position(), token), 1);
  AttentionEmitter(b, op, *cache, positions)
      .emit(*queryLatent, query, *q, queryRope, *rope, rope->row(b, token), out,
            b.at(out.row(b, token), out.element, b.mul(head, latent)));
  return {};
}

} // namespace quant::nvvm
