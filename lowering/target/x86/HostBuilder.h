//===- HostBuilder.h - writing a kernel's loops in few words ------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Kernels compute on i64 sizes, f32 scalars and f32 vectors of at most 16 lanes, and reach memory by address.
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_LOWERING_TARGET_X86_HOSTBUILDER_H
#define QUANT_LOWERING_TARGET_X86_HOSTBUILDER_H

#include "dialects/machine/X86.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/BuiltinTypes.h"
#include "mlir/IR/Value.h"
#include "llvm/ADT/STLFunctionalExtras.h"

namespace quant::host {

using mlir::Location;
using mlir::OpBuilder;
using mlir::Type;
using mlir::Value;
using mlir::VectorType;

/// Lanes of the vectors that kernels compute with: 512 bits of f32; LLVM splits them where registers are narrower.
inline constexpr int64_t kLanes = 16;

/// An OpBuilder at a place, with the operations that kernels are made of.
class HostBuilder {
public:
  HostBuilder(OpBuilder &builder, Location loc, const machine::X86Unit &target) : builder(builder), loc(loc), target(target) {}

  OpBuilder &builder;
  Location loc;
  const machine::X86Unit &target;

  //===--- Types and constants ---===//
  Type i8() { return builder.getI8Type(); }
  Type i32() { return builder.getI32Type(); }
  Type i64() { return builder.getI64Type(); }
  Type f32() { return builder.getF32Type(); }
  Type ptr();
  VectorType vec(int64_t lanes, Type element) { return VectorType::get(lanes, element); }
  VectorType vecF32(int64_t lanes = kLanes) { return vec(lanes, f32()); }
  Value cst(int64_t value);
  Value cst32(int32_t value);
  Value cstF32(float value);
  /// The same integer or float in every lane.
  Value splatInt(VectorType type, int64_t value);
  Value splatF32(int64_t lanes, float value);
  Value splat(Value scalar, int64_t lanes);

  //===--- i64 arithmetic ---===//
  Value add(Value a, Value b);
  Value add(Value a, int64_t b) { return b == 0 ? a : add(a, cst(b)); }
  Value sub(Value a, Value b);
  Value mul(Value a, Value b);
  Value mul(Value a, int64_t b) { return b == 1 ? a : mul(a, cst(b)); }
  Value div(Value a, int64_t b);
  Value rem(Value a, int64_t b);
  Value min(Value a, Value b);
  Value max(Value a, Value b);
  Value min(Value a, int64_t b) { return min(a, cst(b)); }
  Value compare(mlir::arith::CmpIPredicate predicate, Value a, Value b);
  Value compare(mlir::arith::CmpIPredicate predicate, Value a, int64_t b) { return compare(predicate, a, cst(b)); }
  Value select(Value condition, Value a, Value b);

  //===--- f32 arithmetic, scalars and vectors alike ---===//
  Value addF(Value a, Value b);
  Value subF(Value a, Value b);
  Value mulF(Value a, Value b);
  Value divF(Value a, Value b);
  Value maxF(Value a, Value b);
  Value fma(Value a, Value b, Value c);
  Value sqrt(Value a);
  Value exp(Value a);
  Value compareF(mlir::arith::CmpFPredicate predicate, Value a, Value b);
  /// Sum, or largest, of a vector's lanes.
  Value sumLanes(Value vector);
  Value maxLanes(Value vector);

  //===--- Memory ---===//
  /// `base` plus `index` elements of `bytes` bytes.
  Value at(Value base, Value index, int64_t bytes);
  Value at(Value base, int64_t index, int64_t bytes) { return index == 0 ? base : at(base, cst(index), bytes); }
  /// Loads and stores assume no alignment beyond one element.
  Value load(Type type, Value address);
  void store(Value value, Value address);
  /// `locality` 3: to the first-level cache, 2: to the second.
  void prefetch(Value address, int32_t locality = 3);
  /// `lanes` elements of a storage type, as f32: f32, f16, bf16 (exactly).
  Value loadAsF32(Type element, Value address, int64_t lanes);
  /// One element as f32.
  Value loadScalarAsF32(Type element, Value address);
  /// One i32 as i64.
  Value loadIndex(Value address);

  //===--- Control ---===//
  using Body = llvm::function_ref<void(Value)>;
  using Fold = llvm::function_ref<llvm::SmallVector<Value>(Value, mlir::ValueRange)>;
  void loop(Value begin, Value end, int64_t step, Body body);
  /// A loop that carries values; returns their last ones.
  llvm::SmallVector<Value> loop(Value begin, Value end, int64_t step, llvm::ArrayRef<Value> init, Fold body);
  void ifThen(Value condition, llvm::function_ref<void()> then, llvm::function_ref<void()> otherwise = nullptr);
  /// Goes over `count` columns in steps of kLanes, the last step being as wide as what is left.
  void chunks(int64_t count, llvm::function_ref<void(Value offset, int64_t lanes)> body);
  /// The same with vectors carried per lane; `combine` reduces them at the end to one scalar.
  Value reduceChunks(int64_t count, Value init, llvm::function_ref<Value(Value offset, int64_t lanes, Value acc)> body,
                     llvm::function_ref<Value(Value vector)> combine, llvm::function_ref<Value(Value, Value)> join);
};

/// Bytes of one element of a byte-sized or larger type.
inline int64_t bytesOf(Type element) { return (element.getIntOrFloatBitWidth() + 7) / 8; }

} // namespace quant::host

#endif // QUANT_LOWERING_TARGET_X86_HOSTBUILDER_H
