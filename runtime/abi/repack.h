//===- repack.h - tensors that are turned when they are loaded --*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Kernels read the codes of a weight row by row, and one zero point in a byte beside each scale. GPTQ and AWQ store weights
// transposed and compressed-tensors packs zero points down the rows: such tensors are turned once, into memory of their own, when
// a session takes the weights. All others are read where the file is mapped.
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
  Nvfp4Scales       ///< F32 [rows, columns] from F8_E4M3 of that shape, divided by the weight's global scale
};
/// "gptq_codes", as in programs.
std::string_view name(Repack value);
Result<Repack> parseRepack(std::string_view text);

/// What the checkpoint holds of a tensor that kernels read as `dtype` [rows, columns]. Error: sizes that do not fill the words,
/// or another dtype than the repack gives.
Result<StoredShape> storedShape(Repack repack, DType dtype, int64_t rows, int64_t columns);

/// The tensor that the repack of one of that name reads besides: "X.weight_global_scale", F32 of one element, for the scales
/// "X.weight_scale" of NVFP4; "" where there is none.
std::string secondTensor(Repack repack, std::string_view name);

/// Turns `stored`, a tensor of storedShape(), into `out`, [rows, columns] of what the repack gives. Both are dense, at any
/// alignment. `second` is the value of secondTensor().
/// @pre storedShape() is no error, and the spans have the bytes of the two
void repackTensor(Repack repack, int64_t rows, int64_t columns, std::span<const std::byte> stored, std::span<std::byte> out,
                  float second = 1);

} // namespace quant

#endif // QUANT_RUNTIME_ABI_REPACK_H
