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

#include "lowering/target/sm90/HopperBuilder.h"

#include "mlir/Dialect/Arith/IR/Arith.h"

namespace quant::nvvm {

inline constexpr int64_t kWarpLanes = 32;
/// Neighbouring columns that a lane handles together: 16 bytes of f32.
inline constexpr int64_t kQuad = 4;
/// Columns that a warp handles together, and columns of a per-token group.
inline constexpr int64_t kWarpColumns = kWarpLanes * kQuad;

using Quad = llvm::SmallVector<mlir::Value, kQuad>;

class SimtBuilder : public HopperBuilder {
public:
  using IntPredicate = mlir::arith::CmpIPredicate;
  using FloatPredicate = mlir::arith::CmpFPredicate;

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

  //===--- Integers -------------------------------------------------------===//

  Value constI64(int64_t value);
  Value minSigned(Value a, Value b);
  Value divideBy(Value a, int64_t b) { return divUnsigned(a, constI32(b)); }
  Value remainder(Value a, int64_t b);
  Value shiftLeft(Value a, int64_t bits);
  Value bitOr(Value a, Value b);
  Value logicalAnd(Value a, Value b);
  Value logicalOr(Value a, Value b);
  Value compare(IntPredicate predicate, Value a, Value b);
  Value less(Value a, Value b) { return compare(IntPredicate::slt, a, b); }
  Value less(Value a, int64_t b) { return less(a, constI32(b)); }

  //===--- Floats ---------------------------------------------------------===//

  Value constF32(double value);
  Value addF(Value a, Value b);
  Value subF(Value a, Value b);
  /// Rounded to nearest.
  Value divF(Value a, Value b);
  /// The other operand where one is NaN.
  Value maxF(Value a, Value b);
  Value absF(Value a);
  Value negF(Value a);
  Value sqrt(Value a);
  /// e^a within 2^-21, 0 and infinity out of range, NaN of NaN.
  Value exp(Value a);
  Value compare(FloatPredicate predicate, Value a, Value b);
  Value bitsOf(Value f32);
  Value f32OfBits(Value i32);
  Value reciprocal(Value a) { return divF(constF32(1.0), a); }

  //===--- Memory ---------------------------------------------------------===//

  /// pointer + index, in elements of a type; the index is i32 (signed) or i64.
  Value at(Value pointer, mlir::Type element, Value index);
  Value at(Value pointer, mlir::Type element, int64_t index);
  /// base + row * stride elements, in 64 bits.
  Value rowAt(Value base, mlir::Type element, Value row, int64_t stride);
  Value loadI32(Value pointer);
  Value loadPointer(Value pointer);
  void store(Value value, Value pointer);
  /// `count` neighbouring elements as f32; the address must be a multiple of their size together.
  llvm::SmallVector<Value> loadFloats(mlir::Type element, Value pointer, int64_t count);
  Value loadFloat(mlir::Type element, Value pointer) { return loadFloats(element, pointer, 1).front(); }
  /// Rounds f32 values to an element type (f32, bf16, f16, f8E4M3FN) and stores them; alignment as loadFloats.
  void storeFloats(mlir::Type element, Value pointer, mlir::ArrayRef<Value> values);
  /// One block scale (f32, f16, bf16, f8E8M0FNU) as f32.
  Value loadScale(mlir::Type element, Value pointer);
  /// Fresh shared memory of the block.
  Value allocateShared(int64_t bytes);

  //===--- Warps and blocks -----------------------------------------------===//

  /// The value of lane ^ mask. All lanes must be there.
  Value shuffleXor(Value value, int64_t mask);
  /// The value of a lane of the warp.
  Value shuffleFrom(Value value, Value lane);
  using Combine = mlir::function_ref<Value(Value, Value)>;
  /// The values of each `width` neighbouring lanes combined, in all of them.
  Value reduceWarp(Value value, Combine combine, int64_t width = kWarpLanes);
  Value sumWarp(Value value, int64_t width = kWarpLanes);
  Value maxWarp(Value value, int64_t width = kWarpLanes);
  /// The sum over the block, in all threads, which must all be there.
  Value sumBlock(Value value);

  //===--- Loops ----------------------------------------------------------===//

  using Body = mlir::function_ref<void(Value)>;
  /// for (index = begin; index < end; index += step)
  void loop(Value begin, Value end, int64_t step, Body body);
  llvm::SmallVector<Value> loop(Value begin, Value end, int64_t step, mlir::ValueRange init, LoopBody body);
  /// Deals the groups of 128 columns to the warps of the block. `body` gets the group and the lane's first column of four, which
  /// may lie beyond the last.
  void forGroups(int64_t columns, mlir::function_ref<void(Value group, Value column)> body);
  llvm::SmallVector<Value> forGroups(int64_t columns, mlir::ValueRange init,
                                     mlir::function_ref<llvm::SmallVector<Value>(Value, Value, mlir::ValueRange)> body);

private:
  int64_t nextShared = 0;

  Value intrinsic(mlir::Type result, mlir::StringRef name, mlir::ValueRange operands);
  Value decodePair(mlir::Type element, Value codes);
  llvm::SmallVector<Value> decodeBytes(mlir::Type element, Value pointer, int64_t count);
  Value encodePairE4M3(Value low, Value high);
};

} // namespace quant::nvvm

#endif // QUANT_LOWERING_TARGET_SM90_SIMT_SIMTBUILDER_H
