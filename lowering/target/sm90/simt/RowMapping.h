//===- RowMapping.h - row programs on the threads of a block ------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Two ways to lay a program out. BlockRows gives a row to a block, whose warps take 128 columns each, four to a lane. PieceRows, for
// programs whose groups of 128 columns need nothing of each other, gives a group of four rows to 16 or 32 lanes: four independent
// loads of 16 bytes are in flight for each thread, and four rows' k_major scales are one store. Both are limited by memory.
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_LOWERING_TARGET_SM90_SIMT_ROWMAPPING_H
#define QUANT_LOWERING_TARGET_SM90_SIMT_ROWMAPPING_H

#include "dialects/rows/RowBuilder.h"
#include "lowering/common/KernelOperands.h"
#include "lowering/target/sm90/simt/SimtKernel.h"

namespace quant::nvvm {

/// A row for each block.
class BlockRows : public rows::RowBuilder {
public:
  using Value = mlir::Value;
  using Num = rows::Num;
  using Rows = rows::Rows;
  using Column = rows::Column;
  using Group = rows::Group;
  using Quantized = rows::Quantized;

  /// `operands` may be null where the program names none of its op's. For the row that has the block's number, or another.
  BlockRows(SimtBuilder &b, const KernelOperands *operands) : BlockRows(b, operands, b.block) {}
  BlockRows(SimtBuilder &b, const KernelOperands *operands, Value row) : RowBuilder(b), gpu(b), operands(operands), rowIndex(row) {}

  Num row() override { return num(rowIndex); }
  Num tokens(Value) override { return num(operands->tokens()); }
  Num position(Value) override { return num(operands->position()); }
  Num outputs(Value) override { return num(operands->outputs()); }
  Rows rows(Value tensor) override { return *operands->rows(tensor); }
  Quantized quantized(Value tensor) override { return *operands->quantized(tensor); }
  Num load(const Rows &rows, const Column &column) override;
  void store(const Rows &rows, const Column &column, const Num &value) override;
  Num at(const Rows &rows, const Num &column) override;
  void put(const Rows &rows, const Num &column, const Num &value) override;
  Num loadScale(const Quantized &quantized, const Group &group) override;
  void storeScale(const Quantized &quantized, const Group &group, const Num &scale) override;

  void forColumns(int64_t count, Body<Column> body) override;
  Num sum(int64_t count, Fold fold) override;
  Num max(int64_t count, const Num &least, Fold fold) override;
  void forGroups(int64_t count, int64_t size, Body<const Group &> body) override;
  void forColumns(const Group &group, Body<Column> body) override;
  Num max(const Group &group, const Num &least, Fold fold) override;
  using RowBuilder::forEach;
  void forEach(const Num &begin, const Num &end, Body<Num> body) override;
  void forConstants(llvm::ArrayRef<double> values, llvm::function_ref<void(Column, Num)> body) override;

  using RowBuilder::scratch;
  Rows scratch(int64_t count, mlir::Type element) override;
  Num argmax(const Rows &list) override;
  void once(llvm::function_ref<void()> body) override;
  /// A product and one step of Newton's method instead of a division: correctly rounded all the same (P. Markstein, IBM J. Res.
  /// Dev. 34, 1990).
  Num divide(const Num &value, const Num &scale) override;

  /// Threads for rows of so many columns: a warp for each 128 of them, but a power of two and at most eight.
  static int64_t threadsFor(int64_t columns);

protected:
  SimtBuilder &gpu;
  const KernelOperands *operands;

  static constexpr int64_t kGroupColumns = kWarpColumns;

  void settle() override;

  /// The columns of each lane in a group that a warp handles.
  Column columnOf(const Group &group) const { return {group.first, kQuad, group.columns, group.columns % kGroupColumns != 0}; }

  /// What the columns of a lane hold, combined.
  static Value reduceLanes(SimtBuilder &b, Value vector, SimtBuilder::Combine combine);

private:
  Value rowIndex;
  /// Whether scratch has been stored to, or used at all, since all threads last met.
  bool isStored = false, isUsed = false;
  /// Whether what is emitted is in the body of a parallel loop, where threads go their own ways.
  bool isParallel = false;

  using Combine = llvm::function_ref<llvm::SmallVector<Value>(mlir::ValueRange, mlir::ValueRange)>;
  /// The values of all threads combined, in all of them.
  llvm::SmallVector<Value> reduceBlock(mlir::ValueRange values, Combine combine);
  Num reduce(int64_t count, const Num &init, Fold fold, SimtBuilder::Combine combine);
  void inParallel(llvm::function_ref<void()> body);
  Value rowCount(const Quantized &quantized);
};

/// Groups of 128 columns of four rows, one for 16 or 32 lanes. What differs from row to row has an element for each of the four,
/// and what differs from column to column one for each column of each row.
class PieceRows final : public BlockRows {
public:
  static constexpr int64_t kRows = 4, kThreads = 256;

  /// Columns of a lane: 16 bytes of the widest input, but four or eight columns.
  static int64_t columnsPerLane(int64_t widestInputBits) { return widestInputBits > 16 ? 4 : 8; }
  /// Blocks for so many rows.
  static SizeExpr grid(const SizeExpr &rows, int64_t columns, int64_t laneColumns);

  /// For `rowCount` rows of `columns` columns.
  PieceRows(SimtBuilder &b, const KernelOperands *operands, Value rowCount, int64_t columns, int64_t laneColumns);

  Num load(const Rows &rows, const Column &column) override;
  void store(const Rows &rows, const Column &column, const Num &value) override;
  Num loadScale(const Quantized &quantized, const Group &group) override;
  void storeScale(const Quantized &quantized, const Group &group, const Num &scale) override;
  void forColumns(int64_t count, Body<Column> body) override;
  void forGroups(int64_t count, int64_t size, Body<const Group &> body) override;
  void forColumns(const Group &group, Body<Column> body) override;
  Num max(const Group &group, const Num &least, Fold fold) override;

  // Words that a program of independent columns has no use for.
  Num row() override;
  Num sum(int64_t count, Fold fold) override;

private:
  int64_t laneColumns;
  Value rowLimit, firstRow, group, column, laneInGroup;

  static int64_t groupsPerBlock(int64_t laneColumns) { return kThreads * laneColumns / kGroupColumns; }
  /// Row `index` of the four; the last one there is, where that lies beyond.
  Value rowInRange(int64_t index);
};

} // namespace quant::nvvm

#endif // QUANT_LOWERING_TARGET_SM90_SIMT_ROWMAPPING_H
