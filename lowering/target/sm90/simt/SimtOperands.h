//===- SimtOperands.h - where a kernel's operands lie --------------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// From the tensors of a kernel's body back through its views (slices, casts, assemble, concat) to addresses in global memory.
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_LOWERING_TARGET_SM90_SIMT_SIMTOPERANDS_H
#define QUANT_LOWERING_TARGET_SM90_SIMT_SIMTOPERANDS_H

#include "dialects/qblock/QBlock.h"
#include "lowering/target/sm90/simt/SimtKernel.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"

namespace quant::nvvm {

/// Rows of a tensor: the last dimension is the columns, all others count rows.
struct Rows {
  mlir::Value base;
  mlir::Type element;
  int64_t columns = 0;
  /// Elements from row to row, and from a row's start to the first column.
  int64_t stride = 0, offset = 0;
  /// Rows for each unit of the dynamic leading dimension.
  int64_t perToken = 1;

  /// The address of a row's first column.
  mlir::Value row(SimtBuilder &b, mlir::Value index) const {
    return b.at(b.rowAt(base, element, index, stride), element, offset);
  }
  /// Whether four neighbouring columns, from a multiple of four on, can be loaded at once.
  bool hasQuads() const { return columns % kQuad == 0 && stride % kQuad == 0 && offset % kQuad == 0; }
  /// The columns [column, column + 4) of a row as f32, zero beyond the last.
  Quad load(SimtBuilder &b, mlir::Value row, mlir::Value column) const;
  /// Stores those of four columns that there are.
  void store(SimtBuilder &b, mlir::Value row, mlir::Value column, mlir::ArrayRef<mlir::Value> values) const;
};

/// A quantized tensor: codes, and a scale for each row and 128 columns.
struct Quantized {
  Rows codes;
  mlir::Value scales;
  mlir::Type scaleType;
  int64_t groups = 0;
  bool kMajor = false;
  /// Rows there are, for scales that lie group by group.
  mlir::Value rowCount;

  mlir::Value scaleAddress(SimtBuilder &b, mlir::Value row, mlir::Value group) const;
};

/// Of a part the addresses; of pointer tables if the weight is grouped.
using qblock::WeightPart;

/// A weight whose parts are addresses.
struct Weight : qblock::Weight {
  /// The part that holds a row, chosen at run time, with the row counted from its first.
  std::pair<WeightPart, mlir::Value> partOf(SimtBuilder &b, mlir::Value row) const;
  /// A row of a part, decoded but not scaled.
  Rows rowsOf(const WeightPart &part) const;
  /// The scale of a part's row and column; null where the weight has none.
  mlir::Value scaleAt(SimtBuilder &b, const WeightPart &part, mlir::Value row, mlir::Value column) const;
};

/// The operands of one kernel: arguments that are no sizes, then results.
class SimtOperands {
public:
  /// `sizes` are tokens, position and outputs.
  SimtOperands(SimtBuilder &b, mlir::func::FuncOp kernel, mlir::ArrayRef<mlir::Value> pointers,
               mlir::ArrayRef<mlir::Value> sizes);

  mlir::Value tokens() const { return sizes[0]; }
  mlir::Value position() const { return sizes[1]; }
  mlir::Value outputs() const { return sizes[2]; }
  /// The run-time size that the kernel's rows are counted by, tokens or outputs.
  mlir::Value rowCount() const;

  /// Errors of all: a value that is no view of an argument that these kernels know.
  Result<mlir::Value> address(mlir::Value value) const;
  Result<Rows> rows(mlir::Value tensor) const;
  Result<Quantized> quantized(mlir::Value tensor) const;
  Result<Weight> weight(mlir::Value weight) const;

  Rows resultRows(unsigned index) const;
  /// The results `index` (codes) and `index + 1` (scales) of a kernel that quantizes to `type`.
  Result<Quantized> resultQuantized(unsigned index, qblock::BlockTensorType type) const;

private:
  SimtBuilder &b;
  mlir::func::FuncOp kernel;
  llvm::DenseMap<mlir::Value, mlir::Value> addresses;
  llvm::SmallVector<mlir::Value> results, sizes;

  Result<Quantized> quantized(Rows codes, mlir::Value scales, qblock::BlockTensorType type) const;
};

} // namespace quant::nvvm

#endif // QUANT_LOWERING_TARGET_SM90_SIMT_SIMTOPERANDS_H
