//===- SimtWeight.h - weights as kernels without tensor cores read them -*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_LOWERING_TARGET_SM90_SIMT_SIMTWEIGHT_H
#define QUANT_LOWERING_TARGET_SM90_SIMT_SIMTWEIGHT_H

#include "lowering/common/KernelOperands.h"
#include "lowering/target/sm90/simt/SimtBuilder.h"

namespace quant::nvvm {

using qblock::WeightPart;

/// A weight whose parts are addresses; of pointer tables if it is grouped.
struct SimtWeight : qblock::Weight {
  /// Errors: as KernelOperands::weight, a scheme that the kernels do not know.
  static Result<SimtWeight> of(const KernelOperands &operands, mlir::Value weight);

  /// The part that holds a row, chosen at run time, with the row counted from its first.
  std::pair<WeightPart, mlir::Value> partOf(SimtBuilder &b, mlir::Value row) const;
  /// The address of a part's row.
  mlir::Value rowAddress(SimtBuilder &b, const WeightPart &part, mlir::Value row) const;
  /// Neighbouring columns of a part's row, which begins at `rowAddress`, as f32: the zero point is taken off, the scale is not
  /// applied. Zeros beyond the last column.
  mlir::Value loadColumns(SimtBuilder &b, const WeightPart &part, mlir::Value row, mlir::Value rowAddress,
                          const rows::Column &column) const;
  /// The scale of a part's row and column; null where the weight has none.
  mlir::Value scaleAt(SimtBuilder &b, const WeightPart &part, mlir::Value row, mlir::Value column) const;

private:
  /// The index of the scale, and of the zero point, of a row and column.
  mlir::Value scaleIndex(SimtBuilder &b, mlir::Value row, mlir::Value column) const;
  /// Floats of whole bytes, which the builder loads itself.
  bool isWholeFloat() const { return mlir::isa<mlir::FloatType>(storage) && storage.getIntOrFloatBitWidth() >= 8; }
  mlir::Value loadCodes(SimtBuilder &b, mlir::Value rowAddress, mlir::Value column) const;
};

} // namespace quant::nvvm

#endif // QUANT_LOWERING_TARGET_SM90_SIMT_SIMTWEIGHT_H
