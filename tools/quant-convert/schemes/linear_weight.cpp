//===- linear_weight.cpp - a weight in any scheme, decoded ----------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/quant-convert/schemes/linear_weight.h"

#include "runtime/support/block_scale.h"
#include "runtime/support/narrow.h"

#include <algorithm>
#include <cstring>
#include <map>

using namespace quant;
using namespace quant::convert;

//===----------------------------------------------------------------------===//
// Parts of the tensors
//===----------------------------------------------------------------------===//

template <typename T>
static T elementAt(const Tensor &tensor, int64_t index) {
  T element; // in the file at any alignment
  std::memcpy(&element, tensor.data.data() + static_cast<size_t>(index) * sizeof(T), sizeof(T));
  return element;
}

DType convert::scaleType(DType dtype) { return dtype == DType::U8 ? DType::F8E8M0FNU : dtype; }

static int codesInWord(const Scheme &scheme) { return 32 / bitWidth(scheme.element); }

/// Code `i` of a word, unsigned.
static uint8_t codeOf(const Scheme &scheme, uint32_t word, int64_t i) {
  if (scheme.packing == Packing::WordsAcross)
    i = kAwqNibble[static_cast<size_t>(i)];
  int bits = bitWidth(scheme.element);
  return static_cast<uint8_t>(word >> (i * bits) & ((1u << bits) - 1));
}

float LinearWeight::scaleAt(int64_t row, int64_t group) const {
  int64_t index = isRowMajor() ? row / scaleBlocks.blockRows * scaleBlocks.cols + group : group * scaleBlocks.cols + row;
  DType dtype = scaleType(parts.scale->info->dtype);
  static const CodeValues e4m3 = valuesOf(kE4M3FN);
  float scale = dtype == DType::F8E4M3FN ? e4m3[elementAt<uint8_t>(*parts.scale, index)]
                                         : quant::scaleAt(dtype, parts.scale->data, static_cast<size_t>(index));
  return stored.hasGlobalScale() ? scale / globalScale : scale;
}

int LinearWeight::zeroAt(int64_t row, int64_t group) const {
  if (stored.zeroPoints == ZeroPoints::None)
    return 0;
  int64_t perWord = codesInWord(stored), words = parts.zeroPoint->info->shape[1];
  bool isDown = stored.zeroPoints == ZeroPoints::PackedDown;
  auto word = elementAt<uint32_t>(*parts.zeroPoint, isDown ? row / perWord * words + group : group * words + row / perWord);
  int code = codeOf(stored, word, row % perWord), codes = 1 << bitWidth(stored.element);
  if (isDown)
    return code - codes / 2;
  return stored.zeroPoints == ZeroPoints::LessOne ? (code + 1) % codes : code;
}

int64_t LinearWeight::groupOf(int64_t column) const {
  return parts.groupIndex ? elementAt<int32_t>(*parts.groupIndex, column) : column / groupColumns;
}

static FloatFormat formatOf(DType element) {
  switch (element) {
  case DType::F4E2M1FN:
    return kE2M1FN;
  case DType::F8E5M2:
    return kE5M2;
  case DType::F8E4M3FNUZ:
    return kE4M3FNUZ;
  case DType::F8E5M2FNUZ:
    return kE5M2FNUZ;
  default:
    return kE4M3FN;
  }
}

/// What the codes mean, without their zero points: floats, two's complement, and in words of signed codes numbers with an offset.
static std::vector<float> makeNumbers(DType element, bool hasOffset) {
  int bits = bitWidth(element);
  bool isFloat = element == DType::F4E2M1FN || isFp8(element);
  std::vector<float> numbers;
  for (uint32_t code = 0; code < 1u << bits; ++code) {
    int number = hasOffset ? static_cast<int>(code) - (1 << (bits - 1)) : static_cast<int8_t>(code);
    numbers.push_back(isFloat ? static_cast<float>(decodeFloat(code, formatOf(element))) : static_cast<float>(number));
  }
  return numbers;
}

std::span<const float> LinearWeight::numbersOf(const Scheme &scheme) {
  static const auto tables = [] {
    std::map<std::pair<DType, bool>, std::vector<float>> made;
    for (DType element :
         {DType::F4E2M1FN, DType::I4, DType::U4, DType::I8, DType::F8E4M3FN, DType::F8E5M2, DType::F8E4M3FNUZ, DType::F8E5M2FNUZ})
      for (bool hasOffset : {false, true})
        made.emplace(std::pair(element, hasOffset), makeNumbers(element, hasOffset));
    return made;
  }();
  return tables.at({scheme.element, scheme.packing == Packing::WordsInRow});
}

//===----------------------------------------------------------------------===//
// Reading: codes of a row together
//===----------------------------------------------------------------------===//

/// Columns of one group.
void LinearWeight::readRun(int64_t row, int64_t begin, std::span<float> out) const {
  int64_t group = groupOf(begin);
  float scale = scaleAt(row, group), zero = static_cast<float>(zeroAt(row, group));
  const std::byte *codes = codeBytes(row, 1).data();
  if (numbers.size() > 16) {
    for (size_t i = 0; i < out.size(); ++i)
      out[i] = (numbers[std::to_integer<uint8_t>(codes[begin + static_cast<int64_t>(i)])] - zero) * scale;
    return;
  }
  // Two codes in a byte, the first in its lower half: also eight in a word.
  std::array<float, 16> values;
  for (size_t code = 0; code < values.size(); ++code)
    values[code] = (numbers[code] - zero) * scale;
  for (size_t i = 0; i < out.size(); ++i) {
    int64_t column = begin + static_cast<int64_t>(i);
    out[i] = values[std::to_integer<uint8_t>(codes[column / 2]) >> (column % 2 * 4) & 0xF];
  }
}

void LinearWeight::readRow(int64_t row, int64_t begin, std::span<float> out) const {
  while (!out.empty()) {
    int64_t left = parts.groupIndex ? 1 : groupColumns - begin % groupColumns;
    auto run = out.first(std::min(out.size(), static_cast<size_t>(left)));
    readRun(row, begin, run);
    out = out.subspan(run.size());
    begin += static_cast<int64_t>(run.size());
  }
}

//===----------------------------------------------------------------------===//
// Reading: codes of all rows interleaved
//===----------------------------------------------------------------------===//

/// A part of the weight and where its values go, `pitch` values from row to row.
struct LinearWeight::Panel {
  int64_t row, rows, column, columns;
  float *out;
  int64_t pitch;
};

/// Column by column, so that neighbouring words are read together.
void LinearWeight::readPanel(const Panel &panel) const {
  struct Group {
    float scale, zero;
  };
  std::vector<Group> table(static_cast<size_t>(groups * panel.rows));
  for (int64_t group = 0; group < groups; ++group)
    for (int64_t r = 0; r < panel.rows; ++r)
      table[static_cast<size_t>(group * panel.rows + r)] = {scaleAt(panel.row + r, group),
                                                            static_cast<float>(zeroAt(panel.row + r, group))};
  int64_t perWord = codesInWord(stored), words = parts.codes->info->shape[1];
  bool isDown = stored.packing == Packing::WordsDown;
  for (int64_t c = 0; c < panel.columns; ++c) {
    int64_t column = panel.column + c;
    const Group *of = &table[static_cast<size_t>(groupOf(column) * panel.rows)];
    for (int64_t r = 0; r < panel.rows; ++r) {
      int64_t row = panel.row + r;
      auto word = elementAt<uint32_t>(*parts.codes, isDown ? column / perWord * words + row : column * words + row / perWord);
      uint8_t code = codeOf(stored, word, (isDown ? column : row) % perWord);
      panel.out[r * panel.pitch + c] = (numbers[code] - of[r].zero) * of[r].scale;
    }
  }
}

void LinearWeight::read(uint64_t begin, std::span<float> out) const {
  int64_t width = shape[1];
  while (!out.empty()) {
    int64_t row = static_cast<int64_t>(begin) / width, column = static_cast<int64_t>(begin) % width;
    int64_t left = static_cast<int64_t>(out.size()), columns = std::min(width - column, left);
    int64_t rows = column == 0 && !isRowMajor() ? std::clamp<int64_t>(left / width, 1, kPanelRows) : 1;
    auto part = out.first(static_cast<size_t>(rows * columns));
    if (isRowMajor())
      readRow(row, column, part);
    else
      readPanel({row, rows, column, columns, part.data(), width});
    out = out.subspan(part.size());
    begin += part.size();
  }
}

std::span<const std::byte> LinearWeight::codeBytes(int64_t begin, int64_t count) const {
  if (!isRowMajor() || shape[0] == 0)
    return parts.codes->data;
  auto bytes = parts.codes->data.size() / static_cast<size_t>(shape[0]);
  return parts.codes->data.subspan(static_cast<size_t>(begin) * bytes, static_cast<size_t>(count) * bytes);
}

std::span<const std::byte> LinearWeight::scaleBytes(int64_t begin, int64_t count) const {
  if (!isRowMajor() || count == 0)
    return parts.scale->data;
  auto bytes = parts.scale->data.size() / static_cast<size_t>(scaleBlocks.rows);
  int64_t first = begin / scaleBlocks.blockRows, last = (begin + count - 1) / scaleBlocks.blockRows;
  return parts.scale->data.subspan(static_cast<size_t>(first) * bytes, static_cast<size_t>(last - first + 1) * bytes);
}
