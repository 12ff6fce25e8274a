//===- repack.h - tensors that are turned when they are loaded --*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Kernels read the codes of a weight row by row, group by group, and one zero point in a byte beside each scale. GPTQ and AWQ
// store weights transposed, compressed-tensors packs zero points down the rows, and both may quantize columns in another order
// than they stand in: such tensors are turned once, into memory of their own, when a session takes the weights. All others are
// read where the file is mapped.
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_RUNTIME_ABI_REPACK_H
#define QUANT_RUNTIME_ABI_REPACK_H

#include "runtime/support/scheme.h"

#include <string>

namespace quant {

/// What is done to a stored tensor. Words hold eight numbers of four bits, or four of eight, the lowest bits first.
enum class Repack : uint8_t {
  None,
  WordsDown4,       ///< U8 [rows, columns] from I32 [ceil(rows / 8), columns]: zero points of compressed-tensors
  WordsDown8,       ///< the same of eight bits: from I32 [ceil(rows / 4), columns]
  Transposed,       ///< [rows, columns] from [columns, rows] of F16 or BF16: scales of GPTQ and AWQ
  GptqCodes,        ///< U4 [rows, columns] from I32 [columns / 8, rows]
  GptqZeros,        ///< U8 [rows, columns] from I32 [columns, rows / 8]
  GptqZerosLessOne, ///< the same of zero points that are stored less one, modulo 16 (GPTQ v1)
  AwqCodes,         ///< U4 [rows, columns] from I32 [columns, rows / 8], the eight in the order 0 2 4 6 1 3 5 7
  AwqZeros,         ///< U8 [rows, columns] from the same
  ColumnOrder       ///< I32 [1, columns] from I32 [columns], the group of each column: the columns, sorted by their groups
};
/// "gptq_codes", as in programs.
std::string_view name(Repack value);
Result<Repack> parseRepack(std::string_view text);

/// What the checkpoint holds of a tensor that kernels read as `dtype` [rows, columns]. Error: sizes that do not fill the words,
/// or another dtype than the repack gives.
Result<StoredShape> storedShape(Repack repack, DType dtype, int64_t rows, int64_t columns);

/// Turns `stored`, a tensor of storedShape(), into `out`, [rows, columns] of what the repack gives. Both are dense, at any
/// alignment.
/// @pre storedShape() is no error, the spans have the bytes of the two, and groups are not negative
void repackTensor(Repack repack, int64_t rows, int64_t columns, std::span<const std::byte> stored, std::span<std::byte> out);

/// Numbers below `order.size()`, each once: column i of `out` becomes column order[i] of `stored`. Both are dense rows of
/// elements of 4 (two in a byte, the first in its lower half), 8, 16 or 32 bits.
void orderColumns(std::span<const int32_t> order, int64_t rows, int bits, std::span<const std::byte> stored,
                  std::span<std::byte> out);

} // namespace quant

#endif // QUANT_RUNTIME_ABI_REPACK_H
