//===- DotMatmul.h - few rows of x, straight from the weight -----*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_LOWERING_TARGET_X86_DOTMATMUL_H
#define QUANT_LOWERING_TARGET_X86_DOTMATMUL_H

#include "lowering/target/x86/RangeMatmul.h"

namespace quant::host {

/// Dot products: weight rows are decoded in registers, once for all rows of x. With one row of x the limit is memory bandwidth.
/// Integers with x in int8 are multiplied as bytes where the unit can and blocks make whole vectors, otherwise as f32.
class DotMatmul : public RangeMatmul {
public:
  DotMatmul(HostBuilder &b, const WeightForm &form, const MatmulSchedule &sizes, const RowRange &range);

  /// All results of the range, for `tokens` rows of x at most.
  void emit(int64_t tokens);

  /// Whether products are those of bytes.
  static bool multipliesBytes(const WeightForm &form, bool hasInt8Inputs, const machine::X86Unit &unit);
  /// Columns up to which sums of products of integers are exact in f32: each of the 16 lanes is an f32, a product at most 127 *
  /// 128.
  static constexpr int64_t kExactColumns = (1 << 24) / (127 * 128) * 16;

  /// Bytes of scratch that emit() may need, for weights of so many columns.
  static int64_t scratchBytes(const MatmulSchedule &sizes, int64_t columns);

private:
  struct Rows;
  int64_t streams() const;
  Value resultOf(Value lanes, Value rowScale, Value token);
  void loopOverCodes(Value begin, Value end, Value step, llvm::function_ref<void(Value index)> body);
  llvm::SmallVector<Value> addSpans(const Rows &rows, Value inputs, int64_t tokens, Value begin, Value end,
                                    llvm::SmallVector<Value> sums);
  void storeNans(Value row, llvm::ArrayRef<Value> tokens);
  Value copyInputs(llvm::ArrayRef<Value> rows, Value copy);
  Value loadScaledInput(Value address, int64_t lanes);
  int64_t pieceBytes(int64_t columns);
  int64_t copyBytes(int64_t columns);
  Value copyOf(Value copy, int64_t tokens, Value column, int64_t columns, int64_t token);
  void copyPiece(Value source, Value target, int64_t columns);
  void copyCodes(Value source, Value target, int64_t columns);
  Value loadVector(Value address, int64_t bytes);
  Value asDwords(Value bytes);
  bool hasLaneScales(int64_t columns);
  int64_t pieceOf(int64_t columns);
  Value loadLanes(mlir::Type type, Value base, Value rowScale, Value column);
  Rows rowsFrom(Value first, Value stride, int64_t count);
  llvm::SmallVector<Value> dotSpan(const Rows &rows, Value input, int64_t tokens, Value column, int64_t columns,
                                   mlir::ValueRange acc);
  /// Where some columns of a row begin: its codes, the index of its first scale, the column.
  struct Place {
    Value source, rowScale, column;
  };
  llvm::SmallVector<Value> dotPiece(const Place &place, int64_t columns, bool laneScales, llvm::ArrayRef<Value> inputs,
                                    llvm::SmallVector<Value> acc);
  llvm::SmallVector<Value> spanProducts(Value source, int64_t columns, Value zero, llvm::ArrayRef<Value> inputs,
                                        llvm::SmallVector<Value> acc);

  int64_t codeOffset();
  llvm::SmallVector<Value> byteProducts(Value source, int64_t columns, llvm::ArrayRef<Value> inputs);
  /// Of sums, lane by lane.
  Type sumType() { return b.vec(kLanes, usesBytes && hasIntegerSums() ? b.i32() : b.f32()); }

  /// Codes that are decoded at once in another order; 0: none.
  int64_t shuffled;
  bool usesBytes;
  /// What decodeShuffled() has noted of the codes of the rows at hand so far, where there is hasDeferredNans().
  Value largestCode;
  /// Columns of whole dot spans.
  Value dotWhole;
};

} // namespace quant::host

#endif // QUANT_LOWERING_TARGET_X86_DOTMATMUL_H
