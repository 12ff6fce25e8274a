//===- SimtBuilder.h - emits kernels that go without tensor cores --*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// HopperBuilder with f32 arithmetic, typed memory and reductions over a warp and a block: what the kernels beside the matmul are
// made of. Values are f32, sizes and indices i32, rows are addressed in 64 bits. No libdevice.
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_LOWERING_TARGET_SM90_SIMT_SIMTBUILDER_H
#define QUANT_LOWERING_TARGET_SM90_SIMT_SIMTBUILDER_H

#include "dialects/rows/RowBuilder.h"
#include "lowering/target/sm90/HopperBuilder.h"

namespace quant::nvvm {

inline constexpr int64_t kWarpLanes = 32;
/// Neighbouring columns that a lane handles together: 16 bytes of f32.
inline constexpr int64_t kQuad = 4;
/// Columns that a warp handles together, and columns of a per-token group.
inline constexpr int64_t kWarpColumns = kWarpLanes * kQuad;

class SimtBuilder : public HopperBuilder {
public:
  /// For a kernel of `threads` threads in a block, a multiple of 32.
  SimtBuilder(mlir::Location loc, mlir::MLIRContext *context, int64_t threads) : HopperBuilder(loc, context), threads(threads) {}

  const int64_t threads;
  int64_t warps() const { return threads / kWarpLanes; }
  /// Bytes of dynamic shared memory taken so far.
  int64_t sharedBytes() const { return nextShared; }

  /// Emits what every kernel starts with: the next one may start, and thread, lane, warp, block are known. To be called at the
  /// kernel's entry.
  void begin();
  Value thread, lane, warp, block;

  /// sum + the products of two vectors' elements, one after another.
  Value dot(Value left, Value right, Value sum);

  //===--- Memory ---------------------------------------------------------===//

  /// The address must be a multiple of the elements' size together; more than 16 bytes are several accesses.
  Value loadLanes(mlir::Type element, Value pointer, int64_t count) override;
  void storeLanes(mlir::Type element, Value pointer, Value values) override;
  /// A table of f64 in global memory; returns its address.
  Value globalTable(mlir::ArrayRef<double> values);
  /// Columns of the row at an address as f32; zeros beyond the last.
  Value loadColumns(const rows::Rows &rows, Value rowAddress, const rows::Column &column);
  /// Stores those of the columns that there are.
  void storeColumns(const rows::Rows &rows, Value rowAddress, const rows::Column &column, Value value);
  /// `value` where the columns are such as there are, otherwise `beyond`.
  Value inside(const rows::Column &column, Value value, Value beyond);
  /// The address of the scale of a row (i32) in a group; `rowCount` places scales that lie group by group.
  Value scaleAddress(const rows::Quantized &quantized, Value row, Value group, Value rowCount);
  /// Fresh shared memory of the block.
  Value allocateShared(int64_t bytes);

  //===--- Warps and blocks -----------------------------------------------===//

  /// The value of a lane of the warp.
  Value shuffleFrom(Value value, Value lane);
  using Combine = mlir::function_ref<Value(Value, Value)>;
  /// The values of each `width` neighbouring lanes combined, in all of them.
  Value reduceWarp(Value value, Combine combine, int64_t width = kWarpLanes);
  Value sumWarp(Value value, int64_t width = kWarpLanes);
  Value maxWarp(Value value, int64_t width = kWarpLanes);

  //===--- Loops ----------------------------------------------------------===//

  /// Deals the groups of 128 columns to the warps of the block. `body` gets the group and the lane's first column of four, which
  /// may lie beyond the last.
  llvm::SmallVector<Value> forGroups(int64_t columns, mlir::ValueRange init,
                                     mlir::function_ref<llvm::SmallVector<Value>(Value, Value, mlir::ValueRange)> body);
  /// Four columns from `first` on, of `count`; in the group of a warp or in another place that whole groups fill.
  rows::Column quadAt(Value first, int64_t count) { return {{*this, first}, kQuad, count, count % kWarpColumns != 0}; }

private:
  int64_t nextShared = 0;

  Value decodePair(mlir::Type element, Value codes);
  Value decodeBytes(mlir::Type element, Value pointer, int64_t count);
  Value encodeE4M3(Value values);
};

} // namespace quant::nvvm

#endif // QUANT_LOWERING_TARGET_SM90_SIMT_SIMTBUILDER_H
