//===- repack_test.cpp - tensors that are turned when they are loaded -----===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/abi/repack.h"

#include <gtest/gtest.h>

#include <numeric>

namespace quant {
namespace {

template <typename Out, typename In>
std::vector<Out> turn(Repack repack, DType dtype, int64_t rows, int64_t columns, const std::vector<In> &stored) {
  auto shape = storedShape(repack, dtype, rows, columns);
  EXPECT_TRUE(shape);
  EXPECT_EQ(static_cast<size_t>(shape->shape[0] * shape->shape[1]), stored.size());
  std::vector<Out> out(static_cast<size_t>(rows * columns * bitWidth(dtype) / 8) / sizeof(Out));
  repackTensor(repack, rows, columns, std::as_bytes(std::span(stored)), std::as_writable_bytes(std::span(out)));
  return out;
}

using Words = std::vector<uint32_t>;
using Bytes = std::vector<uint8_t>;

// The worked examples of compressed-tensors 0.20, auto-gptq 0.7.1 and autoawq 0.2.7, which their own packers gave.

TEST(Repack, ZeroPointsDownTheRows) {
  Bytes zeros = turn<uint8_t>(Repack::WordsDown4, DType::U8, 8, 2, Words{0x6a79f810, 0x456789ab});
  EXPECT_EQ(zeros, (Bytes{0, 11, 1, 10, 8, 9, 15, 8, 9, 7, 7, 6, 10, 5, 6, 4})) << "signed ones and eight";
  EXPECT_EQ(turn<uint8_t>(Repack::WordsDown4, DType::U8, 3, 1, Words{0xfff210ff >> 8}), (Bytes{0, 1, 2}))
      << "a word that ends short";
  EXPECT_EQ(turn<uint8_t>(Repack::WordsDown8, DType::U8, 5, 1, Words{0x04030201, 0x05}), (Bytes{1, 2, 3, 4, 5}));
}

TEST(Repack, GptqHasEightInputsInAWord) {
  // Output 0 has the codes 0 .. 7 and then 8 .. 15, output 1 the same backwards; six more have 3s.
  Words stored = {0x76543210, 0x89abcdef, 3, 3, 3, 3, 3, 3, 0xfedcba98, 0x01234567, 3, 3, 3, 3, 3, 3};
  Words rows = turn<uint32_t>(Repack::GptqCodes, DType::U4, 8, 16, stored);
  EXPECT_EQ(rows[0], 0x76543210u);
  EXPECT_EQ(rows[1], 0xfedcba98u);
  EXPECT_EQ(rows[2], 0x89abcdefu);
  EXPECT_EQ(rows[3], 0x01234567u);
}

TEST(Repack, GptqZeroPoints) {
  EXPECT_EQ(turn<uint8_t>(Repack::GptqZerosLessOne, DType::U8, 8, 1, Words{0x77777777}), Bytes(8, 8)) << "symmetric";
  EXPECT_EQ(turn<uint8_t>(Repack::GptqZerosLessOne, DType::U8, 8, 1, Words{0xf0000000}), (Bytes{1, 1, 1, 1, 1, 1, 1, 0}))
      << "modulo 16, as exllama's kernels have it";
  EXPECT_EQ(turn<uint8_t>(Repack::GptqZeros, DType::U8, 8, 2, Words{0x76543210, 0x88888888}),
            (Bytes{0, 8, 1, 8, 2, 8, 3, 8, 4, 8, 5, 8, 6, 8, 7, 8}));
}

TEST(Repack, AwqHasEightOutputsInAWord) {
  // Input k has the codes 0 .. 7 of outputs 0 .. 7, plus k.
  Words stored;
  for (uint32_t k = 0; k < 8; ++k)
    stored.push_back(0x75316420 + k * 0x11111111);
  Words rows = turn<uint32_t>(Repack::AwqCodes, DType::U4, 8, 8, stored);
  for (uint32_t n = 0; n < 8; ++n)
    EXPECT_EQ(rows[n], 0x76543210 + n * 0x11111111) << n;
  EXPECT_EQ(turn<uint8_t>(Repack::AwqZeros, DType::U8, 8, 1, Words{0x75316420}), (Bytes{0, 1, 2, 3, 4, 5, 6, 7}));
}

TEST(Repack, TransposedScales) {
  std::vector<uint16_t> stored(70 * 45), expected(stored.size());
  std::iota(stored.begin(), stored.end(), uint16_t(0));
  for (size_t row = 0; row < 45; ++row)
    for (size_t column = 0; column < 70; ++column)
      expected[row * 70 + column] = stored[column * 45 + row];
  EXPECT_EQ(turn<uint16_t>(Repack::Transposed, DType::F16, 45, 70, stored), expected);
}

TEST(Repack, ColumnsSortedByTheirGroups) {
  std::vector<int32_t> groups = {2, 0, 1, 0, 2, 1, 0}, order(groups.size());
  EXPECT_EQ(storedShape(Repack::ColumnOrder, DType::I32, 1, 7)->shape, (std::vector<int64_t>{7}));
  repackTensor(Repack::ColumnOrder, 1, 7, std::as_bytes(std::span(groups)), std::as_writable_bytes(std::span(order)));
  EXPECT_EQ(order, (std::vector<int32_t>{1, 3, 6, 2, 5, 0, 4})) << "those of a group as they stood";
}

template <typename T>
static std::vector<T> orderOf(std::vector<int32_t> order, int64_t rows, int bits, const std::vector<T> &stored) {
  std::vector<T> out(stored.size());
  orderColumns(order, rows, bits, std::as_bytes(std::span(stored)), std::as_writable_bytes(std::span(out)));
  return out;
}

TEST(Repack, ColumnsInAnotherOrder) {
  std::vector<int32_t> order = {3, 0, 2, 1};
  EXPECT_EQ(orderOf<uint8_t>(order, 2, 4, {0x21, 0x43, 0xba, 0xdc}), (Bytes{0x14, 0x23, 0xad, 0xbc})) << "two codes in a byte";
  EXPECT_EQ(orderOf<uint8_t>(order, 2, 8, {1, 2, 3, 4, 5, 6, 7, 8}), (Bytes{4, 1, 3, 2, 8, 5, 7, 6}));
  EXPECT_EQ(orderOf<uint16_t>(order, 1, 16, {1, 2, 3, 4}), (std::vector<uint16_t>{4, 1, 3, 2}));
  EXPECT_EQ(orderOf<uint32_t>(order, 1, 32, {1, 2, 3, 4}), (Words{4, 1, 3, 2}));
}

TEST(Repack, WhatDoesNotFit) {
  auto error = [](Repack repack, DType dtype, int64_t rows, int64_t columns) {
    auto shape = storedShape(repack, dtype, rows, columns);
    return shape ? "" : shape.error().message;
  };
  EXPECT_EQ(error(Repack::GptqCodes, DType::U4, 8, 12), "gptq_codes of 8 rows and 12 columns: they do not fill words of eight");
  EXPECT_EQ(error(Repack::AwqCodes, DType::U4, 12, 8), "awq_codes of 12 rows and 8 columns: they do not fill words of eight");
  EXPECT_EQ(error(Repack::GptqZeros, DType::U8, 12, 3), "gptq_zeros of 12 rows and 3 columns: they do not fill words of eight");
  EXPECT_EQ(error(Repack::GptqCodes, DType::U8, 8, 8), "gptq_codes gives no ui8");
  EXPECT_EQ(error(Repack::Transposed, DType::F32, 8, 8), "transposed gives no f32");
  EXPECT_EQ(error(Repack::ColumnOrder, DType::U8, 1, 8), "column_order gives no ui8");
  EXPECT_EQ(error(Repack::ColumnOrder, DType::I32, 2, 8), "column_order gives no i32");
  EXPECT_EQ(error(Repack::GptqZeros, DType::U8, 16, 3), "");
  for (int value = 1; value <= static_cast<int>(Repack::ColumnOrder); ++value)
    EXPECT_EQ(parseRepack(name(static_cast<Repack>(value))), static_cast<Repack>(value));
  EXPECT_FALSE(parseRepack("none"));
  EXPECT_FALSE(parseRepack("marlin"));
}

} // namespace
} // namespace quant
