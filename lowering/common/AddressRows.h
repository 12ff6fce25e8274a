//===- AddressRows.h - row programs on memory by address ----------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_LOWERING_COMMON_ADDRESSROWS_H
#define QUANT_LOWERING_COMMON_ADDRESSROWS_H

#include "lowering/common/KernelOperands.h"
#include "lowering/common/PointerBuilder.h"

namespace quant {

/// What the mappings of all targets share: an op's operands, and single elements of them.
class AddressRows : public rows::RowBuilder {
public:
  using Type = mlir::Type;
  using Value = mlir::Value;
  using Num = rows::Num;
  using Rows = rows::Rows;
  using Column = rows::Column;
  using Group = rows::Group;
  using Quantized = rows::Quantized;

  /// `operands` may be null where the program names none of its op's.
  AddressRows(PointerBuilder &memory, const KernelOperands *operands, Value row)
      : RowBuilder(memory), operands(operands), rowIndex(row), memory(memory) {}

  Num row() override { return num(rowIndex); }
  Num tokens(Value) override { return num(operands->tokens()); }
  Rows rows(Value tensor) override { return *operands->rows(tensor); }
  Quantized quantized(Value tensor) override { return *operands->quantized(tensor); }

  Num at(const Rows &rows, const Num &column) override { return num(memory.loadNumber(rows.element, address(rows, column))); }
  void put(const Rows &rows, const Num &column, const Num &value) override {
    memory.storeNumber(rows.element, address(rows, column), value.value);
  }

protected:
  const KernelOperands *operands;
  Value rowIndex;

  Value rowAddress(const Rows &rows) { return memory.rowAddress(rows, rowOf(rows).value); }
  Value address(const Rows &rows, const Num &column) { return memory.at(rowAddress(rows), rows.element, column.value); }

private:
  PointerBuilder &memory;
};

} // namespace quant

#endif // QUANT_LOWERING_COMMON_ADDRESSROWS_H
