//===- RowPrograms.h - words that row programs share --------------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_DIALECTS_DEEPSEEK_ROWPROGRAMS_H
#define QUANT_DIALECTS_DEEPSEEK_ROWPROGRAMS_H

#include "dialects/rows/RowBuilder.h"
#include "runtime/abi/kernel_abi.h"

namespace quant::deepseek {

/// Rows of a page of a cache.
inline constexpr int64_t kPageRows = abi::kPageRows;

/// Rotates the pairs of a row, (2j, 2j + 1) where `interleaved`, else (j, j + R/2), by a row of the rope table: R/2 cosines, then
/// as many sines.
void rotateRow(rows::RowBuilder &b, const rows::Rows &x, const rows::Rows &table, bool interleaved, const rows::Rows &target);

/// The row of a cache that holds a sequence's `position`; `pages` are the operand of that name of mla_attention.
rows::Num cacheRow(rows::RowBuilder &b, const rows::Rows &pages, const rows::Num &sequence, const rows::Num &position);

} // namespace quant::deepseek

#endif // QUANT_DIALECTS_DEEPSEEK_ROWPROGRAMS_H
