//===- KernelOperands.h - where a kernel's operands lie -----------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// From the tensors of a kernel's body back through its views (slices, assemble, concat) to addresses.
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_LOWERING_TARGET_X86_KERNELOPERANDS_H
#define QUANT_LOWERING_TARGET_X86_KERNELOPERANDS_H

#include "dialects/qblock/QBlock.h"
#include "lowering/target/x86/HostBuilder.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"

namespace quant::host {

/// Rows of a tensor: the last dimension is the columns, all others count rows.
struct Rows {
  Value base;
  Type element;
  int64_t columns;
  int64_t stride;     // elements from row to row
  int64_t offset;     // elements from a row's start to the first column
  int64_t perToken;   // rows for each unit of the dynamic leading dimension

  /// The address of row `row`.
  Value row(HostBuilder &b, Value row) const { return b.at(b.at(base, offset, bytesOf(element)), b.mul(row, stride), bytesOf(element)); }
  /// `lanes` columns from `column` on, as f32.
  Value load(HostBuilder &b, Value rowAddress, Value column, int64_t lanes) const {
    return b.loadAsF32(element, b.at(rowAddress, column, bytesOf(element)), lanes);
  }
};

/// A weight whose parts are addresses; of pointer tables if it is grouped.
using qblock::Weight, qblock::WeightPart;

/// The error for an operand whose address KernelOperands cannot tell.
mlir::LogicalResult unsupportedOperand(mlir::Operation *op);

/// The operands of one kernel while its new body is written.
class KernelOperands {
public:
  /// Loads all addresses at the builder's place. `kernel` is the function in tensor form, `table` the operand table.
  KernelOperands(HostBuilder &b, mlir::func::FuncOp kernel, Value table, Value dims);

  Value tokens() const { return dims[0]; }
  Value position() const { return dims[1]; }
  Value outputs() const { return dims[2]; }

  /// The address of a value that is an argument itself.
  Value address(Value argument) const;
  /// The address of the kernel's result `index`.
  Value resultAddress(unsigned index) const { return results[index]; }
  mlir::FailureOr<Rows> rows(Value tensor) const;
  Rows resultRows(unsigned index) const;
  /// The run-time number of rows of the kernel's result 0: tokens or outputs.
  Value resultRowCount() const;
  mlir::FailureOr<Weight> weight(Value weight) const;

private:
  mlir::func::FuncOp kernel;
  llvm::DenseMap<Value, Value> addresses;
  llvm::SmallVector<Value> results, dims;
};

} // namespace quant::host

#endif // QUANT_LOWERING_TARGET_X86_KERNELOPERANDS_H
