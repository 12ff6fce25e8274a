//===- random_weight.cpp - weights of kernels' tests ----------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "test/lowering/random_weight.h"

#include "runtime/support/narrow.h"

#include <fmt/core.h>

#include <algorithm>

using namespace quant;
using namespace quant::test;

std::vector<float> quant::test::randomNormal(int64_t count, std::mt19937_64 &random) {
  std::normal_distribution<float> distribution;
  std::vector<float> values(static_cast<size_t>(count));
  std::generate(values.begin(), values.end(), [&] { return distribution(random); });
  return values;
}

namespace {

/// The tensors of one matrix.
struct Matrix {
  Memory data, scale, zero, global;
};

class Maker {
public:
  Maker(const WeightScheme &scheme, int64_t rows, int64_t columns, std::mt19937_64 &random)
      : scheme(scheme), rows(rows), columns(columns), blockRows(scheme.blockRows ? scheme.blockRows : rows),
        blockColumns(scheme.blockColumns ? scheme.blockColumns : columns), random(random) {}

  int64_t scaleRows() const { return (rows + blockRows - 1) / blockRows; }
  int64_t scaleColumns() const { return (columns + blockColumns - 1) / blockColumns; }

  /// Appends the matrix's values to `values`.
  Matrix make(std::vector<double> &values) {
    Matrix matrix;
    std::vector<double> codes;
    matrix.data = makeCodes(codes);
    if (!scheme.hasScales()) {
      values.insert(values.end(), codes.begin(), codes.end());
      return matrix;
    }
    std::vector<float> scales = scheme.hasGlobalScale ? makeDivided(matrix) : randomNormal(scaleRows() * scaleColumns(), random);
    std::vector<uint8_t> zeros = scheme.zero.empty() ? std::vector<uint8_t>(scales.size()) : randomBytes(scales.size());
    for (int64_t row = 0; row < rows; ++row)
      for (int64_t column = 0; column < columns; ++column) {
        auto block = static_cast<size_t>(row / blockRows * scaleColumns() + column / blockColumns);
        values.push_back((codes[static_cast<size_t>(row * columns + column)] - zeros[block]) * scales[block]);
      }
    if (!scheme.hasGlobalScale)
      matrix.scale = Memory::of(scales);
    matrix.zero = Memory::of(zeros);
    return matrix;
  }

private:
  const WeightScheme &scheme;
  int64_t rows, columns, blockRows, blockColumns;
  std::mt19937_64 &random;

  std::vector<uint8_t> randomBytes(size_t count) {
    std::vector<uint8_t> bytes(count);
    std::generate(bytes.begin(), bytes.end(), [&] { return static_cast<uint8_t>(random()); });
    return bytes;
  }

  /// Scales in f8E4M3FN that a global one divides, and what that gives in f32.
  std::vector<float> makeDivided(Matrix &matrix) {
    constexpr float kGlobal = 1234.5F;
    std::vector<uint8_t> codes = randomBytes(static_cast<size_t>(scaleRows() * scaleColumns()));
    std::vector<float> scales;
    for (uint8_t &code : codes) {
      code = std::min<uint8_t>(code & 0x7f, 0x7e);
      scales.push_back(static_cast<float>(decodeFloat(code, kE4M3FN)) / kGlobal);
    }
    matrix.scale = Memory::of(codes);
    matrix.global = Memory::of(std::vector<float>{kGlobal});
    return scales;
  }

  Memory makeCodes(std::vector<double> &values) {
    auto count = static_cast<size_t>(rows * columns);
    if (!scheme.hasScales())
      return makeFloats(randomNormal(rows * columns, random), values);
    bool isFp4 = scheme.storage == "f4E2M1FN", isSigned = scheme.storage == "i4",
         areNibbles = isFp4 || isSigned || scheme.storage == "ui4";
    std::vector<uint8_t> codes = randomBytes(areNibbles ? (count + 1) / 2 : count);
    for (size_t i = 0; i < count; ++i) {
      if (areNibbles) {
        int code = codes[i / 2] >> i % 2 * 4 & 15;
        values.push_back(isFp4 ? decodeFloat(static_cast<uint32_t>(code), kE2M1FN) : isSigned && code > 7 ? code - 16 : code);
      } else if (scheme.storage == "i8") {
        values.push_back(static_cast<int8_t>(codes[i]));
      } else {
        if ((codes[i] & 0x7f) == 0x7f) // NaN
          codes[i] ^= 1;
        values.push_back(decodeFloat(codes[i], kE4M3FN));
      }
    }
    return Memory::of(codes);
  }

  Memory makeFloats(const std::vector<float> &floats, std::vector<double> &values) {
    if (scheme.storage == "f32") {
      values.assign(floats.begin(), floats.end());
      return Memory::of(floats);
    }
    std::vector<uint16_t> codes;
    for (float value : floats) {
      codes.push_back(toBf16(value));
      values.push_back(fromBf16(codes.back()));
    }
    return Memory::of(codes);
  }
};

} // namespace

RandomWeight quant::test::randomWeight(const WeightScheme &scheme, int64_t groups, int64_t rows, int64_t columns,
                                       std::mt19937_64 &random) {
  Maker maker(scheme, rows, columns, random);
  RandomWeight weight;
  std::vector<Memory> data, scale, zero, global;
  for (int64_t group = 0; group < std::max<int64_t>(groups, 1); ++group) {
    Matrix matrix = maker.make(weight.values);
    data.push_back(std::move(matrix.data));
    scale.push_back(std::move(matrix.scale));
    zero.push_back(std::move(matrix.zero));
    global.push_back(std::move(matrix.global));
  }
  auto tensor = [&](int64_t rows, int64_t columns, const std::string &element) {
    return fmt::format("tensor<{}{}x{}x{}>", groups ? fmt::format("{}x", groups) : "", rows, columns, element);
  };
  auto add = [&](const char *name, const std::string &type, std::vector<Memory> &matrices) {
    weight.arguments += fmt::format("{}{}: {}", weight.arguments.empty() ? "" : ", ", name, type);
    weight.tensors.push_back(groups ? Memory::table(std::move(matrices)) : std::move(matrices.front()));
  };
  std::string dataType = tensor(rows, columns, scheme.storage);
  if (!scheme.hasScales()) {
    weight.type = dataType;
    add("%w", dataType, data);
    return weight;
  }
  auto extent = [](int64_t block) { return block ? std::to_string(block) : "?"; };
  std::string scaleElement = scheme.hasGlobalScale ? "f8E4M3FN" : "f32", more = scheme.hasGlobalScale ? ", global f32" : "";
  weight.type = fmt::format("!qblock.{}, block<{}{}x{}>, {}{}>", dataType.substr(0, dataType.size() - 1), groups ? "1x" : "",
                            extent(scheme.blockRows), extent(scheme.blockColumns), scaleElement,
                            scheme.zero.empty() ? more : ", zero " + scheme.zero);
  std::string scaleType = tensor(maker.scaleRows(), maker.scaleColumns(), scaleElement), names = "%c, %s",
              types = fmt::format("{}, {}", dataType, scaleType);
  add("%c", dataType, data);
  add("%s", scaleType, scale);
  if (!scheme.zero.empty()) {
    std::string zeroType = tensor(maker.scaleRows(), maker.scaleColumns(), scheme.zero);
    add("%z", zeroType, zero);
    names += ", %z";
    types += ", " + zeroType;
  }
  if (scheme.hasGlobalScale) {
    std::string globalType = tensor(1, 1, "f32");
    add("%g", globalType, global);
    names += ", %g";
    types += ", " + globalType;
  }
  weight.assemble = fmt::format("  %w = qblock.assemble {} : ({}) -> {}\n", names, types, weight.type);
  return weight;
}
