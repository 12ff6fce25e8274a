//===- Fp8Problem.cpp - random inputs and the f64 reference ------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "test/gpu/Fp8Problem.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>

namespace quant::test {

static constexpr int64_t kBlock = 128;
/// Products up to this many multiplications are compared in full, larger ones in kSamples elements.
static constexpr int64_t kFullCheck = int64_t(1) << 27;
static constexpr int64_t kSamples = 4096;

static std::array<float, 256> decodeTable() {
  std::array<float, 256> table;
  for (int bits = 0; bits < 256; ++bits) {
    int exponent = (bits >> 3) & 15, mantissa = bits & 7;
    float value = exponent ? std::ldexp(1.0f + mantissa / 8.0f, exponent - 7) : std::ldexp(mantissa / 8.0f, -6);
    if ((bits & 0x7f) == 0x7f)
      value = std::numeric_limits<float>::quiet_NaN();
    table[bits] = bits & 0x80 ? -value : value;
  }
  return table;
}

static const std::array<float, 256> kDecode = decodeTable();

/// 64 Ki e4m3 values of a normal distribution with standard deviation 100, which fills the format's range of +-448.
static std::vector<uint8_t> normalValues() {
  std::mt19937_64 random(1);
  std::normal_distribution<float> normal(0.0f, 100.0f);
  std::vector<uint8_t> values(1 << 16);
  for (uint8_t &value : values) {
    float wanted = std::clamp(normal(random), -448.0f, 448.0f);
    int best = 0;
    for (int bits = 0; bits < 0x7f; ++bits)
      if (std::abs(kDecode[bits] - std::abs(wanted)) < std::abs(kDecode[best] - std::abs(wanted)))
        best = bits;
    value = static_cast<uint8_t>(best | (wanted < 0 ? 0x80 : 0));
  }
  return values;
}

static void fillNormal(std::vector<uint8_t> &data, std::mt19937_64 &random) {
  static const std::vector<uint8_t> values = normalValues();
  size_t i = 0;
  for (; i + 4 <= data.size(); i += 4) {
    uint64_t bits = random();
    for (int j = 0; j < 4; ++j)
      data[i + j] = values[bits >> (16 * j) & 0xffff];
  }
  for (; i < data.size(); ++i)
    data[i] = values[random() & 0xffff];
}

static float randomScale(std::mt19937_64 &random) {
  return std::exp2(std::uniform_real_distribution<float>(-1.0f, 1.0f)(random)) / 448.0f;
}

Fp8Problem::Fp8Problem(int64_t m, int64_t n, int64_t k, uint64_t seed) : m(m), n(n), k(k) {
  std::mt19937_64 random(seed);
  int64_t blocksK = (k + kBlock - 1) / kBlock, blocksN = (n + kBlock - 1) / kBlock, paddedM = (m + 3) / 4 * 4;
  a.resize(m * k);
  b.resize(n * k);
  fillNormal(a, random);
  fillNormal(b, random);
  scaleA.assign(blocksK * paddedM, std::numeric_limits<float>::quiet_NaN());
  for (int64_t block = 0; block < blocksK; ++block)
    for (int64_t row = 0; row < m; ++row)
      scaleA[block * paddedM + row] = randomScale(random);
  scaleB.resize(blocksN * blocksK);
  for (float &scale : scaleB)
    scale = randomScale(random);
}

static float fromBf16(uint16_t bits) {
  uint32_t wide = uint32_t(bits) << 16;
  float value;
  std::memcpy(&value, &wide, sizeof value);
  return value;
}

bool Fp8Problem::agrees(int64_t row, int64_t column, uint16_t got, std::string &why) const {
  int64_t blocksK = (k + kBlock - 1) / kBlock, paddedM = (m + 3) / 4 * 4;
  double sum = 0, squares = 0;
  for (int64_t block = 0; block < blocksK; ++block) {
    double products = 0, blockSquares = 0;
    for (int64_t i = block * kBlock; i < std::min(k, (block + 1) * kBlock); ++i) {
      double product = double(kDecode[a[row * k + i]]) * kDecode[b[column * k + i]];
      products += product;
      blockSquares += product * product;
    }
    double scale = double(scaleA[block * paddedM + row]) * scaleB[column / kBlock * blocksK + block];
    sum += scale * products;
    squares += scale * scale * blockSquares;
  }
  // 2^-8: the rounding to bf16. 1 % of the random walk's length: about 20 times what the tensor core loses with its 14-bit
  // alignment of products, and a quarter of what one wrong scale among 144 blocks does.
  double tolerance = std::abs(sum) / 256 + 0.01 * std::sqrt(squares) + 1e-30;
  double error = std::abs(fromBf16(got) - sum);
  worst = std::max(worst, error / tolerance);
  ++compared;
  if (error <= tolerance)
    return true;
  why = "D[" + std::to_string(row) + ", " + std::to_string(column) + "] is " + std::to_string(fromBf16(got)) + ", should be " +
        std::to_string(sum) + " +- " + std::to_string(tolerance);
  return false;
}

std::string Fp8Problem::check(const std::vector<uint16_t> &d) const {
  worst = 0;
  compared = 0;
  for (int64_t i = 0; i < m * n; ++i)
    if ((d[i] & 0x7f80) == 0x7f80)
      return "D[" + std::to_string(i / n) + ", " + std::to_string(i % n) + "] is not finite: never written, or poisoned";
  std::string why;
  if (m * n * k <= kFullCheck) {
    for (int64_t i = 0; i < m * n; ++i)
      if (!agrees(i / n, i % n, d[i], why))
        return why;
    return {};
  }
  std::mt19937_64 random(7);
  for (int64_t sample = 0; sample < kSamples; ++sample) {
    // Every fourth sample lies in the last row or the last column, where tiles are cut off.
    int64_t row = sample % 8 == 0 ? m - 1 : random() % m, column = sample % 8 == 4 ? n - 1 : random() % n;
    if (!agrees(row, column, d[row * n + column], why))
      return why;
  }
  return {};
}

} // namespace quant::test
