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
#include "lowering/common/PointerBuilder.h"

#include "mlir/IR/Builders.h"
#include "mlir/IR/BuiltinTypes.h"
#include "mlir/IR/Value.h"

namespace quant::host {

using mlir::Location;
using mlir::OpBuilder;
using mlir::Type;
using mlir::Value;
using mlir::VectorType;

/// Lanes of the vectors that kernels compute with: 512 bits of f32; LLVM splits them where registers are narrower.
inline constexpr int64_t kLanes = 16;

/// PointerBuilder with i64 sizes and vectors.
class HostBuilder : public PointerBuilder {
public:
  HostBuilder(const OpBuilder &builder, Location loc, const machine::X86Unit &target)
      : PointerBuilder(loc, builder), target(target) {}

  const machine::X86Unit &target;

  //===--- Types and vectors ---===//
  Type sizeType() override { return getI64Type(); }
  Type i64() { return getI64Type(); }
  VectorType vec(int64_t lanes, Type element) { return VectorType::get(lanes, element); }
  VectorType vecF32(int64_t lanes = kLanes) { return vec(lanes, f32()); }
  /// The same float in every lane.
  Value splatF32(int64_t lanes, double value) { return constant(vecF32(lanes), value); }
  Value splat(Value scalar, int64_t lanes);
  /// For each of `lanes` whether it is one of the first `count` (i64).
  Value firstLanes(Value count, int64_t lanes = kLanes);
  /// Sum, or largest, of a vector's lanes.
  Value sumLanes(Value vector);
  Value maxLanes(Value vector);

  //===--- Memory ---===//
  using PointerBuilder::at;
  /// `base` plus `index` elements of `bytes` bytes.
  Value at(Value base, Value index, int64_t bytes);
  Value at(Value base, int64_t index, int64_t bytes) { return index == 0 ? base : at(base, size(index), bytes); }
  /// `locality` 3: to the first-level cache, 2: to the second.
  void prefetch(Value address, int32_t locality = 3);
  /// By decode() (Decode.cpp).
  Value loadLanes(Type element, Value address, int64_t lanes) override;

  //===--- Control ---===//
  /// Goes over `count` columns in steps of kLanes, the last step being as wide as what is left.
  void chunks(int64_t count, llvm::function_ref<void(Value offset, int64_t lanes)> body);
};

} // namespace quant::host

#endif // QUANT_LOWERING_TARGET_X86_HOSTBUILDER_H
