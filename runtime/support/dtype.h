//===- dtype.h - element types ----------------------------------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_RUNTIME_SUPPORT_DTYPE_H
#define QUANT_RUNTIME_SUPPORT_DTYPE_H

#include <cstdint>
#include <optional>
#include <string_view>

namespace quant {

/// Every element type the safetensors format knows (as of its version 0.8), and those that it has no name for: elements of 4
/// bits, which checkpoints pack into bytes and words.
enum class DType : uint8_t {
  Bool,
  F4E2M1FN,
  F6E2M3FN,
  F6E3M2FN,
  U8,
  I8,
  F8E5M2,
  F8E4M3FN,
  F8E8M0FNU,
  F8E4M3FNUZ,
  F8E5M2FNUZ,
  I16,
  U16,
  F16,
  BF16,
  I32,
  U32,
  F32,
  C64,
  F64,
  I64,
  U64,
  I4,
  U4,
};

/// The name in a safetensors header: "F8_E4M3", "BF16", "F32"; "" for I4 and U4.
std::string_view safetensorsName(DType dtype);

/// The name of the same type in MLIR, and so in our module files: "f8E4M3FN", "bf16", "f32", "i8", "ui8", "i4", "i1"
/// for Bool.
std::string_view mlirName(DType dtype);

/// Bits of one element: 8 for Bool, 4 and 6 for what is packed, 64 for C64.
int bitWidth(DType dtype);

/// The dtype of that safetensors name, or nullopt if the format does not know it. Case matters.
std::optional<DType> fromSafetensorsName(std::string_view name);

/// The dtype of that MLIR name, or nullopt for other types (tf32, index).
std::optional<DType> fromMlirName(std::string_view name);

} // namespace quant

#endif // QUANT_RUNTIME_SUPPORT_DTYPE_H
