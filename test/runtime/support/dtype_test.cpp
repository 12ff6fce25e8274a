//===- dtype_test.cpp - element types -------------------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/support/dtype.h"

#include <gtest/gtest.h>

using namespace quant;

TEST(DType, NamesGoThereAndBack) {
  for (int i = 0; i <= static_cast<int>(DType::U4); ++i) {
    auto dtype = static_cast<DType>(i);
    EXPECT_EQ(fromMlirName(mlirName(dtype)), dtype);
    if (dtype != DType::I4 && dtype != DType::U4)
      EXPECT_EQ(fromSafetensorsName(safetensorsName(dtype)), dtype);
  }
}

TEST(DType, NamesOfTheModelsWeCompile) {
  EXPECT_EQ(fromSafetensorsName("F8_E4M3"), DType::F8E4M3FN);
  EXPECT_EQ(fromSafetensorsName("F8_E8M0"), DType::F8E8M0FNU);
  EXPECT_EQ(mlirName(DType::F8E4M3FN), "f8E4M3FN");
  EXPECT_EQ(mlirName(DType::BF16), "bf16");
  EXPECT_EQ(mlirName(DType::I8), "i8");
}

TEST(DType, UnknownNames) {
  for (auto name : {"", "f8_e4m3", "F8_E4M3FN", "F4_E2M1", "I4", "BF16 "})
    EXPECT_EQ(fromSafetensorsName(name), std::nullopt) << name;
  for (auto name : {"", "i5", "tf32", "index", "F32"})
    EXPECT_EQ(fromMlirName(name), std::nullopt) << name;
}

TEST(DType, BitWidths) {
  EXPECT_EQ(bitWidth(DType::Bool), 8);
  EXPECT_EQ(bitWidth(DType::F4E2M1FN), 4);
  EXPECT_EQ(bitWidth(DType::F6E3M2FN), 6);
  EXPECT_EQ(bitWidth(DType::BF16), 16);
  EXPECT_EQ(bitWidth(DType::C64), 64);
  EXPECT_EQ(bitWidth(DType::I4), 4);
}
