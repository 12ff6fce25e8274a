//===- repack.cpp - tensors that are turned when they are loaded ----------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/abi/repack.h"

#include <fmt/core.h>

#include <algorithm>
#include <cstring>
#include <numeric>
#include <vector>

namespace quant {

using Bytes = std::span<const std::byte>;

static constexpr std::array<std::string_view, 10> kNames = {"none",       "words_down_4", "words_down_8",        "transposed",
                                                            "gptq_codes", "gptq_zeros",   "gptq_zeros_less_one", "awq_codes",
                                                            "awq_zeros",  "column_order"};

std::string_view name(Repack value) { return kNames[static_cast<size_t>(value)]; }

Result<Repack> parseRepack(std::string_view text) {
  const auto *found = std::ranges::find(kNames, text);
  if (found == kNames.end() || found == kNames.begin())
    return fail(fmt::format("\"{}\" is no repack", text));
  return static_cast<Repack>(found - kNames.begin());
}

Result<StoredShape> storedShape(Repack repack, DType dtype, int64_t rows, int64_t columns) {
  auto words = [](std::vector<int64_t> shape) { return StoredShape{DType::I32, std::move(shape)}; };
  bool isCodes = repack == Repack::GptqCodes || repack == Repack::AwqCodes, isTransposed = repack == Repack::Transposed;
  bool fits = isTransposed ? dtype == DType::F16 || dtype == DType::BF16 : dtype == (isCodes ? DType::U4 : DType::U8);
  if (repack == Repack::ColumnOrder && dtype == DType::I32 && rows == 1)
    return StoredShape{DType::I32, {columns}};
  if (!fits || repack == Repack::None || repack == Repack::ColumnOrder)
    return fail(fmt::format("{} gives no {}", name(repack), mlirName(dtype)));
  int64_t packed = repack == Repack::GptqCodes ? columns : rows;
  bool isWordsDown = repack == Repack::WordsDown4 || repack == Repack::WordsDown8;
  if ((!isTransposed && !isWordsDown && packed % 8 != 0) || (isCodes && columns % 8 != 0))
    return fail(fmt::format("{} of {} rows and {} columns: they do not fill words of eight", name(repack), rows, columns));
  if (isWordsDown)
    return words({(rows + (repack == Repack::WordsDown4 ? 7 : 3)) / (repack == Repack::WordsDown4 ? 8 : 4), columns});
  if (isTransposed)
    return StoredShape{dtype, {columns, rows}};
  return repack == Repack::GptqCodes ? words({columns / 8, rows}) : words({columns, rows / 8});
}

template <typename T>
static T loadAt(Bytes bytes, int64_t index) {
  T value;
  std::memcpy(&value, bytes.data() + index * static_cast<int64_t>(sizeof(T)), sizeof(T));
  return value;
}

template <typename T>
static void storeAt(std::span<std::byte> bytes, int64_t index, T value) {
  std::memcpy(bytes.data() + index * static_cast<int64_t>(sizeof(T)), &value, sizeof(T));
}

/// [rows, columns] from [columns, rows], in squares that stay in the first-level cache.
template <typename T>
static void transpose(int64_t rows, int64_t columns, Bytes stored, std::span<std::byte> out) {
  constexpr int64_t kSide = 32;
  for (int64_t row = 0; row < rows; row += kSide)
    for (int64_t column = 0; column < columns; column += kSide)
      for (int64_t r = row; r < std::min(row + kSide, rows); ++r)
        for (int64_t c = column; c < std::min(column + kSide, columns); ++c)
          storeAt<T>(out, r * columns + c, loadAt<T>(stored, c * rows + r));
}

/// Bytes [rows, columns]: number i of each word of [columns, rows / 8] is row 8 w + i. `add` is added, modulo 16.
static void unpackZeros(int64_t rows, int64_t columns, Bytes stored, std::span<std::byte> out, bool awq, uint8_t add) {
  for (int64_t column = 0; column < columns; ++column)
    for (int64_t row = 0; row < rows; ++row) {
      auto word = loadAt<uint32_t>(stored, column * (rows / 8) + row / 8);
      int nibble = awq ? kAwqNibble[static_cast<size_t>(row % 8)] : static_cast<int>(row % 8);
      storeAt<uint8_t>(out, row * columns + column, static_cast<uint8_t>(((word >> (4 * nibble)) + add) & 15));
    }
}

static void unpackDown(int64_t rows, int64_t columns, Bytes stored, std::span<std::byte> out, int bits) {
  int64_t perWord = 32 / bits;
  for (int64_t row = 0; row < rows; ++row)
    for (int64_t column = 0; column < columns; ++column) {
      auto word = loadAt<uint32_t>(stored, row / perWord * columns + column);
      storeAt<uint8_t>(out, row * columns + column, static_cast<uint8_t>(word >> (row % perWord * bits) & ((1U << bits) - 1)));
    }
}

/// Eight rows and eight columns at a time: a word for each column becomes one for each row.
static void turnAwqCodes(int64_t rows, int64_t columns, Bytes stored, std::span<std::byte> out) {
  for (int64_t row = 0; row < rows; row += 8)
    for (int64_t column = 0; column < columns; column += 8) {
      std::array<uint32_t, 8> turned = {};
      for (int c = 0; c < 8; ++c) {
        auto word = loadAt<uint32_t>(stored, (column + c) * (rows / 8) + row / 8);
        for (size_t r = 0; r < 8; ++r)
          turned[r] |= (word >> (4 * kAwqNibble[r]) & 15) << (4 * c);
      }
      for (int64_t r = 0; r < 8; ++r)
        storeAt<uint32_t>(out, ((row + r) * columns + column) / 8, turned[static_cast<size_t>(r)]);
    }
}

/// A stable counting sort.
static void sortByGroups(int64_t columns, Bytes stored, std::span<std::byte> out) {
  std::vector<int64_t> next;
  for (int64_t column = 0; column < columns; ++column) {
    auto group = static_cast<size_t>(loadAt<int32_t>(stored, column));
    if (next.size() < group + 2)
      next.resize(group + 2);
    ++next[group + 1];
  }
  std::partial_sum(next.begin(), next.end(), next.begin());
  for (int64_t column = 0; column < columns; ++column)
    storeAt<int32_t>(out, next[static_cast<size_t>(loadAt<int32_t>(stored, column))]++, static_cast<int32_t>(column));
}

template <typename T>
static void orderElements(std::span<const int32_t> order, int64_t rows, Bytes stored, std::span<std::byte> out) {
  auto columns = static_cast<int64_t>(order.size());
  for (int64_t row = 0; row < rows; ++row)
    for (int64_t column = 0; column < columns; ++column)
      storeAt<T>(out, row * columns + column, loadAt<T>(stored, row * columns + order[static_cast<size_t>(column)]));
}

static void orderNibbles(std::span<const int32_t> order, int64_t rows, Bytes stored, std::span<std::byte> out) {
  auto bytes = static_cast<int64_t>(order.size()) / 2;
  std::vector<uint8_t> codes(order.size());
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t byte = 0; byte < bytes; ++byte) {
      auto pair = loadAt<uint8_t>(stored, row * bytes + byte);
      codes[static_cast<size_t>(2 * byte)] = pair & 15;
      codes[static_cast<size_t>(2 * byte + 1)] = pair >> 4;
    }
    auto codeAt = [&](int64_t column) { return codes[static_cast<size_t>(order[static_cast<size_t>(column)])]; };
    for (int64_t byte = 0; byte < bytes; ++byte)
      storeAt<uint8_t>(out, row * bytes + byte, static_cast<uint8_t>(codeAt(2 * byte) | codeAt(2 * byte + 1) << 4));
  }
}

void orderColumns(std::span<const int32_t> order, int64_t rows, int bits, Bytes stored, std::span<std::byte> out) {
  switch (bits) {
  case 4:
    return orderNibbles(order, rows, stored, out);
  case 8:
    return orderElements<uint8_t>(order, rows, stored, out);
  case 16:
    return orderElements<uint16_t>(order, rows, stored, out);
  default:
    return orderElements<uint32_t>(order, rows, stored, out);
  }
}

void repackTensor(Repack repack, int64_t rows, int64_t columns, Bytes stored, std::span<std::byte> out) {
  switch (repack) {
  case Repack::None:
    return;
  case Repack::WordsDown4:
    return unpackDown(rows, columns, stored, out, 4);
  case Repack::WordsDown8:
    return unpackDown(rows, columns, stored, out, 8);
  case Repack::Transposed:
    return transpose<uint16_t>(rows, columns, stored, out);
  case Repack::GptqCodes: // a word holds eight neighbours of a row already
    return transpose<uint32_t>(rows, columns / 8, stored, out);
  case Repack::GptqZeros:
    return unpackZeros(rows, columns, stored, out, /*awq=*/false, 0);
  case Repack::GptqZerosLessOne:
    return unpackZeros(rows, columns, stored, out, /*awq=*/false, 1);
  case Repack::AwqCodes:
    return turnAwqCodes(rows, columns, stored, out);
  case Repack::AwqZeros:
    return unpackZeros(rows, columns, stored, out, /*awq=*/true, 0);
  case Repack::ColumnOrder:
    return sortByGroups(columns, stored, out);
  }
}

} // namespace quant
