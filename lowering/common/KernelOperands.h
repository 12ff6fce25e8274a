//===- KernelOperands.h - where a kernel's operands lie -----------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// From the tensors of a kernel's body back through its views (slices, casts, assemble, concat) to addresses.
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_LOWERING_COMMON_KERNELOPERANDS_H
#define QUANT_LOWERING_COMMON_KERNELOPERANDS_H

#include "dialects/qblock/QBlock.h"
#include "dialects/rows/RowBuilder.h"
#include "dialects/rows/RowOps.h"
#include "runtime/support/result.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"

namespace quant {

/// A type as IR prints it.
std::string textOf(mlir::Type type);

/// The operands of one kernel while its new body is written. Errors of all: a value that is no view of an argument.
class KernelOperands {
public:
  /// `kernel` is the function in tensor form and `op` what it computes; `addresses` are those of its arguments, then of its
  /// results; `tokens`, `outputs` and `sequences` are the call's. `sequences` may be left out.
  KernelOperands(mlir::func::FuncOp kernel, mlir::Operation *op, mlir::ArrayRef<mlir::Value> addresses, mlir::Value tokens,
                 mlir::Value outputs, mlir::Value sequences = {});

  mlir::Value tokens() const { return tokenCount; }
  mlir::Value sequences() const { return sequenceCount; }
  /// The run-time size that the kernel's rows are counted by, tokens or outputs.
  mlir::Value rowCount() const;

  Result<mlir::Value> address(mlir::Value value) const;
  /// Of an operand, or of a result of the op.
  Result<rows::Rows> rows(mlir::Value tensor) const;
  /// The same of a block-scaled one.
  Result<rows::Quantized> quantized(mlir::Value tensor) const;
  /// Whether rows() or quantized() knows a value that is one of theirs; others pass.
  Result<void> check(mlir::Value value) const;
  /// A weight whose parts are addresses; of pointer tables if it is grouped.
  Result<qblock::Weight> weight(mlir::Value weight) const;

  /// The kernel's result `index`.
  rows::Rows resultRows(unsigned index) const;

private:
  mlir::func::FuncOp kernel;
  llvm::DenseMap<mlir::Value, mlir::Value> known;
  /// Of a block-scaled result, the kernel's result that holds its codes.
  llvm::DenseMap<mlir::Value, unsigned> quantizedResults;
  llvm::SmallVector<mlir::Value> results;
  mlir::Value tokenCount, outputCount, sequenceCount;
};

} // namespace quant

#endif // QUANT_LOWERING_COMMON_KERNELOPERANDS_H
