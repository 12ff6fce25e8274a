//===- QBlock.h - block-scaled tensors ----------------------------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_DIALECTS_QBLOCK_QBLOCK_H
#define QUANT_DIALECTS_QBLOCK_QBLOCK_H

#include "dialects/kernel/KernelInterfaces.h"
#include "dialects/rows/RowOps.h"
#include "runtime/abi/kernel_abi.h"

#include "mlir/Bytecode/BytecodeOpInterface.h"
#include "mlir/Dialect/Utils/StaticValueUtils.h"
#include "mlir/IR/BuiltinTypes.h"
#include "mlir/IR/Dialect.h"
#include "mlir/IR/OpDefinition.h"
#include "mlir/IR/OpImplementation.h"
#include "mlir/Interfaces/DestinationStyleOpInterface.h"
#include "mlir/Interfaces/InferTypeOpInterface.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"
#include "mlir/Interfaces/TilingInterface.h"

#include "dialects/qblock/QBlockDialect.h.inc"
#include "dialects/qblock/QBlockEnums.h.inc"

#define GET_ATTRDEF_CLASSES
#include "dialects/qblock/QBlockAttrs.h.inc"

#define GET_TYPEDEF_CLASSES
#include "dialects/qblock/QBlockTypes.h.inc"

#define GET_OP_CLASSES
#include "dialects/qblock/QBlockOps.h.inc"

namespace quant::qblock {

/// Whether a tensor of scales lies group by group; each group has room for a multiple of abi::kKMajorRowMultiple rows.
bool isKMajor(mlir::Type scales);

/// The shape of a matrix operand in either form, floating point or block-scaled.
llvm::ArrayRef<int64_t> getMatrixShape(mlir::Type type);

/// Rows [firstRow, firstRow + rows) of a weight: one tensor of codes or values. Scales, zero points and the global scale are null
/// where there are none.
struct WeightPart {
  mlir::Value data, scale, zero, global;
  int64_t firstRow = 0, rows = 0;
};

/// A weight, N x K or groups x N x K, whose rows stand in one or more tensors.
struct Weight {
  llvm::SmallVector<WeightPart, 2> parts;
  mlir::Type storage, scaleType, zeroType; ///< the last two may be null
  int64_t zeroConstant = 0;                ///< the zero point of all blocks, where there is no tensor of them
  int64_t groups = 0;                      ///< 0: not grouped
  int64_t rows = 0, columns = 0;
  int64_t blockRows = 1, blockColumns = 1; ///< extents of a scale block
  bool hasGlobalScale = false;             ///< scales are divided by one of the whole part
  int64_t scaleColumns() const { return (columns + blockColumns - 1) / blockColumns; }
};

/// What a weight is made of, back through `concat` and `assemble`.
Weight describeWeight(mlir::Value weight);

} // namespace quant::qblock

#endif // QUANT_DIALECTS_QBLOCK_QBLOCK_H
