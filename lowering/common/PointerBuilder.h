//===- PointerBuilder.h - memory by address -----------------------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_LOWERING_COMMON_POINTERBUILDER_H
#define QUANT_LOWERING_COMMON_POINTERBUILDER_H

#include "dialects/rows/RowBuilder.h"

namespace quant {

/// Bytes of one element of a byte-sized or larger type.
inline int64_t bytesOf(mlir::Type element) { return (element.getIntOrFloatBitWidth() + 7) / 8; }

/// KernelBuilder with loads and stores through !llvm.ptr. Floats are f32 in registers, whatever they are in memory.
class PointerBuilder : public rows::KernelBuilder {
public:
  using KernelBuilder::KernelBuilder;

  Type ptr(unsigned addressSpace = 0);
  /// pointer + index elements.
  Value at(Value pointer, Type element, Value index);
  Value at(Value pointer, Type element, int64_t index);
  /// The address of a row's first column; of a list, of its only one. Rows are counted in 64 bits.
  Value rowAddress(const rows::Rows &rows, Value row);

  /// Without an alignment: that of one element.
  Value load(Type type, Value pointer, unsigned alignment = 0);
  void store(Value value, Value pointer, unsigned alignment = 0);

  /// `lanes` neighbouring elements of a storage type as f32, a scalar if that is one.
  virtual Value loadLanes(Type element, Value pointer, int64_t lanes);
  /// Rounds f32 to the element's type (f8E4M3FN saturates) and stores it.
  virtual void storeLanes(Type element, Value pointer, Value values);
  /// One element: of i32, which counts something, as a size; of any other, E8M0 too, as f32.
  Value loadNumber(Type element, Value pointer);
  void storeNumber(Type element, Value pointer, Value value);
};

} // namespace quant

#endif // QUANT_LOWERING_COMMON_POINTERBUILDER_H
