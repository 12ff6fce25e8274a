//===- gemm_family.cpp - any FP8 GEMM of the compiler in the simulator -----===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "test/tools/quant-sim/gemm_family.h"

#include <array>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>

namespace quant::test {

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

GemmFamilyCase::GemmFamilyCase(const machine::Fp8GemmConfig &config, int64_t m)
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

template <typename T>
static std::span<std::byte> bytesOf(std::vector<T> &data) {
  return std::as_writable_bytes(std::span<T>(data));
}

std::vector<sim::Buffer> GemmFamilyCase::buffers(const sim::Recipe &recipe, const sim::Dims &dims) {
  std::vector<sim::Buffer> all = {{"a", bytesOf(pitchedA), false},
                                  {"scale_a", bytesOf(problem.scaleA), false},
                                  {"b", bytesOf(pitchedB), false},
                                  {"scale_b", bytesOf(problem.scaleB), false},
                                  {"d", std::span<std::byte>(d), true}};
  std::vector<sim::RecipeOperand> operands = *recipe.operands(dims);
  for (const sim::RecipeOperand &operand : operands)
    if (operand.name == "bias") {
      all.push_back({"bias", bytesOf(bias), false});
    } else if (operand.name == "workspace") {
      workspace.assign(operand.bytes / sizeof(float), std::nanf(""));
      all.push_back({"workspace", bytesOf(workspace), true});
    } else if (operand.name == "counters") {
      counters.assign(operand.bytes / sizeof(int32_t), 0);
      all.push_back({"counters", bytesOf(counters), true});
    }
  for (size_t i = 0; i < all.size(); ++i)
    if (operands.at(i).bytes != all[i].bytes.size() || operands[i].name != all[i].name)
      return {};
  return all;
}

std::string GemmFamilyCase::run(const sim::Module &module, const nvvm::LaunchRecipe &recipe, int64_t sms, int threads) {
  auto parsed = sim::Recipe::parse(recipe.toJson().dump(), "");
  if (!parsed)
    return parsed.error().message;
  d = before;
  sim::Dims dims = {{abi::Dim::M, m}, {abi::Dim::Sms, sms}};
  std::vector<sim::Buffer> all = buffers(*parsed, dims);
  if (all.empty())
    return "the recipe's operands are not those of Fp8Gemm.h";
  auto launch = parsed->launch(dims, all);
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
  for (int32_t counter : counters)
    if (counter != 0)
      text += "a counter is left at " + std::to_string(counter) + "\n";
  return text + checkResult();
}

double GemmFamilyCase::valueOfD(const std::vector<std::byte> &bytes, int64_t index) const {
  uint32_t bits = 0;
  if (config.outputType == machine::OutputType::f32) {
    std::memcpy(&bits, &bytes[index * 4], 4);
  } else {
    std::memcpy(&bits, &bytes[index * 2], 2);
    bits <<= 16;
  }
  float value;
  std::memcpy(&value, &bits, 4);
  return value;
}

std::string GemmFamilyCase::checkElement(int64_t row, int64_t column) const {
  int64_t k = config.k, blocksK = (k + kBlock - 1) / kBlock, paddedM = (m + 3) / 4 * 4;
  double sum = 0, squares = 0;
  for (int64_t block = 0; block < blocksK; ++block) {
    double products = 0, blockSquares = 0;
    for (int64_t i = block * kBlock; i < std::min(k, (block + 1) * kBlock); ++i) {
      double product = kDecode[problem.a[row * k + i]] * kDecode[problem.b[column * k + i]];
      products += product;
      blockSquares += product * product;
    }
    double scale = double(problem.scaleA[block * paddedM + row]) * problem.scaleB[column / kBlock * blocksK + block];
    sum += scale * products;
    squares += scale * scale * blockSquares;
  }
  if (config.bias)
    sum += bias[column];
  // Roundings to D's type, and what f32 sums of the simulator's order may lose.
  double ulp = config.outputType == machine::OutputType::f32 ? std::ldexp(1, -23) : std::ldexp(1, -8);
  double tolerance = std::abs(sum) * ulp + 1e-4 * std::sqrt(squares) + 1e-6;
  int64_t index = row * config.n + column;
  if (config.accumulate) {
    sum += valueOfD(before, index);
    tolerance += std::abs(sum) * ulp;
  }
  double got = valueOfD(d, index);
  if (std::abs(got - sum) <= tolerance)
    return {};
  return "D[" + std::to_string(row) + ", " + std::to_string(column) + "] is " + std::to_string(got) + ", should be " +
         std::to_string(sum) + " +- " + std::to_string(tolerance);
}

std::string GemmFamilyCase::checkResult() const {
  std::string wrong;
  for (int64_t i = 0; i < m * config.n; ++i)
    if (!std::isfinite(valueOfD(d, i)))
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

} // namespace quant::test
