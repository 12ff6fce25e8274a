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
  DotEmitter(SimtBuilder &b, const Activations &x, const SimtWeight &weight, Value xRows) : b(b), x(x), weight(weight), xRows(xRows) {}

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

} // namespace

Result<void> emitMatmul(SimtContext &context, Value xValue, Value wValue) {
  SimtBuilder &b = context.b;
  Result<Activations> x = activationsOf(context.operands, xValue);
  Result<SimtWeight> weight = SimtWeight::of(context.operands, wValue);
  if (!x || !weight)
    return tl::unexpected(x ? weight.error() : x.error());
  Rows out = context.operands.resultRows(0);
  Value xRows = b.mul(context.operands.rowCount(), x->rows.perToken);
  Value row = b.add(b.mul(b.block, b.warps()), b.warp);
  b.ifThen(b.less(row, weight->rows), [&] {
    auto [part, rowInPart] = weight->partOf(b, row);
    DotEmitter(b, *x, *weight, xRows)
        .emit(
            part, rowInPart, context.operands.rowCount(), [&](Value m) { return DotEmitter::XRow{b.rowAddress(x->rows, m), m}; },
            [&](Value m, Value sum) { storeAt(b, out, m, row, sum); });
  });
  return {};
}

Result<void> emitGroupedMatmul(SimtContext &context, qblock::GroupedMatmulAccOp op) {
  SimtBuilder &b = context.b;
  auto whole = [&](Value operand) { return qblock::getWholeOperand(op, operand); };
  Result<Activations> x = activationsOf(context.operands, whole(op.getX()));
  Result<SimtWeight> weight = SimtWeight::of(context.operands, whole(op.getW()));
  Result<Value> offsets = context.operands.address(whole(op.getOffsets()));
  if (!x || !weight || !offsets)
    return tl::unexpected(!x ? x.error() : !weight ? weight.error() : offsets.error());
  Value gather;
  if (op.getRows()) {
    Result<Value> rows = context.operands.address(whole(op.getRows()));
    if (!rows)
      return tl::unexpected(rows.error());
    gather = *rows;
  }
  Rows out = context.operands.resultRows(0);
  Value xRows = b.mul(context.operands.rowCount(), x->rows.perToken);
  int64_t blocksOfGroup = (weight->rows + kGroupedBlockRows - 1) / kGroupedBlockRows;
  Value group = b.div(b.block, blocksOfGroup), firstRow = b.mul(b.rem(b.block, blocksOfGroup), kGroupedBlockRows);
  Value bounds = b.at(*offsets, b.getI32Type(), group);
  Value first = b.loadI32(bounds), count = b.sub(b.loadI32(b.at(bounds, b.getI32Type(), 1)), first);
  auto rowOf = [&](Value m) {
    Value row = b.add(first, m);
    if (gather)
      row = b.div(b.loadI32(b.at(gather, b.getI32Type(), row)), op.getTopK());
    return DotEmitter::XRow{b.rowAddress(x->rows, row), row};
  };
  // Most experts have no token.
  b.ifThen(b.less(b.int32(0), count), [&] {
    Value end = b.min(b.add(firstRow, kGroupedBlockRows), b.int32(weight->rows));
    b.loop(b.add(firstRow, b.warp), end, b.warps(), [&](Value row) {
      auto [part, rowInPart] = weight->partOf(b, row);
      auto ofGroup = [&](Value table) { return b.loadPointer(b.at(table, b.getI64Type(), group)); };
      part.data = ofGroup(part.data);
      if (part.scale)
        part.scale = ofGroup(part.scale);
      DotEmitter(b, *x, *weight, xRows).emit(part, rowInPart, count, rowOf, [&](Value m, Value sum) {
        storeAt(b, out, b.add(first, m), row, sum);
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
