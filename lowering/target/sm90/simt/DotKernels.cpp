//===- DotKernels.cpp - matmuls with a warp for each row of the weight -------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// For the matmuls that the tensor cores' kernel does not take: weights in bf16 or f32 (router, lm_head), shapes that TMA cannot
// read, experts. A warp reads a row of the weight once for every four rows of x; sums are f32.
//
//===----------------------------------------------------------------------===//

#include "lowering/common/Tiles.h"
#include "lowering/target/sm90/simt/SimtKernels.h"
#include "lowering/target/sm90/simt/SimtWeight.h"

using namespace mlir;

namespace quant::nvvm {

using rows::Rows;

namespace {

/// The activations of a matmul, quantized or not.
struct Activations {
  rows::Rows rows;
  std::optional<rows::Quantized> quantized;
};

Result<Activations> activationsOf(const KernelOperands &operands, Value x) {
  if (!isa<qblock::BlockTensorType>(x.getType()))
    return operands.rows(x).map([](Rows rows) { return Activations{rows, std::nullopt}; });
  if (auto known = checkQuantized(cast<qblock::BlockTensorType>(x.getType())); !known)
    return tl::unexpected(known.error());
  return operands.quantized(x).map([](rows::Quantized quantized) { return Activations{quantized.codes, quantized}; });
}

/// Products of one row of a weight with rows of x.
class DotEmitter {
public:
  /// The address of x's row m where the weight's columns begin, and m's number for its scales.
  struct XRow {
    Value address, index;
  };
  using RowOf = function_ref<XRow(Value m)>;
  using Store = function_ref<void(Value m, Value sum)>;

  /// `xRows` is the number of rows that x has.
  DotEmitter(SimtBuilder &b, const Activations &x, const SimtWeight &weight, Value xRows)
      : b(b), x(x), weight(weight), xRows(xRows) {}

  /// Stores sum over k of x[rowOf(m), k] * w[row, k] for all m in [0, count), four at a time. `row` counts in the part.
  void emit(const WeightPart &part, Value row, Value count, RowOf rowOf, Store store) {
    constexpr int64_t kTile = 4;
    Rows codes = weight.rowsOf(part);
    Value address = b.rowAddress(codes, row);
    Value whole = b.mul(b.div(count, kTile), kTile);
    auto tile = [&](int64_t size) {
      return [&, size](Value first) { emitTile(part, codes, row, address, first, size, rowOf, store); };
    };
    b.loop(b.int32(0), whole, kTile, tile(kTile));
    b.loop(whole, count, 1, tile(1));
  }

private:
  SimtBuilder &b;
  const Activations &x;
  const SimtWeight &weight;
  Value xRows;

  /// Groups of 128 columns in one round of the loop: their loads are in flight together.
  static int64_t unrollOf(int64_t groups) {
    for (int64_t unroll : {8, 4, 2})
      if (groups % unroll == 0)
        return unroll;
    return 1;
  }

  Value columnOf(Value group) { return b.add(b.mul(group, kWarpColumns), b.mul(b.lane, kQuad)); }

  void emitTile(const WeightPart &part, const Rows &codes, Value row, Value address, Value first, int64_t size, RowOf rowOf,
                Store store) {
    SmallVector<XRow> xRows;
    for (int64_t m = 0; m < size; ++m)
      xRows.push_back(rowOf(b.add(first, m)));
    Rows activations = x.rows;
    activations.columns = weight.columns;
    SmallVector<Value> sums(size, b.number(0.0));
    int64_t groups = (weight.columns + kWarpColumns - 1) / kWarpColumns, unroll = unrollOf(groups);
    sums = b.loop(b.int32(0), b.int32(groups), unroll, sums, [&](Value firstGroup, ValueRange carried) {
      SmallVector<Value> next(carried.begin(), carried.end());
      SmallVector<Quad> weights;
      for (int64_t step = 0; step < unroll; ++step)
        weights.push_back(b.loadQuad(codes, address, columnOf(b.add(firstGroup, step))));
      for (int64_t step = 0; step < unroll; ++step) {
        Value group = b.add(firstGroup, step), column = columnOf(group);
        Value scale = weight.scaleAt(b, part, row, column);
        for (auto [xRow, sum] : llvm::zip_equal(xRows, next))
          sum = accumulate(weights[step], scale, b.loadQuad(activations, xRow.address, column), scaleOf(xRow, group), sum);
      }
      return next;
    });
    for (auto [m, sum] : llvm::enumerate(sums)) {
      Value total = b.sumWarp(sum);
      b.ifThen(b.equal(b.lane, b.int32(0)), [&] { store(b.add(first, static_cast<int64_t>(m)), total); });
    }
  }

  /// x's scale in a group; null where x has none.
  Value scaleOf(const XRow &row, Value group) {
    if (!x.quantized)
      return {};
    return b.loadScale(x.quantized->scales.element, b.scaleAddress(*x.quantized, row.index, group, xRows));
  }

  /// Products of codes are summed before they are scaled, as on the tensor cores.
  Value accumulate(ArrayRef<Value> weights, Value weightScale, ArrayRef<Value> values, Value xScale, Value sum) {
    Value scale = weightScale && xScale ? b.mul(weightScale, xScale) : weightScale ? weightScale : xScale;
    Value partial = scale ? b.number(0.0) : sum;
    for (auto [weight, value] : llvm::zip_equal(weights, values))
      partial = b.fma(weight, value, partial);
    return scale ? b.fma(partial, scale, sum) : partial;
  }
};

/// Stores one number at a column of a row.
void storeAt(SimtBuilder &b, const Rows &out, Value row, Value column, Value value) {
  b.storeFloats(out.element, b.at(b.rowAddress(out, row), out.element, column), value);
}

/// A matmul's tile in its operands, which are whole here.
template <typename Tiles>
struct SimtMatmul : Tiles {
  Activations activations;
  SimtWeight weight;
  Rows outRows;
};

Value loadIndex(SimtBuilder &b, Value list, Value index) { return b.loadI32(b.at(list, b.getI32Type(), index)); }

/// What the block at hand multiplies. Errors: those of the tiles; operands that these kernels do not read.
template <typename Op>
auto findOperands(SimtContext &context, Op op) {
  SimtBuilder &b = context.b;
  auto load = [&](Value list, Value index) { return loadIndex(b, list, index); };
  auto found = findTiles(b, context.operands, load, op, b.block);
  using Matmul = SimtMatmul<typename decltype(found)::value_type>;
  if (!found)
    return Result<Matmul>(tl::unexpected(found.error()));
  Result<Activations> activations = activationsOf(context.operands, found->x.source);
  Result<SimtWeight> weight = SimtWeight::of(context.operands, found->w.source);
  if (!activations || !weight)
    return Result<Matmul>(tl::unexpected(activations ? weight.error() : activations.error()));
  if (!isZeroAccumulator(op.getAcc()))
    return Result<Matmul>(fail("plain threads start their sums at zero"));
  return Result<Matmul>(Matmul{*found, *activations, *weight, context.operands.resultRows(0)});
}

} // namespace

Result<void> emitMatmul(SimtContext &context, qblock::MatmulAccOp op) {
  SimtBuilder &b = context.b;
  auto matmul = findOperands(context, op);
  if (!matmul)
    return tl::unexpected(matmul.error());
  const Activations &x = matmul->activations;
  Value xRows = b.mul(context.operands.rowCount(), x.rows.perToken);
  Value firstToken = matmul->x.offsets[0], firstRow = matmul->w.offsets[0];
  b.loop(b.add(firstRow, b.warp), b.add(firstRow, matmul->w.sizes[0]), b.warps(), [&](Value row) {
    auto [part, rowInPart] = matmul->weight.partOf(b, row);
    auto rowOf = [&](Value m) {
      Value token = b.add(firstToken, m);
      return DotEmitter::XRow{b.rowAddress(x.rows, token), token};
    };
    DotEmitter(b, x, matmul->weight, xRows).emit(part, rowInPart, matmul->x.sizes[0], rowOf, [&](Value m, Value sum) {
      storeAt(b, matmul->outRows, b.add(firstToken, m), row, sum);
    });
  });
  return {};
}

Result<void> emitGroupedMatmul(SimtContext &context, qblock::GroupedMatmulAccOp op) {
  SimtBuilder &b = context.b;
  auto matmul = findOperands(context, op);
  if (!matmul)
    return tl::unexpected(matmul.error());
  const Activations &x = matmul->activations;
  Value xRows = b.mul(context.operands.rowCount(), x.rows.perToken);
  Value group = matmul->w.offsets[0], first = matmul->out.offsets[0], count = matmul->out.sizes[0];
  auto rowOf = [&](Value m) {
    Value row = matmul->gather ? b.div(loadIndex(b, matmul->gather, b.add(matmul->gatherFrom, m)), op.getTopK())
                               : b.add(matmul->x.offsets[0], m);
    return DotEmitter::XRow{b.rowAddress(x.rows, row), row};
  };
  // Most experts have no token.
  b.ifThen(b.less(b.int32(0), count), [&] {
    Value firstRow = matmul->w.offsets[1];
    b.loop(b.add(firstRow, b.warp), b.add(firstRow, matmul->w.sizes[1]), b.warps(), [&](Value row) {
      auto [part, rowInPart] = matmul->weight.partOf(b, row);
      auto ofGroup = [&](Value table) { return b.loadPointer(b.at(table, b.getI64Type(), group)); };
      part.data = ofGroup(part.data);
      if (part.scale)
        part.scale = ofGroup(part.scale);
      DotEmitter(b, x, matmul->weight, xRows).emit(part, rowInPart, count, rowOf, [&](Value m, Value sum) {
        storeAt(b, matmul->outRows, b.add(first, m), row, sum);
      });
    });
  });
  return {};
}

Result<void> emitMlaExpand(SimtContext &context, deepseek::MlaExpandOp op) {
  SimtBuilder &b = context.b;
  Result<Activations> x = activationsOf(context.operands, op.getX());
  Result<SimtWeight> weight = SimtWeight::of(context.operands, op.getKvB());
  if (!x || !weight)
    return tl::unexpected(x ? weight.error() : x.error());
  if (x->quantized || weight->parts.size() != 1)
    return fail("mla_expand takes floating-point rows and one tensor for kv_b");
  Rows out = context.operands.resultRows(0);
  Value xRows = b.mul(context.operands.rowCount(), x->rows.perToken);
  int64_t valueDim = op.getVDim(), nope = op.getNopeDim(), latent = weight->columns;
  // Value row v of head h is row h * (nope + valueDim) + nope + v of kv_b, and column h * valueDim + v of the result.
  Value column = b.add(b.mul(b.block, b.warps()), b.warp);
  b.ifThen(b.less(column, static_cast<int64_t>(op.getHeads()) * valueDim), [&] {
    Value head = b.div(column, valueDim);
    Value row = b.add(b.add(b.mul(head, nope + valueDim), nope), b.rem(column, valueDim));
    DotEmitter(b, *x, *weight, xRows)
        .emit(
            weight->parts[0], row, context.operands.tokens(),
            [&](Value m) { return DotEmitter::XRow{b.at(b.rowAddress(x->rows, m), x->rows.element, b.mul(head, latent)), m}; },
            [&](Value m, Value sum) { storeAt(b, out, m, column, sum); });
  });
  return {};
}

} // namespace quant::nvvm
