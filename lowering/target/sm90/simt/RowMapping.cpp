//===- RowMapping.cpp - row programs on the threads of a block ------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "lowering/target/sm90/simt/RowMapping.h"
#include "lowering/target/sm90/simt/SimtKernels.h"

#include "mlir/Dialect/SCF/IR/SCF.h"
#include "llvm/Support/ErrorHandling.h"
#include "llvm/Support/MathExtras.h"

#include <limits>

using namespace mlir;

namespace quant::nvvm {

using rows::Num;

int64_t BlockRows::threadsFor(int64_t columns) {
  // A power of two: LLVM loads what three warps have left in shared memory as four words, one of which nobody has written.
  auto warps = llvm::PowerOf2Ceil(static_cast<uint64_t>(llvm::divideCeil(columns, kWarpColumns)));
  return std::min<int64_t>(static_cast<int64_t>(warps), 8) * kWarpLanes;
}

//===----------------------------------------------------------------------===//
// Memory
//===----------------------------------------------------------------------===//

/// Before scratch is used.
void BlockRows::touch(const Rows &rows, bool stores) {
  isUsed |= rows.isScratch;
  isStored |= rows.isScratch && stores;
}

Value BlockRows::rowAddress(const Rows &rows, int64_t index) {
  bool isOther = rows.isList || rows.row;
  return isOther ? AddressRows::rowAddress(rows) : gpu.rowAddress(rows, rowNumber(index));
}

Num BlockRows::load(const Rows &rows, const Column &column) {
  touch(rows, false);
  SmallVector<Value> values;
  for (int64_t index = 0; index < rowsAtOnce(); ++index)
    values.push_back(gpu.loadColumns(rows, rowAddress(rows, index), column));
  return num(gpu.pack(values));
}

void BlockRows::store(const Rows &rows, const Column &column, const Num &value) {
  touch(rows, true);
  Value all = gpu.spread(value.value, rowsAtOnce() * column.lanes);
  for (int64_t index = 0; index < rowsAtOnce(); ++index)
    ifThere(index, [&] {
      gpu.storeColumns(rows, rowAddress(rows, index), column, gpu.extract(all, index * column.lanes, column.lanes));
    });
}

Num BlockRows::at(const Rows &rows, const Num &column) {
  if (rows.isScratch && isStored)
    settle();
  touch(rows, false);
  return AddressRows::at(rows, column);
}

void BlockRows::put(const Rows &rows, const Num &column, const Num &value) {
  touch(rows, true);
  AddressRows::put(rows, column, value);
}

Value BlockRows::rowCount(const Quantized &quantized) { return gpu.mul(operands->rowCount(), quantized.codes.perToken); }

Num BlockRows::loadScale(const Quantized &quantized, const Group &group) {
  auto scaleOf = [&](int64_t index) {
    Value meant = quantized.codes.row ? quantized.codes.row.value : rowNumber(index);
    Value row = gpu.div(meant, quantized.blockRows);
    return gpu.loadNumber(quantized.scales.element, gpu.scaleAddress(quantized, row, group.index.value, rowCount(quantized)));
  };
  // Rows at once begin at a multiple of their number: then they lie in one block.
  if (quantized.blockRows % rowsAtOnce() == 0)
    return num(gpu.spread(scaleOf(0), rowsAtOnce()));
  return num(gpu.pack(llvm::map_to_vector(llvm::seq(rowsAtOnce()), scaleOf)));
}

void BlockRows::storeScale(const Quantized &quantized, const Group &group, const Num &scale) {
  gpu.ifThen(isFirstOfGroup(), [&] {
    if (quantized.scales.row)
      return put(quantized.scales, group.index, scale);
    for (int64_t index = 0; index < rowsAtOnce(); ++index)
      ifThere(index, [&] {
        Value address = gpu.scaleAddress(quantized, rowNumber(index), group.index.value, rowCount(quantized));
        gpu.storeNumber(quantized.scales.element, address, gpu.extract(scale.value, index));
      });
  });
}

Num BlockRows::divide(const Num &value, const Num &scale) {
  auto spread = [&](const Num &divisor) { return gpu.spread(divisor.value, value.lanes()); };
  return num(gpu.quotient(value.value, spread(scale), spread(1.0 / scale)));
}

//===----------------------------------------------------------------------===//
// Parallel loops
//===----------------------------------------------------------------------===//

void BlockRows::settle() {
  if (!isUsed || isParallel)
    return;
  gpu.syncBlock();
  isUsed = isStored = false;
}

void BlockRows::inParallel(function_ref<void()> body) {
  settle();
  bool outer = std::exchange(isParallel, true);
  body();
  isParallel = outer;
}

void BlockRows::forGroups(int64_t count, int64_t size, Body<const Group &> body) {
  // A group of more than a warp's columns is the whole row (checkQuantized).
  if (size > kWarpColumns) {
    isWhole = true;
    body({num(gpu.int32(0)), num(gpu.int32(0)), count});
    isWhole = false;
    return;
  }
  inParallel([&] {
    gpu.forGroups(count, {}, [&](Value group, Value column, ValueRange) {
      body({num(group), num(column), count});
      return SmallVector<Value>();
    });
  });
}

void BlockRows::forColumns(int64_t count, Body<Column> body) {
  forGroups(count, kWarpColumns, [&](const Group &group) { body(columnOf(group)); });
}

void BlockRows::forEach(const Num &begin, const Num &end, Body<Num> body) {
  inParallel([&] { gpu.loop(gpu.add(begin.value, gpu.thread), end.value, gpu.threads, [&](Value index) { body(num(index)); }); });
}

void BlockRows::forConstants(ArrayRef<double> values, function_ref<void(Column, Num)> body) {
  Value table = gpu.globalTable(values);
  auto count = static_cast<int64_t>(values.size());
  forEach(count, [&](Num index) {
    Value value = gpu.load(gpu.getF64Type(), gpu.at(table, gpu.getF64Type(), index.value));
    body({index, 1, count, false}, num(value));
  });
}

void BlockRows::once(function_ref<void()> body) {
  inParallel([&] { gpu.ifThen(gpu.equal(gpu.thread, 0), body); });
}

rows::Rows BlockRows::scratch(int64_t count, Type element) {
  constexpr int64_t kWords = 4;
  int64_t padded = llvm::alignTo(count, kWords);
  Rows list = rows::scratchAt(gpu.allocateShared(padded * 4), element, count);
  // All words of the last 16 bytes are written: LLVM may load three as four.
  if (padded != count)
    once([&] {
      for (int64_t word = count; word < padded; ++word)
        put(list, size(word), num(gpu.constant(element, 0)));
    });
  return list;
}

//===----------------------------------------------------------------------===//
// Reductions
//===----------------------------------------------------------------------===//

Value BlockRows::reduceLanes(Value vector, SimtBuilder::Combine combine) {
  Value result = gpu.extract(vector, 0);
  for (int64_t lane = 1; lane < SimtBuilder::laneCount(vector.getType()); ++lane)
    result = combine(result, gpu.extract(vector, lane));
  return result;
}

SmallVector<Value> BlockRows::reduceBlock(ValueRange values, Combine combine) {
  SmallVector<Value> result(values);
  for (int64_t mask = kWarpLanes / 2; mask > 0; mask /= 2)
    result = combine(result, llvm::map_to_vector(result, [&](Value value) { return gpu.shuffleXor(value, mask); }));
  if (gpu.warps() == 1)
    return result;
  // Each warp's result to shared memory, and all of them back. In a loop they may still be read from the round before.
  if (isa_and_nonnull<scf::ForOp>(gpu.getInsertionBlock()->getParentOp()))
    gpu.syncBlock();
  SmallVector<Value> slots;
  for (size_t list = 0; list < result.size(); ++list)
    slots.push_back(gpu.allocateShared(gpu.warps() * 4));
  auto slot = [&](size_t list, Value warp) { return gpu.at(slots[list], result[list].getType(), warp); };
  gpu.ifThen(gpu.equal(gpu.lane, 0), [&] {
    for (size_t list = 0; list < result.size(); ++list)
      gpu.store(result[list], slot(list, gpu.warp));
  });
  gpu.syncBlock();
  auto resultOf = [&](int64_t warp) {
    SmallVector<Value> loaded;
    for (size_t list = 0; list < result.size(); ++list)
      loaded.push_back(gpu.load(result[list].getType(), slot(list, gpu.int32(warp)), 4));
    return loaded;
  };
  SmallVector<Value> all = resultOf(0);
  for (int64_t warp = 1; warp < gpu.warps(); ++warp)
    all = combine(all, resultOf(warp));
  return all;
}

Num BlockRows::reduce(int64_t count, const Num &init, Fold fold, SimtBuilder::Combine combine) {
  Value sums;
  inParallel([&] {
    sums = gpu.forGroups(count, gpu.spread(init.value, kQuad), [&](Value group, Value first, ValueRange carried) {
      Column column = columnOf({num(group), num(first), count});
      Value next = gpu.spread(fold(column, num(carried[0])).value, kQuad);
      return SmallVector<Value>{gpu.inside(column, next, carried[0])};
    })[0];
  });
  auto both = [&](ValueRange a, ValueRange b) { return SmallVector<Value>{combine(a[0], b[0])}; };
  return num(reduceBlock(reduceLanes(sums, combine), both)[0]);
}

Num BlockRows::sum(int64_t count, Fold fold) {
  return reduce(count, constant(0.0), fold, [&](Value a, Value b) { return gpu.add(a, b); });
}

Num BlockRows::max(int64_t count, const Num &least, Fold fold) {
  return reduce(count, least, fold, [&](Value a, Value b) { return gpu.max(a, b); });
}

Num BlockRows::max(const Group &group, const Num &least, Fold fold) {
  if (isWhole)
    return max(group.columns, least, fold);
  Column column = columnOf(group);
  Value start = gpu.spread(least.value, rowsAtOnce() * laneColumns), values = fold(column, num(start)).value;
  auto largestOf = [&](int64_t index) {
    auto ofRow = [&](Value all) { return gpu.extract(all, index * laneColumns, laneColumns); };
    Value own = reduceLanes(gpu.inside(column, ofRow(values), ofRow(start)), [&](Value a, Value b) { return gpu.max(a, b); });
    return gpu.maxWarp(own, groupLanes());
  };
  return num(gpu.pack(llvm::map_to_vector(llvm::seq(rowsAtOnce()), largestOf)));
}

Num BlockRows::argmax(const Rows &list) {
  Value lowest = gpu.number(-std::numeric_limits<double>::infinity());
  auto better = [&](ValueRange one, ValueRange other) {
    Value isEqual = gpu.equal(other[0], one[0]);
    Value wins = gpu.bitOr(gpu.greater(other[0], one[0]), gpu.bitAnd(isEqual, gpu.less(other[1], one[1])));
    return SmallVector<Value>{gpu.select(wins, other[0], one[0]), gpu.select(wins, other[1], one[1])};
  };
  // A thread without a number bids an index that loses against every other.
  SmallVector<Value> best = {lowest, gpu.int32(std::numeric_limits<int32_t>::max())};
  inParallel([&] {
    best = gpu.loop(gpu.thread, gpu.int32(list.columns), gpu.threads, best,
                    [&](Value index, ValueRange carried) { return better(carried, {at(list, num(index)).value, index}); });
  });
  // Where no score is a number: any index that there is.
  return num(gpu.min(reduceBlock(best, better)[1], list.columns - 1));
}

//===----------------------------------------------------------------------===//
// Four rows for a piece of a warp
//===----------------------------------------------------------------------===//

SizeExpr PieceRows::grid(const SizeExpr &rows, int64_t columns, int64_t laneColumns) {
  SizeExpr groups = static_cast<int64_t>(llvm::divideCeil(columns, kWarpColumns));
  return SizeExpr::ceilDiv(SizeExpr::ceilDiv(rows, kRows) * groups, kThreads * laneColumns / kWarpColumns);
}

PieceRows::PieceRows(SimtBuilder &b, const KernelOperands *operands, Value rowCount, int64_t columns, int64_t columnsOfLane)
    : BlockRows(b, operands), rowLimit(rowCount) {
  laneColumns = columnsOfLane;
  int64_t groups = llvm::divideCeil(columns, kWarpColumns);
  Value unit = b.add(b.mul(b.block, kThreads / groupLanes()), b.shiftRight(b.thread, llvm::Log2_64(groupLanes())));
  firstRow = b.mul(b.div(unit, groups), kRows);
  group = b.rem(unit, groups);
}

// Pieces beyond the last row do that row again, so that all lanes take part in the reductions, and store nothing.
Value PieceRows::rowNumber(int64_t index) { return gpu.min(gpu.add(firstRow, index), gpu.sub(rowLimit, 1)); }

void PieceRows::ifThere(int64_t index, function_ref<void()> body) {
  gpu.ifThen(gpu.less(gpu.add(firstRow, index), rowLimit), body);
}

void PieceRows::storeScale(const Quantized &quantized, const Group &group, const Num &scale) {
  if (!quantized.kMajor)
    return BlockRows::storeScale(quantized, group, scale);
  // The rows beyond the last have places for their scales, too.
  gpu.ifThen(gpu.bitAnd(isFirstOfGroup(), gpu.less(firstRow, rowLimit)), [&] {
    gpu.storeLanes(quantized.scales.element, gpu.scaleAddress(quantized, firstRow, group.index.value, rowLimit), scale.value);
  });
}

void PieceRows::forGroups(int64_t count, int64_t, Body<const Group &> body) {
  Value ofLane = gpu.mul(gpu.bitAnd(gpu.thread, groupLanes() - 1), laneColumns);
  body({num(group), num(gpu.add(gpu.mul(group, kWarpColumns), ofLane)), count});
}

Num PieceRows::row() { llvm::report_fatal_error("a program of independent columns names its row"); }
Num PieceRows::sum(int64_t, Fold) { llvm::report_fatal_error("a program of independent columns sums its row"); }

//===----------------------------------------------------------------------===//
// Kernels
//===----------------------------------------------------------------------===//

static bool isPiecewise(rows::RowOpInterface op) { return op.getIndependentColumns() == kWarpColumns; }

/// Bits of the widest element of the op's operands that have rows.
static int64_t widestInputBits(rows::RowOpInterface op) {
  int64_t bits = 8;
  for (Value operand : op->getOperands()) {
    while (auto extend = operand.getDefiningOp<arith::ExtFOp>())
      operand = extend.getIn();
    if (auto type = dyn_cast<ShapedType>(operand.getType()))
      bits = std::max<int64_t>(bits, type.getElementTypeBitWidth());
  }
  return bits;
}

SimtGrid rowGrid(rows::RowOpInterface op, const SizeExpr &rows) {
  int64_t fixed = op.getFixedRows();
  SizeExpr count = fixed ? SizeExpr(fixed) : rows * SizeExpr(rows::rowsPerToken(op));
  int64_t columns = rows::widestRow(op);
  if (isPiecewise(op))
    return {PieceRows::kThreads, PieceRows::grid(count, columns, PieceRows::columnsPerLane(widestInputBits(op)))};
  return {BlockRows::threadsFor(columns), count};
}

/// Of INT8: one f32 scale for each row, one after the other.
static bool isOneScaleARow(qblock::BlockTensorType type) {
  int64_t last = type.getRank() - 1;
  return type.getBlockExtent(last) >= type.getDimSize(last) && type.getScaleType().isF32() && !type.getKMajorScales();
}

Result<void> checkQuantized(qblock::BlockTensorType type) {
  bool perRow = llvm::all_of(type.getBlock().drop_back(), [](int64_t extent) { return extent == 1; });
  if (perRow && type.getStorageType().isSignlessInteger(8) && isOneScaleARow(type))
    return {};
  if (!perRow || type.getBlock().back() != kWarpColumns || !isa<Float8E4M3FNType>(type.getStorageType()) ||
      !isa<Float32Type, Float8E8M0FNUType>(type.getScaleType()))
    return fail(
        "activations are quantized to f8E4M3FN in groups of 128 with f32 or f8E8M0FNU scales, or to i8 with an f32 scale a "
        "row, not to " +
        textOf(type));
  return {};
}

/// Whether the kernels know how a value is stored.
static Result<void> checkOperand(const KernelOperands &operands, Value value) {
  if (auto type = dyn_cast<qblock::BlockTensorType>(value.getType()))
    QUANT_TRY(checkQuantized(type));
  return operands.check(value);
}

Result<void> emitRowOp(SimtContext &context, rows::RowOpInterface op) {
  const KernelOperands &operands = context.operands;
  for (Value value : llvm::concat<Value>(llvm::to_vector(op->getOperands()), llvm::to_vector(op->getResults())))
    QUANT_TRY(checkOperand(operands, value));
  SimtBuilder &b = context.b;
  if (isPiecewise(op)) {
    Value count = b.mul(operands.rowCount(), rows::rowsPerToken(op));
    PieceRows rows(b, &operands, count, rows::widestRow(op), PieceRows::columnsPerLane(widestInputBits(op)));
    op.buildRow(rows);
  } else {
    BlockRows rows(b, &operands);
    op.buildRow(rows);
  }
  return {};
}

} // namespace quant::nvvm
