//===- matmul_kernels_test.cpp - compiled matmuls against double ----------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Odd shapes, every code, every storage and scale format, on every instruction set of this CPU. Inputs are fresh random ones: the
// seed is printed, QUANT_TEST_SEED repeats it.
//
//===----------------------------------------------------------------------===//

#include "dialects/machine/X86.h"
#include "runtime/support/narrow.h"
#include "test/lowering/test_seed.h"
#include "tools/pipeline/HostUnits.h"
#include "tools/quant-bench/CompiledMatmul.h"

#include <gtest/gtest.h>

#include <algorithm>

#include <cmath>
#include <cstring>
#include <random>

using namespace quant;
using namespace quant::bench;

namespace {

constexpr int64_t kTokens[] = {0, 1, 2, 3, 5, 16, 17, 33};
constexpr int kThreads = 2;

/// Element `index` of an array of `type`.
double element(const std::vector<std::byte> &data, const std::string &type, size_t index) {
  auto byte = [&](size_t at) { return std::to_integer<uint32_t>(data[at]); };
  uint32_t half = type == "bf16" || type == "f16" ? byte(2 * index) | byte(2 * index + 1) << 8 : 0;
  if (type == "f8E4M3FN")
    return decodeFloat(byte(index), kE4M3FN);
  if (type == "f8E5M2")
    return decodeFloat(byte(index), kE5M2);
  if (type == "bf16")
    return decodeFloat(half, kBF16);
  if (type == "f16")
    return decodeFloat(half, kF16);
  if (type == "f8E8M0FNU")
    return decodeE8M0(static_cast<uint8_t>(byte(index)));
  if (type == "i8")
    return static_cast<int8_t>(byte(index));
  if (type == "i4")
    return fromI4(nibbleAt(data, index, NibbleOrder::LowFirst));
  if (type == "f4E2M1FN")
    return decodeFloat(nibbleAt(data, index, NibbleOrder::LowFirst), kE2M1FN);
  if (type == "ui8")
    return byte(index);
  if (type == "ui4")
    return nibbleAt(data, index, NibbleOrder::LowFirst);
  float value;
  std::memcpy(&value, &data[4 * index], 4);
  return value;
}

/// Operands of one product, random.
struct Problem {
  WeightSpec spec;
  std::vector<std::byte> data, scale, zero;
  std::vector<float> x;

  Problem(const WeightSpec &spec, std::mt19937_64 &random)
      : spec(spec), data(static_cast<size_t>(spec.dataBytes())), scale(static_cast<size_t>(spec.scaleBytes())),
        zero(spec.zero.empty() ? 0 : static_cast<size_t>(spec.scales())), x(static_cast<size_t>(33 * spec.columns)) {
    std::normal_distribution<float> normal;
    std::generate(x.begin(), x.end(), [&] { return normal(random); });
    fillData(random);
    for (size_t i = 0; i < static_cast<size_t>(spec.scales()); ++i)
      putScale(i, random);
    for (std::byte &value : zero)
      value = static_cast<std::byte>(random());
  }

  double weight(int64_t row, int64_t column) const {
    double value = element(data, spec.storage, static_cast<size_t>(row * spec.columns + column));
    if (spec.scale.empty())
      return value;
    auto block = static_cast<size_t>(row / spec.blockRows * spec.scaleColumns() + column / spec.blockColumns);
    if (!spec.zero.empty())
      value -= element(zero, spec.zero, block);
    value -= static_cast<double>(spec.zeroConstant);
    return value * element(scale, spec.scale, block);
  }

private:
  void fillData(std::mt19937_64 &random) {
    for (std::byte &value : data)
      value = static_cast<std::byte>(random());
    // Every finite code, and floats near 1.
    for (size_t i = 0; i < data.size(); ++i)
      if (spec.storage == "f8E4M3FN" && (data[i] & std::byte{0x7f}) == std::byte{0x7f})
        data[i] ^= std::byte{1};
      else if (spec.storage == "f8E5M2" && (data[i] & std::byte{0x7c}) == std::byte{0x7c})
        data[i] ^= std::byte{4};
      else if ((spec.storage == "bf16" || spec.storage == "f16") && i % 2 == 1)
        data[i] = (data[i] & std::byte{0x83}) | std::byte{0x3c};
      else if (spec.storage == "f32" && i % 4 == 3)
        data[i] = (data[i] & std::byte{0x80}) | std::byte{0x3f};
    // Some blocks hold nothing but zeros.
    if (spec.storage == "f8E4M3FN" && spec.rows > 128)
      for (int64_t row = 0; row < 128; ++row)
        std::fill_n(data.begin() + row * spec.columns, std::min<int64_t>(128, spec.columns), std::byte{0});
  }

  void putScale(size_t index, std::mt19937_64 &random) {
    float value = std::ldexp(1.0f + static_cast<float>(random() % 128) / 128, static_cast<int>(random() % 8) - 8);
    uint32_t bits;
    std::memcpy(&bits, &value, 4);
    if (spec.scale == "f8E8M0FNU") {
      scale[index] = static_cast<std::byte>(bits >> 23);
    } else if (spec.scale == "f32") {
      std::memcpy(&scale[4 * index], &value, 4);
    } else {
      // Seven bits of fraction and small exponents: exact in bf16 and in f16.
      auto half = static_cast<uint16_t>(spec.scale == "bf16" ? bits >> 16 : ((bits >> 23) - 112) << 10 | (bits >> 13 & 0x3ff));
      std::memcpy(&scale[2 * index], &half, 2);
    }
  }
};

class Matmul : public testing::Test {
protected:
  std::mt19937_64 random{testSeed()};
  std::unique_ptr<runtime::ThreadPool> pool = std::move(*runtime::ThreadPool::create(kThreads));

  /// Compiles `problem` for every instruction set and compares all M.
  void check(const Problem &problem) {
    Reference reference(problem, *std::ranges::max_element(kTokens));
    // Units whose code is that of another are tested with the inputs that make it differ (matmul_widths_test.cpp).
    for (const std::string &isa : runnableUnits(machine::x86UnitsFor(/*hasNarrowInputs=*/false))) {
      Result<CompiledMatmul> compiled = CompiledMatmul::compile(problem.spec, isa, kThreads);
      ASSERT_TRUE(compiled) << compiled.error().message;
      for (int64_t tokens : kTokens)
        compare(problem, reference, *compiled, isa, tokens);
    }
  }

private:
  /// Results [token][row] in double, and the sums of the products' magnitudes.
  struct Reference {
    std::vector<double> values, magnitudes;

    Reference(const Problem &problem, int64_t tokens) {
      const WeightSpec &spec = problem.spec;
      std::vector<double> weights;
      for (int64_t row = 0; row < spec.rows; ++row)
        for (int64_t column = 0; column < spec.columns; ++column)
          weights.push_back(problem.weight(row, column));
      for (int64_t token = 0; token < tokens; ++token)
        for (int64_t row = 0; row < spec.rows; ++row) {
          const float *x = &problem.x[static_cast<size_t>(token * spec.columns)];
          const double *weight = &weights[static_cast<size_t>(row * spec.columns)];
          double &value = values.emplace_back(0), &magnitude = magnitudes.emplace_back(0);
          for (int64_t column = 0; column < spec.columns; ++column) {
            value += weight[column] * x[column];
            magnitude += std::abs(weight[column] * x[column]);
          }
        }
    }
  };

  void compare(const Problem &problem, const Reference &reference, const CompiledMatmul &compiled, const std::string &isa,
               int64_t tokens) {
    const WeightSpec &spec = problem.spec;
    constexpr float kUntouched = 12345.0f;
    std::vector<float> out(static_cast<size_t>(tokens * spec.rows + 16), kUntouched);
    auto address = [](const std::vector<std::byte> &bytes) { return bytes.empty() ? nullptr : bytes.data(); };
    compiled.run(*pool, {problem.x.data(), problem.data.data(), address(problem.scale), address(problem.zero), out.data()},
                 tokens);
    for (int64_t row = 0; row < spec.rows; ++row)
      for (int64_t token = 0; token < tokens; ++token) {
        auto index = static_cast<size_t>(token * spec.rows + row);
        double expected = reference.values[index], magnitude = reference.magnitudes[index];
        float actual = out[index];
        // NaN and infinity exactly where the reference has them; else a few roundings of f32 against the sum of magnitudes.
        bool same = std::isnan(expected)   ? std::isnan(actual)
                    : std::isinf(expected) ? actual == expected
                                           : std::abs(actual - expected) <= 1e-6 * magnitude + 1e-30;
        ASSERT_TRUE(same) << isa << ", " << spec.rows << "x" << spec.columns << " " << spec.storage << " block " << spec.blockRows
                          << "x" << spec.blockColumns << " " << spec.scale << ", M " << tokens << ": result (" << token << ", "
                          << row << ") is " << actual << ", not " << expected;
      }
    for (size_t i = static_cast<size_t>(tokens * spec.rows); i < out.size(); ++i)
      ASSERT_EQ(out[i], kUntouched) << isa << ": wrote past the result";
  }
};

WeightSpec make(int64_t rows, int64_t columns, const char *storage, const char *scale, int64_t blockRows, int64_t blockColumns,
                const char *zero = "", int64_t zeroConstant = 0) {
  return {rows, columns, storage, scale, zero, blockRows, blockColumns, zeroConstant};
}

} // namespace

TEST_F(Matmul, E4M3OddShapes) {
  // Every other pair of sizes, by chance the even or the odd ones: compiling takes most of the time.
  size_t parity = random() % 2, pair = 0;
  for (int64_t rows : {1, 7, 8, 100, 128, 130, 576})
    for (int64_t columns : {16, 64, 72, 128, 200, 300, 1000})
      if (pair++ % 2 == parity)
        check(Problem(make(rows, columns, "f8E4M3FN", "f32", 128, 128), random));
}

TEST_F(Matmul, ScaleFormats) {
  for (const char *scale : {"f32", "bf16", "f16", "f8E8M0FNU"})
    check(Problem(make(130, 300, "f8E4M3FN", scale, 128, 128), random));
}

TEST_F(Matmul, BlockShapes) {
  check(Problem(make(100, 300, "f8E4M3FN", "f32", 1, 128), random));
  check(Problem(make(130, 1000, "f8E4M3FN", "f32", 1, 1000), random));
  check(Problem(make(130, 300, "f8E4M3FN", "f32", 130, 300), random));
  check(Problem(make(130, 300, "f8E4M3FN", "f32", 64, 64), random));
  check(Problem(make(130, 300, "f8E4M3FN", "f32", 32, 256), random));
}

TEST_F(Matmul, Storages) {
  for (int64_t columns : {72, 300, 1000}) {
    check(Problem(make(130, columns, "f8E5M2", "f32", 128, 128), random));
    check(Problem(make(130, columns, "i8", "f32", 1, columns), random));
    check(Problem(make(130, columns, "i8", "f32", 128, 128), random));
    check(Problem(make(130, columns, "i4", "f16", 1, 128), random));
    check(Problem(make(130, columns, "i4", "f16", 1, 128, "i8"), random));
    for (const char *storage : {"bf16", "f16", "f32"})
      check(Problem(make(130, columns, storage, "", 1, 1), random));
  }
}

/// Blocks narrower than what is decoded at once: several scales meet in a vector, and the last ones end short.
TEST_F(Matmul, NarrowBlocks) {
  for (int64_t columns : {64, 200, 1000})
    for (int64_t group : {8, 24, 32, 128}) {
      check(Problem(make(37, columns, "ui4", "bf16", 1, group, "", 8), random));
      check(Problem(make(37, columns, "i4", "f16", 1, group, group == 32 ? "i8" : ""), random));
      check(Problem(make(37, columns, "f8E4M3FN", "f8E8M0FNU", 1, group), random));
      check(Problem(make(37, columns, "f4E2M1FN", "f8E8M0FNU", 1, group), random));
    }
  for (const char *scale : {"f32", "f16", "bf16", "f8E8M0FNU"})
    check(Problem(make(130, 1000, "ui4", scale, 1, 32, "", 8), random));
  check(Problem(make(130, 1000, "ui8", "bf16", 1, 1000, "", 128), random));
  check(Problem(make(130, 1000, "i4", "f32", 1, 32), random));
  check(Problem(make(130, 1000, "ui4", "f32", 128, 32), random));
}

/// The widths of matmul_widths_test.cpp, for more tokens.
TEST_F(Matmul, Widths) {
  for (int64_t columns : {1, 4, 37, 132, 256, 384, 512, 640, 1024}) {
    check(Problem(make(5, columns, random() % 2 ? "bf16" : "f32", "", 1, 1), random));
    check(Problem(make(130, columns, "f8E4M3FN", "f32", 128, 128), random));
    check(Problem(make(130, columns, "i8", "f32", 1, columns), random));
    if (columns % 2 == 0)
      check(Problem(make(130, columns, "ui4", "f32", 1, 32, "ui8"), random));
  }
}

/// Codes and x may carry powers of two on their way (kDeferredFactor, kInputFactor): nothing of them is lost far from 1.
TEST_F(Matmul, InputsFarFromOne) {
  for (int exponent : {-60, 60}) {
    Problem problem(make(130, 300, "f8E4M3FN", "f32", 128, 128), random);
    for (float &value : problem.x)
      value = std::ldexp(value, exponent);
    check(problem);
  }
}

/// A NaN code makes NaN of its own row's results, and of no other.
TEST_F(Matmul, NanCodes) {
  for (int64_t columns : {64, 300})
    for (int nan : {0x7f, 0xff}) {
      Problem problem(make(130, columns, "f8E4M3FN", "f32", 128, 128), random);
      for (int64_t row : {0, 77, 129})
        problem.data[static_cast<size_t>(row * columns + static_cast<int64_t>(random() % static_cast<uint64_t>(columns)))] =
            static_cast<std::byte>(nan);
      check(problem);
    }
}

/// One column of x picks one code of each row: what the generated decoders make of every code by itself, exactly as
/// runtime/support/narrow.h has it. Of four bits a byte is two codes.
TEST_F(Matmul, EveryCodeAlone) {
  for (const char *storage : {"f8E4M3FN", "f8E5M2", "f4E2M1FN", "i8", "i4"}) {
    Problem problem(make(256, 64, storage, "f32", 256, 64), random);
    int64_t rowBytes = problem.spec.dataBytes() / 256;
    std::fill(problem.data.begin(), problem.data.end(), std::byte{0});
    float one = 1.0f;
    std::memcpy(problem.scale.data(), &one, 4);
    for (int64_t row = 0; row < 256; ++row)
      problem.data[static_cast<size_t>(row * rowBytes + row % rowBytes)] = static_cast<std::byte>(row);
    check(problem);
  }
}

/// Every code that a scale can have, in each format of one or two bytes: 2^16 blocks of f16 and bf16 would be a large weight, so
/// those take every 97th.
TEST_F(Matmul, EveryScaleAlone) {
  for (const char *scale : {"f8E8M0FNU", "bf16", "f16"}) {
    Problem problem(make(680, 16, "i8", scale, 1, 16), random);
    std::fill(problem.data.begin(), problem.data.end(), std::byte{0});
    bool isByte = problem.spec.scaleBytes() == 680;
    for (size_t row = 0; row < 680; ++row) {
      problem.data[row * 16 + row % 16] = std::byte{1};
      auto code = static_cast<uint16_t>(isByte ? row % 251 : row * 97 % 0x7C00); // with x no infinity
      std::memcpy(&problem.scale[row * (isByte ? 1 : 2)], &code, isByte ? 1 : 2);
    }
    check(problem);
  }
}
