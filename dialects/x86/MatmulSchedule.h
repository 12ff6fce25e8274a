//===- MatmulSchedule.h - a matmul's schedule on x86 ---------------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The parameters of `#program.schedule<avx512, {...}>` (or `avx2`) on a matmul. Each left out is the unit's own.
//
//   tile = array<i64: 0, rows, 0>   weight rows of a tile, with all tokens and all of K
//   dot_tokens, dot_sums : i64      rows of x up to which dot products are computed; how many of those at a time
//   panel_columns : i64             columns of K that are decoded at a time
//   tile_tokens, tile_vectors : i64 a register tile of the panel product: rows of x, vectors of 16 weight rows
//   input_parts : i64               bf16 numbers that x is split into, for units that multiply those; 0: f32 products
//   call_rows : i64                 weight rows that it is split once for, of several tiles that follow each other
//   packed_columns : i64              columns of K that are decoded at a time for these products
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_DIALECTS_X86_MATMULSCHEDULE_H
#define QUANT_DIALECTS_X86_MATMULSCHEDULE_H

#include "dialects/kernel/KernelInterfaces.h"
#include "dialects/machine/X86.h"
#include "runtime/support/result.h"

#include "mlir/IR/Builders.h"

namespace quant::x86 {

/// How large the pieces are that a matmul is computed in.
struct MatmulSchedule {
  /// The unit's own.
  explicit MatmulSchedule(const machine::X86Unit &unit)
      : dotTokens(unit.dotTokens), dotSums(unit.dotSums), panelColumns(unit.panelColumns), tileTokens(unit.tileTokens),
        tileVectors(unit.tileVectors), inputParts(unit.inputParts), callRows(unit.callRows), packedColumns(unit.packedColumns) {}

  /// Weight rows of a tile at most.
  int64_t rows = kDefaultTileRows;
  /// Powers of two.
  int64_t dotTokens, dotSums;
  int64_t panelColumns;
  /// A multiple of 3, and vectors.
  int64_t tileTokens, tileVectors;
  /// 0 to 3.
  int64_t inputParts;
  int64_t callRows, packedColumns;

  bool operator==(const MatmulSchedule &) const = default;
};

mlir::DictionaryAttr getMatmulParameters(mlir::Builder &builder, const MatmulSchedule &schedule);

/// `base` with the parameters of a schedule. Errors: a parameter that there is not, of another type or out of its range.
Result<MatmulSchedule> readMatmulParameters(MatmulSchedule base, mlir::DictionaryAttr parameters);

} // namespace quant::x86

#endif // QUANT_DIALECTS_X86_MATMULSCHEDULE_H
