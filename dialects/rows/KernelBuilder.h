//===- KernelBuilder.h - arithmetic and control in few words ------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// What every builder of kernels shares: arith, math, vector and scf behind short names. Each operation takes integers and floats,
// scalars and vectors, and does what the type asks for; a constant takes the type of the other operand.
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_DIALECTS_ROWS_KERNELBUILDER_H
#define QUANT_DIALECTS_ROWS_KERNELBUILDER_H

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/IR/ImplicitLocOpBuilder.h"
#include "llvm/ADT/STLFunctionalExtras.h"

namespace quant::rows {

/// Emits at the insertion point. Sizes and indices are of one type, which the target chooses.
class KernelBuilder : public mlir::ImplicitLocOpBuilder {
public:
  using Type = mlir::Type;
  using Value = mlir::Value;
  using ValueRange = mlir::ValueRange;
  using ImplicitLocOpBuilder::ImplicitLocOpBuilder;
  virtual ~KernelBuilder() = default;

  //===--- Types and constants --------------------------------------------===//

  /// The type of sizes and indices: i32, i64 or index.
  virtual Type sizeType() = 0;
  Type i8() { return getI8Type(); }
  Type i32() { return getI32Type(); }
  Type f32() { return getF32Type(); }
  /// `type` with `lanes` elements: a scalar if that is one, otherwise a vector.
  static Type lanesOf(Type type, int64_t lanes);
  /// `type` with other elements, as many as it has.
  static Type withElement(Type type, Type element);
  /// Elements of a type: 1 for a scalar.
  static int64_t laneCount(Type type);
  /// A scalar, or a vector with the same number in each element.
  Value constant(Type type, double value);
  /// The same of an integer type; bits that it has no place for are cut off.
  Value integer(Type type, int64_t value);
  Value size(int64_t value) { return integer(sizeType(), value); }
  Value int32(int64_t value) { return integer(i32(), value); }
  Value number(double value) { return constant(f32(), value); }
  Value number(double value, int64_t lanes) { return constant(lanesOf(f32(), lanes), value); }

  //===--- Arithmetic -----------------------------------------------------===//

  Value add(Value a, Value b);
  Value sub(Value a, Value b);
  Value mul(Value a, Value b);
  /// Integers are unsigned; floats are rounded to nearest.
  Value div(Value a, Value b);
  /// Of unsigned integers.
  Value rem(Value a, Value b);
  /// Integers are signed; of floats the other one where one is NaN.
  Value min(Value a, Value b);
  Value max(Value a, Value b);
  Value neg(Value a);
  virtual Value abs(Value a);
  Value bitAnd(Value a, Value b);
  Value bitOr(Value a, Value b);
  Value bitXor(Value a, Value b);
  Value shiftLeft(Value a, Value b);
  /// Zeros come in.
  Value shiftRight(Value a, Value b);

  /// Integers with a constant; those that change nothing emit nothing.
  Value add(Value a, int64_t b) { return b == 0 ? a : add(a, integer(a.getType(), b)); }
  Value sub(Value a, int64_t b) { return b == 0 ? a : sub(a, integer(a.getType(), b)); }
  Value mul(Value a, int64_t b) { return b == 1 ? a : mul(a, integer(a.getType(), b)); }
  Value div(Value a, int64_t b) { return b == 1 ? a : div(a, integer(a.getType(), b)); }
  Value rem(Value a, int64_t b) { return rem(a, integer(a.getType(), b)); }
  Value min(Value a, int64_t b) { return min(a, integer(a.getType(), b)); }
  Value bitAnd(Value a, int64_t b) { return bitAnd(a, integer(a.getType(), b)); }
  Value shiftLeft(Value a, int64_t b) { return shiftLeft(a, integer(a.getType(), b)); }
  Value shiftRight(Value a, int64_t b) { return shiftRight(a, integer(a.getType(), b)); }

  virtual Value fma(Value a, Value b, Value c);
  virtual Value sqrt(Value a);
  virtual Value exp(Value a);
  /// To the nearest whole number, the even one of two.
  virtual Value roundEven(Value a);

  //===--- Choice ---------------------------------------------------------===//

  /// Integers are signed; a comparison with NaN is false.
  Value less(Value a, Value b);
  Value greater(Value a, Value b) { return less(b, a); }
  Value equal(Value a, Value b);
  Value less(Value a, int64_t b) { return less(a, integer(a.getType(), b)); }
  Value equal(Value a, int64_t b) { return equal(a, integer(a.getType(), b)); }
  Value compare(mlir::arith::CmpIPredicate predicate, Value a, Value b);
  Value compare(mlir::arith::CmpIPredicate predicate, Value a, int64_t b) {
    return compare(predicate, a, integer(a.getType(), b));
  }
  Value isNan(Value a);
  Value select(Value condition, Value then, Value otherwise);

  //===--- Conversion and lanes -------------------------------------------===//

  /// The same bits as another type, of the same number of lanes.
  Value bitcast(Type element, Value a);
  /// Between integers, between floats, from a signed integer to a float, or from a float that is one of 32 bits.
  Value convert(Type element, Value a);
  Value zeroExtend(Type element, Value a);
  /// Each element of `value` next to itself as often as it takes to be `lanes` elements.
  Value spread(Value value, int64_t lanes);
  /// Element `lane` of a vector.
  Value extract(Value vector, int64_t lane);
  /// Elements [first, first + count) of a vector.
  Value extract(Value vector, int64_t first, int64_t count);
  /// Scalars, or vectors of one length, one after another.
  Value pack(mlir::ArrayRef<Value> parts);

  //===--- Control --------------------------------------------------------===//

  using Body = llvm::function_ref<void(Value index)>;
  using Fold = llvm::function_ref<llvm::SmallVector<Value>(Value index, ValueRange carried)>;
  /// for (index = begin; index < end; index += step), signed.
  void loop(Value begin, Value end, int64_t step, Body body);
  void loop(Value begin, Value end, Value step, Body body);
  /// A loop that carries values; returns their last ones.
  llvm::SmallVector<Value> loop(Value begin, Value end, int64_t step, ValueRange init, Fold body);
  llvm::SmallVector<Value> loop(Value begin, Value end, Value step, ValueRange init, Fold body);
  void ifThen(Value condition, llvm::function_ref<void()> then, llvm::function_ref<void()> otherwise = nullptr);
};

} // namespace quant::rows

#endif // QUANT_DIALECTS_ROWS_KERNELBUILDER_H
