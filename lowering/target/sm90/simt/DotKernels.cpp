//===- DotKernels.cpp - matmuls with a warp for each row of the weight -------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// For the matmuls that the tensor cores' kernel does not take: weights in bf16 or f32 (router, lm_head) or in other schemes than
// DeepSeek's FP8, shapes that TMA cannot read. A warp reads a row of the weight once for every four rows of x; sums are f32.
//
//===----------------------------------------------------------------------===//

#include "lowering/common/Tiles.h"
#include "lowering/target/sm90/simt/SimtKernels.h"
#include "lowering/target/sm90/simt/SimtWeight.h"

using namespace mlir;

namespace quant::nvvm {

using rows::Rows;

namespace {

/// The activations of a matmul, quantized or not, and how many rows there are.
struct Activations {
  Rows rows;
  std::optional<rows::Quantized> quantized;
  Value count;
};

Result<Activations> activationsOf(SimtContext &context, Value x) {
  Activations result;
  if (auto type = dyn_cast<qblock::BlockTensorType>(x.getType())) {
    QUANT_TRY(checkQuantized(type));
    QUANT_TRY_ASSIGN(result.quantized, context.operands.quantized(x));
    result.rows = result.quantized->codes;
  } else {
    QUANT_TRY_ASSIGN(result.rows, context.operands.rows(x));
  }
  result.count = context.b.mul(context.operands.rowCount(), result.rows.perToken);
  return result;
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

  DotEmitter(SimtBuilder &b, const Activations &x, const SimtWeight &weight) : b(b), x(x), weight(weight) {}

  /// Stores sum over k of x[rowOf(m), k] * w[row, k] for all m in [0, count), four at a time. `row` counts in the part.
  void emit(const WeightPart &part, Value row, Value count, RowOf rowOf, Store store) {
    constexpr int64_t kTile = 4;
    Value address = weight.rowAddress(b, part, row), whole = b.mul(b.div(count, kTile), kTile);
    auto tile = [&](int64_t size) { return [&, size](Value first) { emitTile(part, row, address, first, size, rowOf, store); }; };
    b.loop(b.int32(0), whole, kTile, tile(kTile));
    b.loop(whole, count, 1, tile(1));
  }

private:
  SimtBuilder &b;
  const Activations &x;
  const SimtWeight &weight;

  /// Groups of 128 columns in one round of the loop: their loads are in flight together.
  static int64_t unrollOf(int64_t groups) {
    for (int64_t unroll : {8, 4, 2})
      if (groups % unroll == 0)
        return unroll;
    return 1;
  }

  void emitTile(const WeightPart &part, Value row, Value address, Value first, int64_t size, RowOf rowOf, Store store) {
    SmallVector<XRow> xRows;
    for (int64_t m = 0; m < size; ++m)
      xRows.push_back(rowOf(b.add(first, m)));
    auto columnOf = [&](Value group) {
      return b.quadAt(b.add(b.mul(group, kWarpColumns), b.mul(b.lane, kQuad)), weight.columns);
    };
    int64_t groups = llvm::divideCeil(weight.columns, kWarpColumns), unroll = unrollOf(groups);
    SmallVector<Value> init(size, b.number(0.0));
    auto sums = b.loop(b.int32(0), b.int32(groups), unroll, init, [&](Value firstGroup, ValueRange carried) {
      SmallVector<Value> next(carried), weights;
      for (int64_t step = 0; step < unroll; ++step)
        weights.push_back(weight.loadColumns(b, part, row, address, columnOf(b.add(firstGroup, step))));
      for (int64_t step = 0; step < unroll; ++step) {
        Value group = b.add(firstGroup, step);
        rows::Column column = columnOf(group);
        Value scale = weight.scaleAt(b, part, row, column.first.value);
        for (auto [xRow, sum] : llvm::zip_equal(xRows, next))
          sum = accumulate(weights[step], scale, b.loadColumns(x.rows, xRow.address, column), scaleOf(xRow, group), sum);
      }
      return next;
    });
    for (auto [m, sum] : llvm::enumerate(sums)) {
      Value total = b.sumWarp(sum);
      b.ifThen(b.equal(b.lane, 0), [&] { store(b.add(first, static_cast<int64_t>(m)), total); });
    }
  }

  /// x's scale in a group; null where x has none.
  Value scaleOf(const XRow &row, Value group) {
    if (!x.quantized)
      return {};
    // INT8 has one for the whole row.
    bool isOne = x.quantized->blockColumns >= x.quantized->codes.columns;
    Value address = b.scaleAddress(*x.quantized, row.index, isOne ? b.int32(0) : group, x.count);
    return b.loadNumber(x.quantized->scales.element, address);
  }

  /// Products of codes are summed before they are scaled, as on the tensor cores.
  Value accumulate(Value weights, Value weightScale, Value values, Value xScale, Value sum) {
    Value scale = weightScale && xScale ? b.mul(weightScale, xScale) : weightScale ? weightScale : xScale;
    Value partial = b.dot(weights, values, scale ? b.number(0.0) : sum);
    return scale ? b.fma(partial, scale, sum) : partial;
  }
};

/// Stores one number at a column of a row.
void storeAt(SimtBuilder &b, const Rows &out, Value row, Value column, Value value) {
  b.storeNumber(out.element, b.at(b.rowAddress(out, row), out.element, column), value);
}

} // namespace

Result<void> emitMatmul(SimtContext &context, DestinationStyleOpInterface op) {
  SimtBuilder &b = context.b;
  QUANT_TRY_ASSIGN(MatmulTiles tiles, findTiles(b, context.operands, op, b.block));
  QUANT_TRY_ASSIGN(Activations x, activationsOf(context, tiles.x.source));
  QUANT_TRY_ASSIGN(SimtWeight weight, SimtWeight::of(context.operands, tiles.w.source));
  if (!tiles.beginsAtZero)
    return fail("plain threads start their sums at zero");
  Rows out = context.operands.resultRows(0);
  Value firstRow = tiles.w.offsets[0], count = tiles.out.sizes[0];
  auto rowOf = [&](Value m) {
    Value row =
        tiles.gather ? b.div(b.loadNumber(b.i32(), b.at(tiles.gather, b.i32(), m)), tiles.topK) : b.add(tiles.x.offsets[0], m);
    return DotEmitter::XRow{b.rowAddress(x.rows, row), row};
  };
  auto multiply = [&] {
    b.loop(b.add(firstRow, b.warp), b.add(firstRow, tiles.w.sizes[0]), b.warps(), [&](Value row) {
      auto [part, rowInPart] = weight.partOf(b, row);
      for (Value *table : {&part.data, &part.scale, &part.zero, &part.global})
        if (tiles.group && *table)
          *table = b.load(b.ptr(1), b.at(*table, b.getI64Type(), tiles.group));
      DotEmitter(b, x, weight).emit(part, rowInPart, count, rowOf, [&](Value m, Value sum) {
        storeAt(b, out, b.add(tiles.out.offsets[0], m), row, sum);
      });
    });
  };
  // Most groups have no row.
  if (tiles.group)
    b.ifThen(b.less(b.int32(0), count), multiply);
  else
    multiply();
  return {};
}

Result<void> emitMlaExpand(SimtContext &context, deepseek::MlaExpandOp op) {
  SimtBuilder &b = context.b;
  QUANT_TRY_ASSIGN(Activations x, activationsOf(context, op.getX()));
  QUANT_TRY_ASSIGN(SimtWeight weight, SimtWeight::of(context.operands, op.getKvB()));
  if (x.quantized || weight.parts.size() != 1)
    return fail("mla_expand takes floating-point rows and one tensor for kv_b");
  Rows out = context.operands.resultRows(0);
  int64_t valueDim = op.getVDim(), nope = op.getNopeDim();
  // Value row v of head h is row h * (nope + valueDim) + nope + v of kv_b, and column h * valueDim + v of the result.
  Value column = b.add(b.mul(b.block, b.warps()), b.warp);
  b.ifThen(b.less(column, static_cast<int64_t>(op.getHeads()) * valueDim), [&] {
    Value head = b.div(column, valueDim), offset = b.mul(head, weight.columns);
    Value row = b.add(b.add(b.mul(head, nope + valueDim), nope), b.rem(column, valueDim));
    DotEmitter(b, x, weight)
        .emit(
            weight.parts[0], row, context.operands.tokens(),
            [&](Value m) { return DotEmitter::XRow{b.at(b.rowAddress(x.rows, m), x.rows.element, offset), m}; },
            [&](Value m, Value sum) { storeAt(b, out, m, column, sum); });
  });
  return {};
}

} // namespace quant::nvvm
