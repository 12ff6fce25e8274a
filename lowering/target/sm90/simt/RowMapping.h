//===- RowMapping.h - row programs on the threads of a block ------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Two ways to lay a program out. BlockRows gives a row to a block, whose warps take 128 columns each, four to a lane. PieceRows,
// for programs whose groups of 128 columns need nothing of each other, gives a group of four rows to 16 or 32 lanes: four
// independent loads of 16 bytes are in flight for each thread, and four rows' k_major scales are one store. Both are limited by
// memory.
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_LOWERING_TARGET_SM90_SIMT_ROWMAPPING_H
#define QUANT_LOWERING_TARGET_SM90_SIMT_ROWMAPPING_H

#include "lowering/common/AddressRows.h"
#include "lowering/target/sm90/simt/SimtKernel.h"

namespace quant::nvvm {

/// A row for each block.
class BlockRows : public AddressRows {
public:
  /// For the row that has the block's number, or another.
  BlockRows(SimtBuilder &b, const KernelOperands *operands) : BlockRows(b, operands, b.block) {}
  BlockRows(SimtBuilder &b, const KernelOperands *operands, Value row) : AddressRows(b, operands, row), gpu(b) {}

  /// Threads for rows of so many columns: a warp for each 128 of them, but a power of two and at most eight.
  static int64_t threadsFor(int64_t columns);

  Num load(const Rows &rows, const Column &column) override;
  void store(const Rows &rows, const Column &column, const Num &value) override;
  Num at(const Rows &rows, const Num &column) override;
  void put(const Rows &rows, const Num &column, const Num &value) override;
  Num loadScale(const Quantized &quantized, const Group &group) override;
  void storeScale(const Quantized &quantized, const Group &group, const Num &scale) override;

  using RowBuilder::forEach, RowBuilder::scratch;
  void forColumns(int64_t count, Body<Column> body) override;
  void forColumns(const Group &group, Body<Column> body) override {
    isWhole ? forColumns(group.columns, body) : body(columnOf(group));
  }
  Num sum(int64_t count, Fold fold) override;
  Num max(int64_t count, const Num &least, Fold fold) override;
  Num max(const Group &group, const Num &least, Fold fold) override;
  void forGroups(int64_t count, int64_t size, Body<const Group &> body) override;
  void forEach(const Num &begin, const Num &end, Body<Num> body) override;
  void forConstants(llvm::ArrayRef<double> values, llvm::function_ref<void(Column, Num)> body) override;

  Rows scratch(int64_t count, Type element) override;
  Num argmax(const Rows &list) override;
  void once(llvm::function_ref<void()> body) override;
  Num divide(const Num &value, const Num &scale) override;

protected:
  SimtBuilder &gpu;
  /// Columns of a lane, and lanes that share a group of 128.
  int64_t laneColumns = kQuad;
  int64_t groupLanes() const { return kWarpColumns / laneColumns; }

  /// Rows that a thread handles at once: what differs from row to row has an element for each of them, and what differs from
  /// column to column one for each column of each row.
  virtual int64_t rowsAtOnce() const { return 1; }
  /// One of the rows at once, and the number of rows there are.
  virtual Value rowNumber(int64_t index) { return rowIndex; }
  virtual Value rowCount(const Quantized &quantized);
  /// Does something for one of the rows at once, if that is there.
  virtual void ifThere(int64_t index, llvm::function_ref<void()> body) { body(); }
  /// Whether this is the lane of a group that stores what belongs to all.
  virtual Value isFirstOfGroup() { return gpu.equal(isWhole ? gpu.thread : gpu.lane, 0); }

  void settle() override;

private:
  /// Whether scratch has been stored to, or used at all, since all threads last met.
  bool isStored = false, isUsed = false;
  /// Whether what is emitted is in the body of a parallel loop, where threads go their own ways.
  bool isParallel = false;
  /// Whether what is emitted is of a group that is the whole row, of all threads.
  bool isWhole = false;

  using Combine = llvm::function_ref<llvm::SmallVector<Value>(mlir::ValueRange, mlir::ValueRange)>;
  /// The values of all threads combined, in all of them.
  llvm::SmallVector<Value> reduceBlock(mlir::ValueRange values, Combine combine);
  /// What the columns of a lane hold, combined.
  Value reduceLanes(Value vector, SimtBuilder::Combine combine);
  Num reduce(int64_t count, const Num &init, Fold fold, SimtBuilder::Combine combine);
  void inParallel(llvm::function_ref<void()> body);
  void touch(const Rows &rows, bool stores);
  Value rowAddress(const Rows &rows, int64_t index);
  Column columnOf(const Group &group) const {
    return {group.first, laneColumns, group.columns, group.columns % kWarpColumns != 0};
  }
};

/// Groups of 128 columns of four rows, one for 16 or 32 lanes.
class PieceRows final : public BlockRows {
public:
  static constexpr int64_t kRows = 4, kThreads = 256;

  /// Columns of a lane: 16 bytes of the widest input, but four or eight columns.
  static int64_t columnsPerLane(int64_t widestInputBits) { return widestInputBits > 16 ? 4 : 8; }
  /// Blocks for so many rows.
  static SizeExpr grid(const SizeExpr &rows, int64_t columns, int64_t laneColumns);

  /// For `rowCount` rows of `columns` columns.
  PieceRows(SimtBuilder &b, const KernelOperands *operands, Value rowCount, int64_t columns, int64_t laneColumns);

  void storeScale(const Quantized &quantized, const Group &group, const Num &scale) override;
  void forGroups(int64_t count, int64_t size, Body<const Group &> body) override;
  // Words that a program of independent columns has no use for.
  Num row() override;
  Num sum(int64_t count, Fold fold) override;

protected:
  int64_t rowsAtOnce() const override { return kRows; }
  Value rowNumber(int64_t index) override;
  Value rowCount(const Quantized &) override { return rowLimit; }
  void ifThere(int64_t index, llvm::function_ref<void()> body) override;
  Value isFirstOfGroup() override { return gpu.equal(gpu.bitAnd(gpu.thread, groupLanes() - 1), 0); }

private:
  Value rowLimit, firstRow, group;
};

} // namespace quant::nvvm

#endif // QUANT_LOWERING_TARGET_SM90_SIMT_ROWMAPPING_H
