//===- pack.cpp - codes to a scheme's bytes -------------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/quant-convert/quantize/pack.h"

#include "runtime/support/narrow.h"

#include <algorithm>
#include <bit>
#include <cstring>

using namespace quant;
using namespace quant::convert;

/// A signed code of 4 bits as GPTQ and compressed-tensors' words have it: 8 more.
static uint8_t unsignedNibble(uint8_t code) { return static_cast<uint8_t>((code + 8) & 0xF); }

/// Two codes in a byte, the first in its lower half; `change` makes a nibble of a code.
template <typename Change>
static void packNibbles(std::span<const uint8_t> codes, std::byte *out, Change change) {
  size_t pairs = codes.size() / 2;
  for (size_t i = 0; i < pairs; ++i)
    out[i] = static_cast<std::byte>(change(codes[2 * i]) | change(codes[2 * i + 1]) << 4);
  if (codes.size() % 2 != 0)
    out[pairs] = static_cast<std::byte>(change(codes.back()));
}

std::vector<std::byte> convert::packRows(const Scheme &scheme, std::span<const uint8_t> codes, int64_t columns) {
  auto width = static_cast<size_t>(columns), rows = codes.size() / width;
  auto rowBytes = static_cast<size_t>(scheme.packing == Packing::Nibbles    ? (columns + 1) / 2
                                      : scheme.packing == Packing::Elements ? columns
                                                                            : (columns * bitWidth(scheme.element) + 31) / 32 * 4);
  std::vector<std::byte> out(rows * rowBytes);
  for (size_t r = 0; r < rows; ++r) {
    auto row = codes.subspan(r * width, width);
    std::byte *to = out.data() + r * rowBytes;
    if (scheme.packing == Packing::Nibbles)
      packNibbles(row, to, [](uint8_t code) { return code; });
    else if (scheme.packing == Packing::WordsInRow && scheme.element == DType::I4)
      packNibbles(row, to, unsignedNibble);
    else if (scheme.packing == Packing::WordsInRow)
      std::ranges::transform(row, to, [](uint8_t code) { return static_cast<std::byte>(code + 128); });
    else
      std::memcpy(to, row.data(), width);
  }
  return out;
}

/// The code of a scale in its type, exactly.
static uint32_t scaleCode(DType stored, float scale) {
  switch (stored) {
  case DType::BF16:
    return toBf16(scale);
  case DType::F16:
    return encodeFloat(scale, kF16, Rounding::NearestEven, Overflow::Infinity);
  case DType::F8E4M3FN:
    return encodeFloat(scale, kE4M3FN);
  case DType::F8E8M0FNU:
  case DType::U8:
    return encodeE8M0(scale);
  default:
    return std::bit_cast<uint32_t>(scale);
  }
}

std::vector<std::byte> convert::packScales(DType stored, std::span<const float> scales) {
  auto width = static_cast<size_t>(bitWidth(stored)) / 8;
  std::vector<std::byte> out(scales.size() * width);
  for (size_t i = 0; i < scales.size(); ++i) {
    uint32_t code = scaleCode(stored, scales[i]);
    std::memcpy(out.data() + i * width, &code, width);
  }
  return out;
}

std::vector<std::byte> convert::packZerosDown(std::span<const int8_t> zeros, int64_t rows, int64_t groups, int bits) {
  int64_t perWord = 32 / bits, words = (rows + perWord - 1) / perWord;
  std::vector<uint32_t> packed(static_cast<size_t>(words * groups));
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t g = 0; g < groups; ++g) {
      auto zero = static_cast<uint32_t>(zeros[static_cast<size_t>(r * groups + g)] + (1 << (bits - 1)));
      packed[static_cast<size_t>(r / perWord * groups + g)] |= zero << (r % perWord * bits);
    }
  std::vector<std::byte> out(packed.size() * sizeof(uint32_t));
  std::memcpy(out.data(), packed.data(), out.size());
  return out;
}

//===----------------------------------------------------------------------===//
// GPTQ
//===----------------------------------------------------------------------===//

GptqTensors::GptqTensors(const Scheme &scheme, int64_t rows, int64_t columns)
    : rows(rows), columns(columns), groups(scaleShape(scheme.block, rows, columns)[1]),
      isLessOne(scheme.zeroPoints == ZeroPoints::LessOne) {
  words.resize(static_cast<size_t>(columns / 8 * rows));
  zeroWords.resize(static_cast<size_t>(groups * rows / 8));
  scales.resize(static_cast<size_t>(groups * rows));
  int64_t group = scheme.block[1] == 0 ? columns : scheme.block[1];
  for (int64_t column = 0; column < columns; ++column)
    groupOfColumn.push_back(static_cast<int32_t>(column / group));
}

void GptqTensors::add(int64_t begin, const EncodedRows &encoded, int64_t count) {
  for (int64_t r = 0; r < count; ++r) {
    const uint8_t *codes = encoded.codes.data() + r * columns;
    for (int64_t w = 0; w < columns / 8; ++w) {
      WordNibbles nibbles;
      std::transform(codes + w * 8, codes + (w + 1) * 8, nibbles.begin(), unsignedNibble);
      words[static_cast<size_t>(w * rows + begin + r)] = packWord(nibbles, WordOrder::Sequential);
    }
    for (int64_t g = 0; g < groups; ++g) {
      auto at = static_cast<size_t>(r * groups + g);
      int zero = (encoded.zeros.empty() ? 0 : encoded.zeros[at]) + 8 - isLessOne;
      int64_t row = begin + r;
      zeroWords[static_cast<size_t>(g * (rows / 8) + row / 8)] |= static_cast<uint32_t>(zero & 0xF) << (row % 8 * 4);
      scales[static_cast<size_t>(g * rows + row)] = static_cast<uint16_t>(scaleCode(DType::F16, encoded.scales[at]));
    }
  }
}
