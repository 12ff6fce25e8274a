//===- matmul_widths_test.cpp - matmuls of all targets over widths --------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// qblock.matmul and qblock.grouped_matmul of plain threads on sm_90a, in the simulator, and of the x86 units of this CPU: K as
// wide as in row_kernels_test.cpp, a few weight rows or ragged tiles of them, an empty group, against the sums in double. Where a
// target does not take a width it says why. QUANT_TEST_SEED repeats the inputs and what is left to chance.
//
//===----------------------------------------------------------------------===//

#include "runtime/support/narrow.h"
#include "test/lowering/random_weight.h"
#include "test/lowering/test_seed.h"

#include <fmt/core.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

using namespace quant;
using namespace quant::test;

namespace {

constexpr int64_t kTopK = 2, kGroups = 4;

/// The matmul of all rows of x; of groups of rows, which are gathered from the tokens, or stand in order.
enum class Form { Plain, Gathered, Slots };

/// x as it is in f32; numbers that rounding to bf16 leaves alone, which kernels are told to do; quantized in groups of 128 as
/// the tensor cores read it, with results in bf16; or int8 with a scale for each row.
enum class Inputs { F32, Bf16, Fp8, Int8 };

struct Problem {
  WeightScheme scheme;
  Form form;
  Inputs inputs;
  int64_t rows, columns;

  bool isGrouped() const { return form != Form::Plain; }
  /// Rows of x and of the result for each token.
  int64_t xPerToken() const { return form == Form::Slots ? kTopK : 1; }
  int64_t outPerToken() const { return isGrouped() ? kTopK : 1; }
  int64_t scaleColumns() const { return (columns + 127) / 128; }
  /// Products are integers, which no order of sums changes, and are scaled once (on the host; plain threads of a GPU scale
  /// partial sums).
  bool hasExactSums() const { return inputs == Inputs::Int8 && scheme.blockColumns == 0; }
};

/// Why a target takes no such weight or inputs; empty: it does.
std::string refusal(const Problem &problem, const std::string &unit) {
  const auto &[scheme, form, inputs, rows, columns] = problem;
  bool isHost = unit != "sm_90a", isFourBits = scheme.storage.ends_with("i4") || scheme.storage == "f4E2M1FN";
  if (isHost && inputs == Inputs::Fp8)
    return "the host computes f32 results, not";
  if (isHost && isFourBits && columns % 2)
    return fmt::format("rows of {} 4-bit codes do not start on a byte", columns);
  int64_t multiple = isFourBits ? 8 : scheme.storage == "i8" ? 4 : 1;
  if (!isHost && columns % multiple)
    return fmt::format("a weight is stored as {} with {} columns; kernels read rows of a multiple of {}", scheme.storage, columns,
                       multiple);
  return {};
}

std::string kernelText(const Problem &problem, const RandomWeight &weight) {
  std::string slots = problem.form == Form::Slots ? fmt::format("{}x", kTopK) : "", x = "%x", xArguments, xAssemble,
              element = problem.inputs == Inputs::Fp8 ? "bf16" : "f32",
              xType = fmt::format("tensor<?x{}{}xf32>", slots, problem.columns);
  xArguments = "%x: " + xType;
  if (problem.inputs == Inputs::Fp8) {
    std::string codes = fmt::format("tensor<?x{}{}xf8E4M3FN>", slots, problem.columns),
                scales = fmt::format("tensor<?x{}{}xf32, #qblock.layout<k_major>>", slots, problem.scaleColumns());
    xType = fmt::format("!qblock.tensor<?x{}{}xf8E4M3FN, block<1x{}128>, f32, k_major>", slots, problem.columns,
                        slots.empty() ? "" : "1x");
    xArguments = fmt::format("%xc: {}, %xs: {}", codes, scales);
    xAssemble = fmt::format("  %x = qblock.assemble %xc, %xs : ({}, {}) -> {}\n", codes, scales, xType);
  }
  if (problem.inputs == Inputs::Int8) {
    std::string codes = fmt::format("tensor<?x{}{}xi8>", slots, problem.columns),
                scales = fmt::format("tensor<?x{}1xf32>", slots);
    xType = fmt::format("!qblock.tensor<?x{}{}xi8, block<1x{}?>, f32>", slots, problem.columns, slots.empty() ? "" : "1x");
    xArguments = fmt::format("%xc: {}, %xs: {}", codes, scales);
    xAssemble = fmt::format("  %x = qblock.assemble %xc, %xs : ({}, {}) -> {}\n", codes, scales, xType);
  }
  std::string op = "matmul %x, %w", types = fmt::format("{}, {}", xType, weight.type), arguments;
  if (problem.isGrouped()) {
    std::string offsets = fmt::format("tensor<{}xi32>", kGroups + 1), list = fmt::format("tensor<?x{}xi32>", kTopK);
    bool gathers = problem.form == Form::Gathered;
    op = fmt::format("grouped_matmul %x, %w, %offsets{}", gathers ? " gather(%rows)" : "");
    types += ", " + offsets + (gathers ? ", " + list : "");
    arguments = ", %offsets: " + offsets + (gathers ? ", %rows: " + list : "");
  }
  std::string out = fmt::format("tensor<?x{}{}x{}>", problem.isGrouped() ? fmt::format("{}x", kTopK) : "", problem.rows, element);
  return fmt::format(
      "func.func private @kernel({}, {}{}) -> {} attributes {{program.grid = affine_map<(tokens, sequences, outputs, "
      "context) -> (1)>}} {{\n{}{}  %y = qblock.{} : ({}) -> {}\n  return %y : {}\n}}\n",
      xArguments, weight.arguments, arguments, out, xAssemble, weight.assemble, op, types, out, out);
}

/// A call's operands in the kernel's order, and what must come out.
struct Call {
  std::vector<Memory> operands;
  std::vector<double> want, magnitude;
};

class CallMaker {
public:
  CallMaker(const Problem &problem, const RandomWeight &weight, int64_t tokens, std::mt19937_64 &random)
      : problem(problem), weight(weight), tokens(tokens), random(random) {}

  Call make() {
    addX();
    call.operands.insert(call.operands.end(), weight.tensors.begin(), weight.tensors.end());
    int64_t rows = tokens * problem.outPerToken();
    std::vector<int64_t> group(static_cast<size_t>(rows)), source(static_cast<size_t>(rows));
    std::iota(source.begin(), source.end(), 0);
    if (problem.isGrouped())
      addGroups(group, source);
    for (int64_t row = 0; row < rows; ++row)
      multiply(group[static_cast<size_t>(row)], source[static_cast<size_t>(row)]);
    int64_t count = rows * problem.rows;
    call.operands.push_back(problem.inputs == Inputs::Fp8 ? Memory::room<uint16_t>(count) : Memory::room<float>(count));
    return std::move(call);
  }

private:
  const Problem &problem;
  const RandomWeight &weight;
  int64_t tokens;
  std::mt19937_64 &random;
  std::vector<double> x;
  Call call;

  void addX() {
    int64_t rows = tokens * problem.xPerToken(), columns = problem.columns;
    if (problem.inputs == Inputs::Int8)
      return addInt8(rows);
    if (problem.inputs != Inputs::Fp8) {
      std::vector<float> values = randomNormal(rows * columns, random);
      if (problem.inputs == Inputs::Bf16)
        std::ranges::transform(values, values.begin(), [](float value) { return fromBf16(toBf16(value)); });
      x.assign(values.begin(), values.end());
      call.operands.push_back(Memory::of(values));
      return;
    }
    // Scales stand group by group, each with room for a multiple of four rows.
    int64_t padded = (rows + 3) / 4 * 4;
    std::vector<float> scales = randomNormal(problem.scaleColumns() * padded, random);
    std::vector<uint8_t> codes;
    for (int64_t i = 0; i < rows * columns; ++i) {
      codes.push_back(static_cast<uint8_t>(random() % 0x7f | (random() & 0x80)));
      x.push_back(decodeFloat(codes.back(), kE4M3FN) * scales[static_cast<size_t>(i % columns / 128 * padded + i / columns)]);
    }
    call.operands.push_back(Memory::of(codes));
    call.operands.push_back(Memory::of(scales));
  }

  void addInt8(int64_t rows) {
    std::vector<float> scales = randomNormal(rows, random);
    std::vector<int8_t> codes;
    for (int64_t i = 0; i < rows * problem.columns; ++i) {
      codes.push_back(static_cast<int8_t>(static_cast<int64_t>(random() % 255) - 127));
      x.push_back(codes.back() * double(scales[static_cast<size_t>(i / problem.columns)]));
    }
    call.operands.push_back(Memory::of(codes));
    call.operands.push_back(Memory::of(scales));
  }

  /// Deals the rows to all groups but one, and where they are gathered shuffles them.
  void addGroups(std::vector<int64_t> &group, std::vector<int64_t> &source) {
    int64_t empty = static_cast<int64_t>(random() % kGroups);
    for (int64_t &number : group)
      number = (empty + 1 + static_cast<int64_t>(random() % (kGroups - 1))) % kGroups;
    std::sort(group.begin(), group.end());
    std::vector<int32_t> offsets;
    for (int64_t number = 0; number <= kGroups; ++number)
      offsets.push_back(static_cast<int32_t>(std::lower_bound(group.begin(), group.end(), number) - group.begin()));
    call.operands.push_back(Memory::of(offsets));
    if (problem.form != Form::Gathered)
      return;
    std::shuffle(source.begin(), source.end(), random);
    call.operands.push_back(Memory::of(std::vector<int32_t>(source.begin(), source.end())));
    for (int64_t &slot : source)
      slot /= kTopK;
  }

  void multiply(int64_t group, int64_t source) {
    const double *row = &x[static_cast<size_t>(source * problem.columns)];
    for (int64_t n = 0; n < problem.rows; ++n) {
      const double *w = &weight.values[static_cast<size_t>((group * problem.rows + n) * problem.columns)];
      double sum = 0, magnitude = 0;
      for (int64_t k = 0; k < problem.columns; ++k) {
        sum += row[k] * w[k];
        magnitude += std::abs(row[k] * w[k]);
      }
      call.want.push_back(sum);
      call.magnitude.push_back(magnitude);
    }
  }
};

class MatmulWidths : public testing::TestWithParam<int64_t> {
protected:
  std::mt19937_64 random{testSeed()};

  /// The schemes, of some alike one by chance, each with the next number of weight rows: all together would take minutes.
  void checkAll(Form form) {
    const WeightScheme blocks = {"f8E4M3FN", 128, 128};
    const WeightScheme floats[] = {{"f4E2M1FN", 1, 32}, {"f4E2M1FN", 1, 16, "", /*hasGlobalScale=*/true}};
    const WeightScheme schemes[] = {{"f32"}, {"bf16"}, blocks, {"ui4", 1, 32, "ui8"}, floats[random() % 2], {"i8", 1, 0}};
    constexpr int64_t kRows[] = {1, 5, 130, 300};
    uint64_t next = random();
    for (const WeightScheme &scheme : schemes)
      check({scheme, form, random() % 2 ? Inputs::F32 : Inputs::Bf16, kRows[next++ % std::size(kRows)], GetParam()});
    check({blocks, form, Inputs::Fp8, kRows[next++ % std::size(kRows)], GetParam()});
    const WeightScheme integers[] = {{"ui4", 1, 0}, {"ui4", 1, 32}, {"ui4", 1, 64}, {"ui4", 1, 192},
                                     {"i4", 1, 0},  {"i4", 1, 8},   {"i8", 1, 64},  {"i8", 1, 128}};
    for (const WeightScheme &scheme : {WeightScheme{"i8", 1, 0}, integers[random() % std::size(integers)]})
      check({scheme, form, Inputs::Int8, kRows[next++ % std::size(kRows)], GetParam()});
  }

private:
  uint64_t problems = random();

  /// sm_90a, and the x86 units in turns.
  std::vector<std::string> nextUnits() {
    std::vector<std::string> all = units();
    if (all.size() > 1)
      all = {all[0], all[1 + problems++ % (all.size() - 1)]};
    return all;
  }

  void check(const Problem &problem) {
    RandomWeight weight = randomWeight(problem.scheme, problem.isGrouped() ? kGroups : 0, problem.rows, problem.columns, random);
    std::string text = kernelText(problem, weight);
    for (const std::string &unit : nextUnits()) {
      SCOPED_TRACE(unit + "\n" + text);
      Result<Kernel> kernel = compileKernel(text, unit, problem.inputs == Inputs::Bf16);
      if (std::string why = refusal(problem, unit); !why.empty()) {
        ASSERT_FALSE(kernel) << "is not refused: " << why;
        ASSERT_NE(kernel.error().message.find(why), std::string::npos) << kernel.error().message;
        continue;
      }
      ASSERT_TRUE(kernel) << kernel.error().message;
      // Few rows, and on the host one register tile or two of many, the last not full.
      for (int64_t tokens : unit == "sm_90a" ? std::vector<int64_t>{1, 2, 5} : std::vector<int64_t>{1, 2, 4, 5, 37})
        compare(problem, *kernel, tokens, CallMaker(problem, weight, tokens, random).make(),
                /*isExact=*/problem.hasExactSums() && unit != "sm_90a");
    }
  }

  /// `isExact`: sums are of integers, and only scaled at the end.
  static void compare(const Problem &problem, const Kernel &kernel, int64_t tokens, Call call, bool isExact) {
    Result<void> done = kernel({.tokens = tokens, .outputs = 1}, call.operands);
    ASSERT_TRUE(done) << tokens << " tokens: " << done.error().message;
    std::vector<float> got;
    if (problem.inputs == Inputs::Fp8)
      for (uint16_t code : call.operands.back().as<uint16_t>())
        got.push_back(fromBf16(code));
    else
      got = call.operands.back().as<float>();
    double rounding = problem.inputs == Inputs::Fp8 ? std::ldexp(1, -8) : 0;
    for (size_t i = 0; i < call.want.size(); ++i)
      ASSERT_NEAR(got[i], call.want[i],
                  isExact ? 2e-7 * std::abs(call.want[i]) + 1e-12 * call.magnitude[i]
                          : 4e-6 * call.magnitude[i] + rounding * std::abs(call.want[i]))
          << tokens << " tokens, element " << i;
  }
};

TEST_P(MatmulWidths, Plain) { checkAll(Form::Plain); }
TEST_P(MatmulWidths, Grouped) { checkAll(random() % 2 ? Form::Gathered : Form::Slots); }

INSTANTIATE_TEST_SUITE_P(Widths, MatmulWidths,
                         testing::Values(1, 4, 37, 64, 128, 132, 145, 200, 256, 384, 512, 640, 1024, 1100, 2200),
                         testing::PrintToStringParamName());

/// K of DeepSeek-V3's dense down_proj and the largest products: sums in f32 would no longer be whole numbers.
TEST(LongIntegerSums, AreExact) {
  std::mt19937_64 random{testSeed()};
  constexpr int64_t kRows = 5, kColumns = 18432;
  Problem problem{{"i8", 1, 0}, Form::Plain, Inputs::Int8, kRows, kColumns};
  RandomWeight weight = randomWeight(problem.scheme, 0, kRows, kColumns, random);
  weight.tensors = {Memory::of(std::vector<int8_t>(kRows * kColumns, 127)), Memory::of(std::vector<float>(kRows, 1))};
  std::vector<int8_t> codes(kColumns);
  std::ranges::generate(codes, [&] { return static_cast<int8_t>(126 + random() % 2); });
  float want = static_cast<float>(127 * std::accumulate(codes.begin(), codes.end(), 0));
  for (const std::string &unit : units()) {
    if (unit == "sm_90a") // its plain threads scale partial sums
      continue;
    Result<Kernel> kernel = compileKernel(kernelText(problem, weight), unit, /*roundsInputs=*/false);
    ASSERT_TRUE(kernel) << kernel.error().message;
    std::vector<Memory> operands = {Memory::of(codes), Memory::of(std::vector<float>{1}), weight.tensors[0], weight.tensors[1],
                                    Memory::room<float>(kRows)};
    ASSERT_TRUE((*kernel)({.tokens = 1, .outputs = 1}, operands));
    EXPECT_EQ(operands.back().as<float>(), std::vector<float>(kRows, want)) << unit;
  }
}

} // namespace
