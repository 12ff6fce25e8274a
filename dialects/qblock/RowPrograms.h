//===- RowPrograms.h - quantizing a row ---------------------------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The row programs of qblock, as words for those of other dialects.
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_DIALECTS_QBLOCK_ROWPROGRAMS_H
#define QUANT_DIALECTS_QBLOCK_ROWPROGRAMS_H

#include "dialects/rows/RowBuilder.h"

namespace quant::qblock {

/// The value of a row at some columns.
using RowValue = llvm::function_ref<rows::Num(rows::Column)>;

/// What `qblock.quantize` does: for each group `scale = max(|value|, amaxFloor) / 448`, rounded up to a power of two where asked,
/// and codes `value / scale` in f8E4M3FN.
struct Quantization {
  rows::Quantized target;
  double amaxFloor = 0;
  bool powerOfTwo = false;
};

/// Stores a row's codes and scales.
void quantizeRow(rows::RowBuilder &b, const Quantization &quantization, RowValue value);
/// Stores a row in `target`, and its quantized form where asked.
void storeRow(rows::RowBuilder &b, const rows::Rows &target, const std::optional<Quantization> &quantization, RowValue value);
/// Stores value = scale * code.
void dequantizeRow(rows::RowBuilder &b, const rows::Quantized &source, const rows::Rows &target);

} // namespace quant::qblock

#endif // QUANT_DIALECTS_QBLOCK_ROWPROGRAMS_H
