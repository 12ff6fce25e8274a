//===- RowPrograms.h - words that row programs share --------------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_DIALECTS_DEEPSEEK_ROWPROGRAMS_H
#define QUANT_DIALECTS_DEEPSEEK_ROWPROGRAMS_H

#include "dialects/rows/RowBuilder.h"

namespace quant::deepseek {

/// Rotates the pairs of a row, (2j, 2j + 1) where `interleaved`, else (j, j + R/2), by a row of the rope table: R/2 cosines, then
/// as many sines.
void rotateRow(rows::RowBuilder &b, const rows::Rows &x, const rows::Rows &table, bool interleaved, const rows::Rows &target);

} // namespace quant::deepseek

#endif // QUANT_DIALECTS_DEEPSEEK_ROWPROGRAMS_H
