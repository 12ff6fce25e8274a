//===- dtype.cpp - element types ------------------------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/support/dtype.h"

#include <algorithm>
#include <array>

namespace quant {
namespace {

struct Row {
  DType dtype;
  std::string_view safetensors;
  std::string_view mlir;
  int bits;
};

constexpr std::array rows{
    Row{DType::Bool, "BOOL", "i1", 8},
    Row{DType::F4E2M1FN, "F4", "f4E2M1FN", 4},
    Row{DType::F6E2M3FN, "F6_E2M3", "f6E2M3FN", 6},
    Row{DType::F6E3M2FN, "F6_E3M2", "f6E3M2FN", 6},
    Row{DType::U8, "U8", "ui8", 8},
    Row{DType::I8, "I8", "i8", 8},
    Row{DType::F8E5M2, "F8_E5M2", "f8E5M2", 8},
    Row{DType::F8E4M3FN, "F8_E4M3", "f8E4M3FN", 8},
    Row{DType::F8E8M0FNU, "F8_E8M0", "f8E8M0FNU", 8},
    Row{DType::F8E4M3FNUZ, "F8_E4M3FNUZ", "f8E4M3FNUZ", 8},
    Row{DType::F8E5M2FNUZ, "F8_E5M2FNUZ", "f8E5M2FNUZ", 8},
    Row{DType::I16, "I16", "i16", 16},
    Row{DType::U16, "U16", "ui16", 16},
    Row{DType::F16, "F16", "f16", 16},
    Row{DType::BF16, "BF16", "bf16", 16},
    Row{DType::I32, "I32", "i32", 32},
    Row{DType::U32, "U32", "ui32", 32},
    Row{DType::F32, "F32", "f32", 32},
    Row{DType::C64, "C64", "complex<f32>", 64},
    Row{DType::F64, "F64", "f64", 64},
    Row{DType::I64, "I64", "i64", 64},
    Row{DType::U64, "U64", "ui64", 64},
    Row{DType::I4, "", "i4", 4},
    Row{DType::U4, "", "ui4", 4},
};

constexpr bool rowsFollowEnum() {
  for (size_t i = 0; i < rows.size(); ++i)
    if (rows[i].dtype != static_cast<DType>(i))
      return false;
  return rows.back().dtype == DType::U4;
}
static_assert(rowsFollowEnum(), "rows stand in the order of the enum, one each");

constexpr const Row &row(DType dtype) { return rows[static_cast<size_t>(dtype)]; }

std::optional<DType> lookup(std::string_view name, std::string_view Row::*column) {
  auto found = std::ranges::find(rows, name, column);
  return name.empty() || found == rows.end() ? std::nullopt : std::optional(found->dtype);
}

} // namespace

std::string_view safetensorsName(DType dtype) { return row(dtype).safetensors; }
std::string_view mlirName(DType dtype) { return row(dtype).mlir; }
int bitWidth(DType dtype) { return row(dtype).bits; }
std::optional<DType> fromSafetensorsName(std::string_view name) { return lookup(name, &Row::safetensors); }
std::optional<DType> fromMlirName(std::string_view name) { return lookup(name, &Row::mlir); }

} // namespace quant
