//===- RowMapping.h - row programs on the lanes of vectors --------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// One thread computes a row, 16 columns at a time. What is left of the columns is one narrower vector, or a scalar.
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_LOWERING_TARGET_X86_ROWMAPPING_H
#define QUANT_LOWERING_TARGET_X86_ROWMAPPING_H

#include "lowering/target/x86/Kernels.h"

namespace quant::host {

/// Rows are addresses.
class HostRows final : public rows::RowBuilder {
public:
  using Num = rows::Num;
  using Column = rows::Column;
  using Group = rows::Group;

  HostRows(KernelContext &context, Value row) : RowBuilder(context.b), context(context), host(context.b), rowIndex(row) {}

  Num row() override { return num(rowIndex); }
  Num position(Value) override { return num(context.operands.position()); }
  Num tokens(Value) override { return num(context.operands.tokens()); }
  Num outputs(Value) override { return num(context.operands.outputs()); }

  Rows rows(Value tensor) override { return *context.operands.rows(tensor); }
  rows::Quantized quantized(Value tensor) override { return *context.operands.quantized(tensor); }

  using RowBuilder::forEach, RowBuilder::scratch;
  Num load(const Rows &rows, const Column &column) override;
  void store(const Rows &rows, const Column &column, const Num &value) override;
  Num at(const Rows &rows, const Num &column) override;
  void put(const Rows &rows, const Num &column, const Num &value) override;
  Num loadScale(const rows::Quantized &rows, const Group &group) override;
  void storeScale(const rows::Quantized &rows, const Group &group, const Num &scale) override;

  void forColumns(int64_t count, Body<Column> body) override { forColumns({size(0), size(0), count}, body); }
  Num sum(int64_t count, Fold fold) override;
  Num max(int64_t count, const Num &least, Fold fold) override { return max({size(0), size(0), count}, least, fold); }
  void forGroups(int64_t count, int64_t size, Body<const Group &> body) override;
  void forColumns(const Group &group, Body<Column> body) override;
  Num max(const Group &group, const Num &least, Fold fold) override;
  void forEach(const Num &begin, const Num &end, Body<Num> body) override;
  void forConstants(llvm::ArrayRef<double> values, llvm::function_ref<void(Column, Num)> body) override;
  Rows scratch(int64_t count, mlir::Type element) override;

private:
  KernelContext &context;
  HostBuilder &host;
  Value rowIndex;

  Value address(const Rows &rows, const Num &column);
  Num reduce(const Group &group, const Num &init, Fold fold, llvm::function_ref<Value(Value)> combine,
             llvm::function_ref<Value(Value, Value)> join);
};

} // namespace quant::host

#endif // QUANT_LOWERING_TARGET_X86_ROWMAPPING_H
