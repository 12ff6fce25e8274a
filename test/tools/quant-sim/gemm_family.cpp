//===- gemm_family.cpp - any FP8 GEMM of the compiler in the simulator -----===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "test/tools/quant-sim/gemm_family.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <limits>
#include <random>

namespace quant::test {

std::optional<LoadedKernel> loadKernel(const machine::GemmConfig &config) { return loadKernel(nvvm::compileGemm(config)); }

std::optional<LoadedKernel> loadKernel(Result<nvvm::CompiledKernel> kernel) {
  EXPECT_TRUE(kernel) << kernel.error().message;
  if (!kernel)
    return std::nullopt;
  EXPECT_EQ(kernel->artifact.findings(), std::vector<std::string>()) << kernel->artifact.ptxasLog;
  if (kernel->artifact.cubin.empty())
    std::fprintf(stderr, "*** NO ptxas FOUND: %s was NOT assembled ***\n", kernel->recipe.kernel.c_str());
  auto module = sim::Module::load(kernel->artifact.ptx);
  EXPECT_TRUE(module) << module.error().message;
  if (!module)
    return std::nullopt;
  return LoadedKernel{std::move(kernel->recipe), std::move(*module)};
}

static constexpr int64_t kBlock = 128;
static constexpr uint8_t kNanCode = 0x7f;
/// Results of up to this many multiplications are compared in full, larger ones in kSamples elements.
static constexpr int64_t kFullCheck = int64_t(1) << 25;
static constexpr int64_t kSamples = 2048;

/// e4m3's values by their codes.
static std::array<double, 256> decodeTable() {
  std::array<double, 256> table;
  for (int code = 0; code < 256; ++code) {
    int exponent = code >> 3 & 15, mantissa = code & 7;
    double value = exponent ? std::ldexp(8 + mantissa, exponent - 10) : std::ldexp(mantissa, -9);
    table[code] = (code & 0x7f) == kNanCode ? std::nan("") : code & 0x80 ? -value : value;
  }
  return table;
}

static const std::array<double, 256> kDecode = decodeTable();

/// Rows of `k` bytes, `pitch` bytes apart, with NaN codes between.
static std::vector<uint8_t> spread(const std::vector<uint8_t> &dense, int64_t k, int64_t pitch) {
  std::vector<uint8_t> rows(dense.size() / k * pitch, kNanCode);
  for (size_t row = 0; row < dense.size() / k; ++row)
    std::copy_n(dense.begin() + row * k, k, rows.begin() + row * pitch);
  return rows;
}

GemmFamilyCase::GemmFamilyCase(const machine::GemmConfig &config, int64_t m)
    : config(config), m(m), pitch((config.k + 15) / 16 * 16), problem(m, config.n, config.k, static_cast<uint64_t>(m) + 1),
      pitchedA(spread(problem.a, config.k, pitch)), pitchedB(spread(problem.b, config.k, pitch)) {
  std::mt19937_64 random(5);
  std::uniform_real_distribution<float> uniform(-2.0f, 2.0f);
  for (int64_t i = 0; i < config.n; ++i)
    bias.push_back(uniform(random));
  bool f32 = config.outputType == machine::OutputType::f32;
  before.assign(m * config.n * (f32 ? 4 : 2), std::byte(0xff));
  for (int64_t i = 0; config.accumulate && i < m * config.n; ++i) {
    float value = uniform(random);
    uint32_t bits;
    std::memcpy(&bits, &value, 4);
    if (!f32)
      bits >>= 16;
    std::memcpy(&before[i * (f32 ? 4 : 2)], &bits, f32 ? 4 : 2);
  }
}

std::vector<sim::Buffer> GemmFamilyCase::buffers(const nvvm::LaunchRecipe &recipe, const sim::Dims &dims) {
  std::vector<sim::Buffer> all = {{"a", bytesOf(pitchedA), false},
                                  {"scale_a", bytesOf(problem.scaleA), false},
                                  {"b", bytesOf(pitchedB), false},
                                  {"scale_b", bytesOf(problem.scaleB), false},
                                  {"d", std::span<std::byte>(d), true}};
  for (const nvvm::Operand &operand : recipe.operands) {
    uint64_t bytes = operand.extent(dims)->bytes;
    if (operand.name == "bias") {
      all.push_back({"bias", bytesOf(bias), false});
    } else if (operand.name == "workspace") {
      workspace.assign(bytes / sizeof(float), std::nanf(""));
      all.push_back({"workspace", bytesOf(workspace), true});
    } else if (operand.name == "counters") {
      counters.assign(bytes / sizeof(int32_t), 0);
      all.push_back({"counters", bytesOf(counters), true});
    }
  }
  return all;
}

std::string runStrictly(const sim::Module &module, const nvvm::LaunchRecipe &recipe, const sim::Dims &dims,
                        std::vector<sim::Buffer> buffers, int threads) {
  auto parsed = sim::Recipe::parse(recipe.toJson().dump(), "");
  if (!parsed)
    return parsed.error().message;
  auto operands = parsed->operands(dims);
  if (!operands)
    return operands.error().message;
  for (size_t i = 0; i < operands->size(); ++i)
    if (operands->size() != buffers.size() || (*operands)[i].bytes != buffers[i].bytes.size() ||
        (*operands)[i].name != buffers[i].name)
      return "the recipe's operands are not those that its header lists";
  auto launch = parsed->launch(dims, std::move(buffers));
  if (!launch)
    return launch.error().message;
  sim::Options options;
  options.threads = threads;
  options.strict = true;
  auto report = sim::run(module, *launch, options);
  if (!report)
    return report.error().message;
  std::string text;
  for (const sim::Finding &finding : report->findings)
    text += finding.toString() + "\n";
  return text;
}

std::string GemmFamilyCase::run(const sim::Module &module, const nvvm::LaunchRecipe &recipe, int64_t sms, int threads) {
  d = before;
  sim::Dims dims = {{abi::Dim::M, m}, {abi::Dim::Sms, sms}};
  std::vector<sim::Buffer> all = buffers(recipe, dims);
  std::string text = runStrictly(module, recipe, dims, all, threads);
  for (int32_t counter : counters)
    if (counter != 0)
      text += "a counter is left at " + std::to_string(counter) + "\n";
  return text + checkResult();
}

double valueOfD(const std::vector<std::byte> &d, int64_t index, machine::OutputType outputType) {
  uint32_t bits = 0;
  if (outputType == machine::OutputType::f32) {
    std::memcpy(&bits, &d[index * 4], 4);
  } else {
    std::memcpy(&bits, &d[index * 2], 2);
    bits <<= 16;
  }
  float value;
  std::memcpy(&value, &bits, 4);
  return value;
}

/// A rounding to D's type.
static double ulpOf(machine::OutputType type) {
  return type == machine::OutputType::f32 ? std::ldexp(1, -23) : std::ldexp(1, -8);
}

double Expected::tolerance(machine::OutputType type) const { return std::abs(sum) * ulpOf(type) + noise; }

Expected expectedProduct(const ScaledRow &a, const ScaledRow &b, int64_t k) {
  double sum = 0, squares = 0;
  for (int64_t block = 0; block * kBlock < k; ++block) {
    double products = 0, blockSquares = 0;
    for (int64_t i = block * kBlock; i < std::min(k, (block + 1) * kBlock); ++i) {
      double product = kDecode[a.codes[i]] * kDecode[b.codes[i]];
      products += product;
      blockSquares += product * product;
    }
    double scale = double(a.scales[block * a.stride]) * b.scales[block * b.stride];
    sum += scale * products;
    squares += scale * scale * blockSquares;
  }
  return {sum, 1e-4 * std::sqrt(squares) + 1e-6};
}

/// What is wrong with an element, if it is.
static std::string compare(int64_t row, int64_t column, double got, double sum, double tolerance) {
  if (std::abs(got - sum) <= tolerance)
    return {};
  return "D[" + std::to_string(row) + ", " + std::to_string(column) + "] is " + std::to_string(got) + ", should be " +
         std::to_string(sum) + " +- " + std::to_string(tolerance);
}

std::string GemmFamilyCase::checkElement(int64_t row, int64_t column) const {
  int64_t k = config.k, blocksK = (k + kBlock - 1) / kBlock, paddedM = (m + 3) / 4 * 4;
  ScaledRow a = {&problem.a[row * k], &problem.scaleA[row], paddedM};
  ScaledRow b = {&problem.b[column * k], &problem.scaleB[column / kBlock * blocksK], 1};
  Expected expected = expectedProduct(a, b, k);
  if (config.bias)
    expected.sum += bias[column];
  double tolerance = expected.tolerance(config.outputType);
  int64_t index = row * config.n + column;
  if (config.accumulate) {
    expected.sum += valueOfD(before, index, config.outputType);
    tolerance += std::abs(expected.sum) * ulpOf(config.outputType);
  }
  return compare(row, column, valueOfD(d, index, config.outputType), expected.sum, tolerance);
}

std::string GemmFamilyCase::checkResult() const {
  std::string wrong;
  for (int64_t i = 0; i < m * config.n; ++i)
    if (!std::isfinite(valueOfD(d, i, config.outputType)))
      return "D[" + std::to_string(i / config.n) + ", " + std::to_string(i % config.n) + "] is not finite";
  if (m * config.n * config.k <= kFullCheck) {
    for (int64_t i = 0; i < m * config.n && wrong.empty(); ++i)
      wrong = checkElement(i / config.n, i % config.n);
    return wrong;
  }
  std::mt19937_64 random(7);
  for (int64_t sample = 0; sample < kSamples && wrong.empty(); ++sample) {
    // Every fourth sample lies in the last row or the last column, where tiles are cut off.
    int64_t row = sample % 8 == 0 ? m - 1 : random() % m, column = sample % 8 == 4 ? config.n - 1 : random() % config.n;
    wrong = checkElement(row, column);
  }
  return wrong;
}

//===----------------------------------------------------------------------===//
// Groups of rows
//===----------------------------------------------------------------------===//

static int64_t roundUp(int64_t value, int64_t unit) { return (value + unit - 1) / unit * unit; }

GroupedGemmCase::GroupedGemmCase(const machine::GemmConfig &config, std::vector<int64_t> rowsOfGroups, int64_t capacity)
    : config(config), rowsOfGroups(std::move(rowsOfGroups)), pitch(roundUp(config.k, 16)),
      kBlocks((config.k + kBlock - 1) / kBlock), scaleRowsB((config.n + kBlock - 1) / kBlock) {
  int64_t end = 0, most = 0;
  for (int64_t count : this->rowsOfGroups) {
    end = roundUp(end, config.groupAlignment) + count;
    most = std::max(most, count);
    counts.push_back(static_cast<int32_t>(config.isMasked() ? count : end));
  }
  rows = capacity ? capacity : config.isMasked() ? most : end;
  // Tokens of top-k rows each.
  m = config.topK ? (rows + config.topK - 1) / config.topK : rows;
  rows = config.isMasked() ? config.groups * rows : config.topK ? m * config.topK : rows;
  scaleRows = roundUp(config.isMasked() ? m : rows, 4);
  fill();
}

int64_t GroupedGemmCase::firstRow(size_t group) const {
  if (config.isMasked())
    return static_cast<int64_t>(group) * m;
  return group == 0 ? 0 : roundUp(counts[group - 1], config.groupAlignment);
}

ScaledRow GroupedGemmCase::rowOfA(size_t group, int64_t row) const {
  int64_t place = config.isMasked() ? static_cast<int64_t>(group) * kBlocks * scaleRows + row - firstRow(group) : row;
  return {&a[row * pitch], &scaleA[place], scaleRows};
}

ScaledRow GroupedGemmCase::rowOfB(size_t group, int64_t column) const {
  auto g = static_cast<int64_t>(group);
  return {&b[(g * config.n + column) * pitch], &scaleB[(g * scaleRowsB + column / kBlock) * kBlocks], 1};
}

void GroupedGemmCase::fill() {
  a.assign(rows * pitch, kNanCode);
  auto weights = static_cast<int64_t>(rowsOfGroups.size());
  b.assign(weights * config.n * pitch, kNanCode);
  scaleA.assign((config.isMasked() ? config.groups : 1) * kBlocks * scaleRows, std::nanf(""));
  scaleB.assign(weights * scaleRowsB * kBlocks, std::nanf(""));
  std::mt19937_64 random(rows + 1);
  // So small that silu bends.
  std::uniform_real_distribution<float> scale(0.02f, 0.1f);
  auto fillRow = [&](const ScaledRow &row, bool scales) {
    for (int64_t i = 0; i < config.k; ++i)
      const_cast<uint8_t *>(row.codes)[i] = static_cast<uint8_t>((random() & 0x80) | (random() % 0x50 + 0x10));
    for (int64_t block = 0; scales && block < kBlocks; ++block)
      const_cast<float *>(row.scales)[block * row.stride] = scale(random);
  };
  for (size_t group = 0; group < rowsOfGroups.size(); ++group) {
    for (int64_t row = 0; row < rowsOfGroups[group]; ++row)
      fillRow(rowOfA(group, firstRow(group) + row), true);
    for (int64_t column = 0; column < config.n && rowsOfGroups[group]; ++column)
      fillRow(rowOfB(group, column), column % kBlock == 0);
  }
}

std::vector<sim::Buffer> GroupedGemmCase::buffers(std::span<std::byte> result, std::vector<int32_t> &given) {
  std::vector<sim::Buffer> all = {{"a", bytesOf(a), false},
                                  {"scale_a", bytesOf(scaleA), false},
                                  {"b", bytesOf(b), false},
                                  {"scale_b", bytesOf(scaleB), false},
                                  {"d", result, true}};
  // A program's list begins with a place that is no end.
  given = counts;
  if (config.topK)
    given.insert(given.begin(), -1);
  if (config.groups)
    all.push_back({config.isMasked() ? "counts" : config.topK ? "offsets" : "ends", bytesOf(given), false});
  return all;
}

std::string GroupedGemmCase::run(const sim::Module &module, const nvvm::LaunchRecipe &recipe, int64_t sms, int threads) {
  d.assign(rows * config.n * (config.outputType == machine::OutputType::f32 ? 4 : 2), std::byte(0xff));
  std::vector<int32_t> given;
  std::string findings =
      runStrictly(module, recipe, {{abi::Dim::M, m}, {abi::Dim::Sms, sms}}, buffers(std::span<std::byte>(d), given), threads);
  return findings.empty() ? checkResult() : findings;
}

std::string GroupedGemmCase::runSwiglu(const sim::Module &module, const nvvm::LaunchRecipe &recipe, bool powerOfTwo, int64_t sms,
                                       int threads) {
  int64_t columns = config.n / 2, scaleCount = (config.isMasked() ? config.groups : 1) * columns / kBlock * scaleRows;
  Hidden hidden = {std::vector<uint8_t>(rows * columns, 0xff), std::vector<float>(scaleCount, std::nanf(""))};
  std::vector<int32_t> given;
  std::vector<sim::Buffer> all = buffers(bytesOf(hidden.codes), given);
  all.insert(all.begin() + 5, {"scale_d", bytesOf(hidden.scales), true});
  std::string findings = runStrictly(module, recipe, {{abi::Dim::M, m}, {abi::Dim::Sms, sms}}, all, threads);
  int64_t scalesLeft =
      static_cast<int64_t>(std::count_if(hidden.scales.begin(), hidden.scales.end(), [](float x) { return !std::isnan(x); }));
  int64_t ours = 0;
  for (size_t group = 0; group < rowsOfGroups.size() && findings.empty(); ++group)
    for (int64_t row = firstRow(group); row < firstRow(group) + rowsOfGroups[group] && findings.empty(); ++row, ++ours)
      findings = checkHidden(hidden, group, row, powerOfTwo);
  for (int64_t i = 0; i < rows * columns && findings.empty(); ++i)
    if (!belongsToAGroup(i / columns) && hidden.codes[i] != 0xff)
      findings = "row " + std::to_string(i / columns) + " of D belongs to no group and was written";
  if (findings.empty() && scalesLeft != ours * columns / kBlock)
    findings = std::to_string(scalesLeft) + " scales were written, not " + std::to_string(ours * columns / kBlock);
  return findings;
}

std::string GroupedGemmCase::checkHidden(const Hidden &hidden, size_t group, int64_t row, bool powerOfTwo) const {
  int64_t columns = config.n / 2, blocks = columns / kBlock;
  for (int64_t block = 0; block < blocks; ++block) {
    std::array<double, kBlock> want;
    double amax = 1e-4;
    for (int64_t i = 0; i < kBlock; ++i) {
      int64_t column = block * kBlock + i;
      double gate = valueOfD(d, row * config.n + column, config.outputType),
             up = valueOfD(d, row * config.n + columns + column, config.outputType);
      want[i] = gate / (1 + std::exp(-gate)) * up;
      amax = std::max(amax, std::abs(want[i]));
    }
    double scale = powerOfTwo ? std::exp2(std::ceil(std::log2(amax / 448))) : amax / 448;
    int64_t place = config.isMasked() ? (static_cast<int64_t>(group) * blocks + block) * scaleRows + row - firstRow(group)
                                      : block * scaleRows + row;
    double got = hidden.scales[place];
    if (!(std::abs(got - scale) <= 2e-6 * scale))
      return "scale of row " + std::to_string(row) + ", block " + std::to_string(block) + " is " + std::to_string(got) +
             ", should be " + std::to_string(scale);
    for (int64_t i = 0; i < kBlock; ++i) {
      // Half of a step of e4m3: three bits of fraction, and steps of 2^-9 below 2^-6.
      double value = kDecode[hidden.codes[row * columns + block * kBlock + i]] * got;
      double tolerance = std::max(std::abs(want[i]) / 16, got * std::ldexp(1, -10)) * 1.0001;
      if (std::string wrong = compare(row, block * kBlock + i, value, want[i], tolerance); !wrong.empty())
        return "group " + std::to_string(group) + ": " + wrong;
    }
  }
  return {};
}

bool GroupedGemmCase::belongsToAGroup(int64_t row) const {
  for (size_t group = 0; group < rowsOfGroups.size(); ++group)
    if (row >= firstRow(group) && row < firstRow(group) + rowsOfGroups[group])
      return true;
  return false;
}

std::string GroupedGemmCase::checkRow(size_t group, int64_t row) const {
  // All columns of what is small, else those at the ends of tiles and blocks.
  int64_t step = config.k * config.n > (1 << 17) ? 7 : 1;
  for (int64_t column = 0; column < config.n; column += step) {
    Expected expected = expectedProduct(rowOfA(group, row), rowOfB(group, column), config.k);
    double got = valueOfD(d, row * config.n + column, config.outputType);
    if (std::string wrong = compare(row, column, got, expected.sum, expected.tolerance(config.outputType)); !wrong.empty())
      return "group " + std::to_string(group) + ": " + wrong;
  }
  return {};
}

std::string GroupedGemmCase::checkResult() const {
  for (size_t group = 0; group < rowsOfGroups.size(); ++group)
    for (int64_t row = firstRow(group); row < firstRow(group) + rowsOfGroups[group]; ++row)
      if (std::string wrong = checkRow(group, row); !wrong.empty())
        return wrong;
  int64_t rowBytes = static_cast<int64_t>(d.size()) / std::max<int64_t>(rows, 1);
  for (int64_t row = 0; row < rows; ++row)
    for (int64_t i = row * rowBytes; i < (row + 1) * rowBytes && !belongsToAGroup(row); ++i)
      if (d[i] != std::byte(0xff))
        return "row " + std::to_string(row) + " of D belongs to no group and was written";
  return {};
}

} // namespace quant::test
