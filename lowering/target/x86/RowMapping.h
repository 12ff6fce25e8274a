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

#include "lowering/common/AddressRows.h"
#include "lowering/target/x86/Kernels.h"

namespace quant::host {

class HostRows final : public AddressRows {
public:
  HostRows(KernelContext &context, Value row)
      : AddressRows(context.b, &context.operands, row), context(context), host(context.b) {}

  Num load(const Rows &rows, const Column &column) override;
  void store(const Rows &rows, const Column &column, const Num &value) override;

  using RowBuilder::forColumns, RowBuilder::max, RowBuilder::scratch;
  void forColumns(const Group &group, Body<Column> body) override;
  Num sum(int64_t count, Fold fold) override;
  Num max(const Group &group, const Num &least, Fold fold) override;
  void forConstants(llvm::ArrayRef<double> values, llvm::function_ref<void(Column, Num)> body) override;
  Rows scratch(int64_t count, Type element) override;

private:
  KernelContext &context;
  HostBuilder &host;

  Num reduce(const Group &group, const Num &init, Fold fold, llvm::function_ref<Value(Value)> combine,
             llvm::function_ref<Value(Value, Value)> join);
};

} // namespace quant::host

#endif // QUANT_LOWERING_TARGET_X86_ROWMAPPING_H
