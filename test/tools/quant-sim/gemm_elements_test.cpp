//===- gemm_elements_test.cpp - INT8 and bf16 GEMMs, compiled and simulated -===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/support/narrow.h"
#include "test/tools/quant-sim/gemm_family.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <random>

namespace quant::test {
namespace {

using machine::GemmConfig;
using machine::GemmElement;
using machine::GroupLayout;
using machine::Multicast;
using machine::OutputType;

/// A kernel with the rows of its groups, of one without groups all rows.
struct Case {
  GemmConfig config;
  std::vector<std::vector<int64_t>> rows;
  /// Rows that there is place for, of masked groups in each.
  int64_t capacity = 0;
};

void PrintTo(const Case &c, std::ostream *out) { *out << c.config.symbolName(); }

uint16_t toBf16(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, 4);
  return static_cast<uint16_t>(bits >> 16);
}

/// Inputs in the layouts of the recipe and what the kernel makes of them. What belongs to no group is poisoned, as is what lies
/// between two rows; D holds NaN before, and keeps it where no group has rows.
class ElementsCase {
public:
  ElementsCase(const GemmConfig &config, std::vector<int64_t> rowsOfGroups, int64_t capacity);

  /// The findings, or what is wrong with the result; empty if all is well.
  std::string run(const sim::Module &module, const nvvm::LaunchRecipe &recipe);

private:
  bool isInt8() const { return config.element == GemmElement::i8; }
  int64_t firstRow(size_t group) const;
  double valueAt(const std::vector<uint8_t> &matrix, int64_t row, int64_t k) const;
  void fillRow(std::vector<uint8_t> &matrix, int64_t row);
  float randomScale();
  std::string checkRow(size_t group, int64_t row) const;
  /// What D is, and by how much the kernel's may differ.
  std::pair<double, double> expected(size_t group, int64_t row, int64_t column) const;

  GemmConfig config;
  std::vector<int64_t> rowsOfGroups;
  int64_t m, rows, pitch;
  std::mt19937_64 random{11};
  std::vector<uint8_t> a, b;
  std::vector<float> scaleA, scaleB, bias;
  std::vector<uint16_t> narrowScales;
  std::vector<int32_t> counts, counters;
  std::vector<float> workspace;
  std::vector<std::byte> before, d;
};

ElementsCase::ElementsCase(const GemmConfig &config, std::vector<int64_t> rowsOfGroups, int64_t capacity)
    : config(config), rowsOfGroups(std::move(rowsOfGroups)), pitch((config.k * config.elementBytes() + 15) / 16 * 16) {
  int64_t all = 0, groups = static_cast<int64_t>(this->rowsOfGroups.size());
  for (int64_t count : this->rowsOfGroups) {
    all += count;
    counts.push_back(static_cast<int32_t>(config.isMasked() ? count : all));
  }
  m = config.groups ? capacity / std::max<int64_t>(config.topK, 1) : all;
  rows = config.isMasked() ? groups * capacity : config.groups ? capacity : all;
  if (config.topK)
    counts.insert(counts.begin(), -1);
  a.assign(rows * pitch, 0x7f);
  b.assign(groups * config.n * pitch, 0x7f);
  scaleA.assign(rows, std::nanf(""));
  for (int64_t i = 0; i < groups * config.n; ++i) {
    fillRow(b, i);
    scaleB.push_back(randomScale());
    narrowScales.push_back(toBf16(scaleB.back()));
  }
  for (size_t group = 0; group < this->rowsOfGroups.size(); ++group)
    for (int64_t row = firstRow(group); row < firstRow(group) + this->rowsOfGroups[group]; ++row) {
      fillRow(a, row);
      scaleA[row] = randomScale();
    }
  std::uniform_real_distribution<float> uniform(-2, 2);
  for (int64_t i = 0; i < config.n; ++i)
    bias.push_back(uniform(random));
  int64_t bytes = config.outputType == OutputType::f32 ? 4 : 2;
  before.assign(rows * config.n * bytes, std::byte(0xff));
  for (int64_t i = 0; config.accumulate && i < rows * config.n; ++i) {
    float value = fromBf16(toBf16(uniform(random)));
    std::memcpy(&before[i * bytes], reinterpret_cast<const char *>(&value) + 4 - bytes, bytes);
  }
}

int64_t ElementsCase::firstRow(size_t group) const {
  if (config.isMasked())
    return static_cast<int64_t>(group) * m;
  int64_t first = 0;
  for (size_t before = 0; before < group; ++before)
    first += rowsOfGroups[before];
  return first;
}

/// Of INT8 that is summed up to f32 powers of two: then D is exact, too.
float ElementsCase::randomScale() {
  if (config.outputType == OutputType::f32)
    return std::ldexp(1.0F, -static_cast<int>(random() % 8));
  return fromBf16(toBf16(std::uniform_real_distribution<float>(0.001F, 0.01F)(random)));
}

void ElementsCase::fillRow(std::vector<uint8_t> &matrix, int64_t row) {
  std::normal_distribution<float> normal(0, 1);
  for (int64_t k = 0; k < config.k; ++k) {
    // All of the range of INT8, -128, too.
    auto bits = isInt8() ? static_cast<uint16_t>(random() & 0xff) : toBf16(normal(random));
    std::memcpy(&matrix[row * pitch + k * config.elementBytes()], &bits, config.elementBytes());
  }
}

double ElementsCase::valueAt(const std::vector<uint8_t> &matrix, int64_t row, int64_t k) const {
  const uint8_t *at = &matrix[row * pitch + k * config.elementBytes()];
  if (isInt8())
    return static_cast<int8_t>(*at);
  uint16_t bits;
  std::memcpy(&bits, at, 2);
  return fromBf16(bits);
}

std::pair<double, double> ElementsCase::expected(size_t group, int64_t row, int64_t column) const {
  int64_t rowB = static_cast<int64_t>(group) * config.n + column;
  double sum = 0, squares = 0;
  for (int64_t k = 0; k < config.k; ++k) {
    double product = valueAt(a, row, k) * valueAt(b, rowB, k);
    sum += product;
    squares += product * product;
  }
  bool isF32 = config.outputType == OutputType::f32;
  // Sums of integers are exact (below 2^24 as f32, too), and so are products with powers of two; others are rounded three times.
  double value = isInt8() ? sum * scaleA[row] * scaleB[rowB] : sum;
  double tolerance = !isInt8()                          ? 1e-4 * std::sqrt(squares) + 1e-6
                     : isF32 && std::abs(sum) < 1 << 24 ? 0
                                                        : std::abs(value) * 0x1p-22;
  auto round = [&] { tolerance += std::abs(value) * (isF32 ? 0x1p-23 : 0x1p-8); };
  if (config.bias) {
    value += bias[column];
    tolerance += std::abs(value) * 0x1p-23;
  }
  if (!isF32)
    round();
  if (config.accumulate) {
    value += valueOfD(before, row * config.n + column, config.outputType);
    round();
  }
  return {value, tolerance};
}

std::string ElementsCase::checkRow(size_t group, int64_t row) const {
  int64_t step = config.k * config.n > (1 << 17) ? 7 : 1;
  for (int64_t column = 0; column < config.n; column += step) {
    auto [value, tolerance] = expected(group, row, column);
    double got = valueOfD(d, row * config.n + column, config.outputType);
    if (!(std::abs(got - value) <= tolerance))
      return "group " + std::to_string(group) + ": D[" + std::to_string(row) + ", " + std::to_string(column) + "] is " +
             std::to_string(got) + ", should be " + std::to_string(value) + " +- " + std::to_string(tolerance);
  }
  return {};
}

std::string ElementsCase::run(const sim::Module &module, const nvvm::LaunchRecipe &recipe) {
  d = before;
  sim::Dims dims = {{abi::Dim::M, m}, {abi::Dim::Sms, 4}};
  std::vector<sim::Buffer> buffers;
  for (const nvvm::Operand &operand : recipe.operands) {
    auto add = [&](std::span<std::byte> bytes) { buffers.push_back({operand.name, bytes, operand.written}); };
    if (operand.name == "a" || operand.name == "b")
      add(bytesOf(operand.name == "a" ? a : b));
    else if (operand.name == "scale_b" && config.bf16Scales)
      add(bytesOf(narrowScales));
    else if (operand.name == "scale_a" || operand.name == "scale_b")
      add(bytesOf(operand.name == "scale_a" ? scaleA : scaleB));
    else if (operand.name == "d")
      add(std::span<std::byte>(d));
    else if (operand.name == "bias")
      add(bytesOf(bias));
    else if (operand.name == "workspace")
      workspace.assign(operand.extent(dims)->bytes / 4, std::nanf("")), add(bytesOf(workspace));
    else if (operand.name == "counters")
      counters.assign(operand.extent(dims)->bytes / 4, 0), add(bytesOf(counters));
    else
      add(bytesOf(counts));
  }
  if (std::string findings = runStrictly(module, recipe, dims, buffers, /*threads=*/2); !findings.empty())
    return findings;
  std::vector<bool> isOurs(rows);
  for (size_t group = 0; group < rowsOfGroups.size(); ++group)
    for (int64_t row = firstRow(group); row < firstRow(group) + rowsOfGroups[group]; ++row) {
      isOurs[row] = true;
      if (std::string wrong = checkRow(group, row); !wrong.empty())
        return wrong;
    }
  size_t rowBytes = rows ? d.size() / rows : 0;
  for (int64_t row = 0; row < rows; ++row)
    if (!isOurs[row] && std::memcmp(&d[row * rowBytes], &before[row * rowBytes], rowBytes) != 0)
      return "row " + std::to_string(row) + " of D belongs to no group and was written";
  return {};
}

class GemmElements : public testing::TestWithParam<Case> {};

/// ptxas has no complaint, the simulator none either, and the numbers are right.
TEST_P(GemmElements, Runs) {
  const Case &c = GetParam();
  std::optional<LoadedKernel> kernel = loadKernel(c.config);
  ASSERT_TRUE(kernel);
  for (const std::vector<int64_t> &rows : c.rows)
    EXPECT_EQ(ElementsCase(c.config, rows, c.capacity).run(*kernel->module, kernel->recipe), "") << testing::PrintToString(rows);
}

using Adjust = void (*)(GemmConfig &);
GemmConfig gemm(int64_t n, int64_t k, int64_t blockM, int64_t blockN, Adjust adjust = nullptr) {
  GemmConfig config = {n, k, blockM, blockN};
  if (adjust)
    adjust(config);
  return config;
}

void swapped(GemmConfig &c) { c.swapAB = true; }
void f32(GemmConfig &c) { c.outputType = OutputType::f32; }

/// Each once of INT8 and of bf16.
std::vector<Case> ofBoth(std::vector<Case> cases) {
  size_t count = cases.size();
  for (size_t i = 0; i < count; ++i) {
    cases[i].config.element = GemmElement::i8;
    cases.push_back(cases[i]);
    cases.back().config.element = GemmElement::bf16;
  }
  return cases;
}

/// Tiles of both orders, also those that FP8 has no registers for; ragged M, N and K, K that is no multiple of 16 bytes.
std::vector<Case> tiles() {
  return ofBoth({{gemm(264, 640, 128, 128), {{1}, {129}}},
                 {gemm(520, 272, 128, 256), {{100}}},
                 {gemm(264, 640, 256, 128), {{300}}},
                 {gemm(200, 1000, 64, 96), {{61}, {70}}},
                 {gemm(136, 100, 128, 112), {{100}}},
                 {gemm(200, 1001, 8, 64, swapped), {{1}, {7}}},
                 {gemm(200, 272, 64, 128, swapped), {{64}, {73}}},
                 {gemm(200, 640, 16, 128, swapped), {{13}}},
                 {gemm(136, 7168, 64, 64), {{5}}}});
}

std::vector<Case> options() {
  auto everything = [](GemmConfig &c) { c.bias = c.accumulate = true, c.outputType = OutputType::f32; };
  auto everythingSwapped = [](GemmConfig &c) { c.swapAB = c.bias = c.accumulate = true; };
  auto a = [](GemmConfig &c) { c.multicast = Multicast::a; };
  auto b = [](GemmConfig &c) { c.multicast = Multicast::b; };
  auto f32Swapped = [](GemmConfig &c) { f32(c), swapped(c); };
  std::vector<Case> cases = ofBoth({{gemm(264, 640, 128, 128, f32), {{129}}},
                                    {gemm(200, 272, 32, 64, f32Swapped), {{40}}},
                                    {gemm(264, 640, 128, 96, everything), {{100}}},
                                    {gemm(200, 640, 16, 128, everythingSwapped), {{40}}},
                                    {gemm(264, 640, 128, 128, a), {{1}, {300}}},
                                    {gemm(264, 640, 128, 192, b), {{300}}}});
  auto bf16Scales = [](GemmConfig &c) { c.element = GemmElement::i8, c.bf16Scales = true; };
  auto splitK = [](GemmConfig &c) { c.element = GemmElement::bf16, c.splitK = 3; };
  cases.push_back({gemm(136, 272, 64, 64, bf16Scales), {{65}}});
  cases.push_back(
      {gemm(200, 640, 16, 64, [](GemmConfig &c) { c.element = GemmElement::i8, c.bf16Scales = c.swapAB = true; }), {{20}}});
  cases.push_back({gemm(200, 1000, 64, 128, splitK), {{64}}});
  return cases;
}

/// Groups of rows, contiguous and masked, empty ones, tokens of experts.
std::vector<Case> groups() {
  auto eight = [](GemmConfig &c) { c.groups = 8; };
  auto masked = [](GemmConfig &c) { c.groups = 8, c.groupLayout = GroupLayout::masked, c.swapAB = true; };
  auto topK = [](GemmConfig &c) { c.groups = 5, c.topK = 4, c.swapAB = true; };
  return ofBoth({{gemm(136, 272, 128, 128, eight), {{0, 1, 15, 64, 65, 0, 129, 0}, {0, 0, 0, 0, 0, 0, 0, 3}}, 300},
                 {gemm(72, 272, 16, 64, masked), {{0, 1, 17, 40, 0, 0, 16, 3}}, 40},
                 {gemm(72, 144, 8, 64, topK), {{3, 0, 9, 8, 4}}, 24}});
}

std::string caseName(const testing::TestParamInfo<Case> &info) { return info.param.config.symbolName().substr(5); }

INSTANTIATE_TEST_SUITE_P(Tiles, GemmElements, testing::ValuesIn(tiles()), caseName);
INSTANTIATE_TEST_SUITE_P(Options, GemmElements, testing::ValuesIn(options()), caseName);
INSTANTIATE_TEST_SUITE_P(Groups, GemmElements, testing::ValuesIn(groups()), caseName);

} // namespace
} // namespace quant::test
