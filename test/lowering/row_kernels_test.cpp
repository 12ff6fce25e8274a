//===- row_kernels_test.cpp - row kernels of all targets over widths ------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Each row op in widths that 16 lanes, a warp's 128 columns and a block's 512 or 1024 do and do not divide, on each x86 unit of
// this CPU and on sm_90a in the simulator, where a finding is an error, against the formula in double. Inputs are fresh random
// ones: the seed is printed, QUANT_TEST_SEED repeats it.
//
//===----------------------------------------------------------------------===//

#include "runtime/support/narrow.h"
#include "test/lowering/kernel_runner.h"
#include "test/lowering/latent_cache.h"
#include "test/lowering/test_seed.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <complex>
#include <functional>
#include <numeric>
#include <random>

using namespace quant;
using namespace quant::test;

namespace {

constexpr int64_t kWidths[] = {1, 4, 37, 64, 128, 132, 145, 256, 384, 512, 640, 1024, 1100};
constexpr Sizes kSizes = {.tokens = 5, .sequences = 2, .outputs = 2, .cacheRows = 192};
constexpr int64_t kTokens = kSizes.tokens;

using Floats = std::vector<float>;
using Doubles = std::vector<double>;

class RowKernels : public testing::TestWithParam<int64_t> {
protected:
  std::mt19937_64 random{testSeed()};

  Floats normal(int64_t count) {
    std::normal_distribution<float> distribution;
    Floats values(static_cast<size_t>(count));
    std::generate(values.begin(), values.end(), [&] { return distribution(random); });
    return values;
  }

  /// Runs the kernel with the arguments and results of `signature` on each unit, and calls `check` with the results. On sm_90a it
  /// must be refused with `gpuError` instead, if that says anything.
  void run(const std::string &signature, const std::string &body, const std::vector<Memory> &inputs, std::vector<Memory> results,
           const std::function<void(const std::vector<Memory> &)> &check, bool onHost = true, const std::string &grid = "tokens",
           const std::string &gpuError = "") {
    std::string text = "func.func private @kernel" + signature +
                       " attributes {program.grid = affine_map<(tokens, sequences, outputs, context) -> (" + grid + ")>} {\n" +
                       body + "}\n";
    for (const std::string &unit : units()) {
      if (unit != "sm_90a" && !onHost)
        continue;
      SCOPED_TRACE(unit + "\n" + text);
      std::vector<Memory> operands = inputs;
      operands.insert(operands.end(), results.begin(), results.end());
      Result<void> done = runKernel(text, unit, kSizes, operands);
      if (unit == "sm_90a" && !gpuError.empty()) {
        ASSERT_FALSE(done);
        EXPECT_NE(done.error().message.find(gpuError), std::string::npos) << done.error().message;
        continue;
      }
      ASSERT_TRUE(done) << done.error().message;
      check(std::vector<Memory>(operands.begin() + static_cast<int64_t>(inputs.size()), operands.end()));
    }
  }

  static void near(const Floats &got, const Doubles &want, double tolerance = 2e-6) {
    ASSERT_EQ(got.size(), want.size());
    double largest = 0;
    for (double value : want)
      largest = std::max(largest, std::abs(value));
    for (size_t i = 0; i < got.size(); ++i)
      ASSERT_NEAR(got[i], want[i], tolerance * std::max(1.0, largest)) << "element " << i;
  }
};

std::string tensor(int64_t columns, const std::string &element = "f32", const std::string &rows = "?x") {
  return "tensor<" + rows + std::to_string(columns) + "x" + element + ">";
}

std::string dim(const std::string &name) { return " {program.dim = #program.dim<" + name + ">}"; }

Memory bf16(Floats &values) {
  std::vector<uint16_t> codes;
  for (float &value : values) {
    codes.push_back(toBf16(value));
    value = fromBf16(codes.back());
  }
  return Memory::of(codes);
}

//===----------------------------------------------------------------------===//
// Elementwise, copies, norm
//===----------------------------------------------------------------------===//

TEST_P(RowKernels, Add) {
  int64_t n = GetParam();
  Floats x = normal(kTokens * n), y = normal(kTokens * n);
  std::string type = tensor(n);
  Doubles want;
  for (size_t i = 0; i < x.size(); ++i)
    want.push_back(double(x[i]) + y[i]);
  run("(%x: " + type + ", %y: " + type + ") -> " + type, "  %z = arith.addf %x, %y : " + type + "\n  return %z : " + type + "\n",
      {Memory::of(x), Memory::of(y)}, {Memory::room<float>(kTokens * n)},
      [&](const std::vector<Memory> &out) { near(out[0].as<float>(), want); });
}

TEST_P(RowKernels, SwigluOfSlots) {
  int64_t n = GetParam(), slots = 3;
  Floats gate = normal(kTokens * slots * n), up = normal(kTokens * slots * n);
  for (float &value : gate)
    value *= 20;
  std::string narrow = tensor(n, "bf16", "?x3x"), type = tensor(n, "f32", "?x3x");
  Memory gates = bf16(gate);
  Doubles want;
  for (size_t i = 0; i < gate.size(); ++i)
    want.push_back(gate[i] / (1 + std::exp(-double(gate[i]))) * up[i]);
  run("(%g: " + narrow + ", %u: " + type + ") -> " + type,
      "  %w = arith.extf %g : " + narrow + " to " + type + "\n  %y = deepseek.swiglu %w, %u : (" + type + ", " + type + ") -> " +
          type + "\n  return %y : " + type + "\n",
      {gates, Memory::of(up)}, {Memory::room<float>(kTokens * slots * n)},
      [&](const std::vector<Memory> &out) { near(out[0].as<float>(), want); });
}

TEST_P(RowKernels, Embed) {
  int64_t n = GetParam(), words = 7;
  Floats table = normal(words * n);
  Memory codes = bf16(table);
  std::vector<int32_t> ids = {6, 0, 3, 3, 1};
  Doubles want;
  for (int32_t id : ids)
    want.insert(want.end(), table.begin() + id * n, table.begin() + (id + 1) * n);
  std::string y = tensor(n), type = tensor(n, "bf16", "7x");
  run("(%ids: tensor<?xi32>, %t: " + type + ") -> " + y,
      "  %y = deepseek.embed %ids, %t : (tensor<?xi32>, " + type + ") -> " + y + "\n  return %y : " + y + "\n",
      {Memory::of(ids), codes}, {Memory::room<float>(kTokens * n)},
      [&](const std::vector<Memory> &out) { near(out[0].as<float>(), want, 0); });
}

TEST_P(RowKernels, Concat) {
  int64_t n = GetParam(), m = n + 3;
  Floats a = normal(kTokens * n), b = normal(kTokens * m);
  Doubles want;
  for (int64_t t = 0; t < kTokens; ++t) {
    want.insert(want.end(), a.begin() + t * n, a.begin() + (t + 1) * n);
    want.insert(want.end(), b.begin() + t * m, b.begin() + (t + 1) * m);
  }
  std::string left = tensor(n), right = tensor(m), y = tensor(n + m);
  run("(%a: " + left + ", %b: " + right + ") -> " + y,
      "  %y = deepseek.concat %a, %b : (" + left + ", " + right + ") -> " + y + "\n  return %y : " + y + "\n",
      {Memory::of(a), Memory::of(b)}, {Memory::room<float>(kTokens * (n + m))},
      [&](const std::vector<Memory> &out) { near(out[0].as<float>(), want, 0); });
}

TEST_P(RowKernels, SelectTokensOfASlice) {
  int64_t n = GetParam(), pitch = n + 3;
  Floats x = normal(kTokens * pitch);
  Doubles want;
  std::vector<int32_t> selected = {4, 1};
  for (int32_t row : selected)
    want.insert(want.end(), x.begin() + row * pitch + 2, x.begin() + row * pitch + 2 + n);
  std::string wide = tensor(pitch), y = tensor(n), width = std::to_string(n);
  run(
      "(%x: " + wide + ", %o: tensor<?xi32>" + dim("outputs") + ") -> (" + y + dim("outputs") + ")",
      "  %c0 = arith.constant 0 : index\n  %t = tensor.dim %x, %c0 : " + wide + "\n  %s = tensor.extract_slice %x[0, 2] [%t, " +
          width + "] [1, 1] : " + wide + " to " + y + "\n  %y = deepseek.select_tokens %s, %o : (" + y + ", tensor<?xi32>) -> " +
          y + "\n  return %y : " + y + "\n",
      {Memory::of(x), Memory::of(selected)}, {Memory::room<float>(kSizes.outputs * n)},
      [&](const std::vector<Memory> &out) { near(out[0].as<float>(), want, 0); }, true, "outputs");
}

Doubles normed(const Floats &x, const Floats &gamma, int64_t row, int64_t pitch, double eps) {
  int64_t n = static_cast<int64_t>(gamma.size());
  double squares = 0;
  Doubles y;
  for (int64_t i = 0; i < n; ++i)
    squares += double(x[row * pitch + i]) * x[row * pitch + i];
  for (int64_t i = 0; i < n; ++i)
    y.push_back(x[row * pitch + i] * gamma[i] / std::sqrt(squares / n + eps));
  return y;
}

TEST_P(RowKernels, RmsNorm) {
  int64_t n = GetParam();
  Floats x = normal(kTokens * n), gamma = normal(n);
  Memory factors = bf16(gamma);
  Doubles want;
  for (int64_t row = 0; row < kTokens; ++row)
    for (double value : normed(x, gamma, row, n, 1e-2))
      want.push_back(value);
  std::string type = tensor(n), list = tensor(n, "bf16", "");
  run("(%x: " + type + ", %g: " + list + ") -> " + type,
      "  %y = deepseek.rms_norm %x, %g {eps = 1.0e-2} : (" + type + ", " + list + ") -> " + type + "\n  return %y : " + type +
          "\n",
      {Memory::of(x), factors}, {Memory::room<float>(kTokens * n)},
      [&](const std::vector<Memory> &out) { near(out[0].as<float>(), want, 4e-6); });
}

//===----------------------------------------------------------------------===//
// Quantized rows
//===----------------------------------------------------------------------===//

/// Where the scale of a row and group stands, and how many places there are.
struct ScaleLayout {
  int64_t rows, groups;
  bool kMajor;
  int64_t padded() const { return (rows + 3) / 4 * 4; }
  int64_t count() const { return kMajor ? groups * padded() : groups * rows; }
  int64_t at(int64_t row, int64_t group) const { return kMajor ? group * padded() + row : row * groups + group; }
};

/// Codes and scales of f32 rows are those of the rule, bit for bit.
void checkCodes(const Floats &x, int64_t n, const ScaleLayout &layout, bool powerOfTwo, const std::vector<uint8_t> &codes,
                const Floats &scales) {
  for (int64_t row = 0; row < layout.rows; ++row)
    for (int64_t group = 0; group < layout.groups; ++group) {
      int64_t first = row * n + group * 128, last = row * n + std::min(n, (group + 1) * 128);
      float amax = 1e-4f;
      for (int64_t i = first; i < last; ++i)
        amax = std::max(amax, std::abs(x[i]));
      float scale = amax / 448.0f;
      if (powerOfTwo)
        scale = decodeE8M0(encodeE8M0Up(scale));
      ASSERT_EQ(scales[layout.at(row, group)], scale) << "row " << row << ", group " << group;
      for (int64_t i = first; i < last; ++i)
        ASSERT_EQ(codes[i], encodeFloat(x[i] / scale, kE4M3FN)) << "row " << row << ", column " << i - row * n;
    }
}

std::string blocks(int64_t n, const std::string &scale, const std::string &rows = "?x") {
  return "!qblock.tensor<" + rows + std::to_string(n) + "xf8E4M3FN, block<" + (rows == "?x3x" ? "1x" : "") + "1x128>, " + scale +
         ">";
}

TEST_P(RowKernels, Quantize) {
  int64_t n = GetParam(), groups = (n + 127) / 128;
  struct Case {
    std::string scale, attributes;
    bool powerOfTwo, kMajor, onHost;
  };
  for (const Case &it : {Case{"f32", "", false, false, true}, Case{"f32", " {power_of_two}", true, false, true},
                         Case{"f8E8M0FNU", "", true, false, true}, Case{"f32, k_major", "", false, true, false}}) {
    ScaleLayout layout{kTokens * 3, groups, it.kMajor};
    Floats x = normal(layout.rows * n);
    bool narrow = it.scale == "f8E8M0FNU";
    std::string element = it.scale.substr(0, it.scale.find(','));
    std::string type = tensor(n, "f32", "?x3x"), codes = tensor(n, "f8E4M3FN", "?x3x"), block = blocks(n, it.scale, "?x3x");
    std::string scales =
        "tensor<?x3x" + std::to_string(groups) + "x" + element + (it.kMajor ? ", #qblock.layout<k_major>>" : ">");
    run(
        "(%x: " + type + ") -> (" + codes + ", " + scales + ")",
        "  %q = qblock.quantize %x" + it.attributes + " : " + type + " -> " + block + "\n  %c, %s = qblock.storage %q : " +
            block + " -> (" + codes + ", " + scales + ")\n  return %c, %s : " + codes + ", " + scales + "\n",
        {Memory::of(x)},
        {Memory::room<uint8_t>(layout.rows * n),
         narrow ? Memory::room<uint8_t>(layout.count()) : Memory::room<float>(layout.count())},
        [&](const std::vector<Memory> &out) {
          Floats got = narrow ? Floats() : out[1].as<float>();
          if (narrow)
            for (uint8_t code : out[1].as<uint8_t>())
              got.push_back(decodeE8M0(code));
          checkCodes(x, n, layout, it.powerOfTwo, out[0].as<uint8_t>(), got);
        },
        it.onHost);
  }
}

TEST_P(RowKernels, Dequantize) {
  int64_t n = GetParam(), groups = (n + 127) / 128;
  std::vector<uint8_t> codes(static_cast<size_t>(kTokens * n));
  for (uint8_t &code : codes)
    code = static_cast<uint8_t>(random() % 0x7f | (random() & 0x80));
  Floats scales = normal(kTokens * groups);
  Doubles want;
  for (int64_t i = 0; i < kTokens * n; ++i)
    want.push_back(decodeFloat(codes[i], kE4M3FN) * scales[i / n * groups + i % n / 128]);
  std::string type = tensor(n), code = tensor(n, "f8E4M3FN"), scale = tensor(groups), block = blocks(n, "f32");
  run("(%c: " + code + ", %s: " + scale + ") -> " + type,
      "  %q = qblock.assemble %c, %s : (" + code + ", " + scale + ") -> " + block + "\n  %y = qblock.dequantize %q : " + block +
          " -> " + type + "\n  return %y : " + type + "\n",
      {Memory::of(codes), Memory::of(scales)}, {Memory::room<float>(kTokens * n)},
      [&](const std::vector<Memory> &out) { near(out[0].as<float>(), want, 1e-7); });
}

/// Columns in another order; those behind the list stay.
TEST_P(RowKernels, GatherColumns) {
  int64_t n = GetParam(), ordered = std::max<int64_t>(1, n - n / 3);
  Floats x = normal(kTokens * n);
  std::vector<int32_t> order(static_cast<size_t>(ordered));
  std::iota(order.begin(), order.end(), 0);
  std::shuffle(order.begin(), order.end(), random);
  Doubles want(x.begin(), x.end());
  for (int64_t token = 0; token < kTokens; ++token)
    for (int64_t column = 0; column < ordered; ++column)
      want[token * n + column] = x[token * n + order[column]];
  std::string type = tensor(n), list = "tensor<1x" + std::to_string(ordered) + "xi32>";
  run("(%x: " + type + ", %o: " + list + ") -> " + type,
      "  %y = qblock.gather_columns %x by %o : (" + type + ", " + list + ") -> " + type + "\n  return %y : " + type + "\n",
      {Memory::of(x), Memory::of(order)}, {Memory::room<float>(kTokens * n)},
      [&](const std::vector<Memory> &out) { near(out[0].as<float>(), want, 0); });
}

/// The same for the slots of experts, each with an order of its own, from tokens or from slots.
TEST_P(RowKernels, GatherColumnsOfExperts) {
  int64_t n = GetParam(), slots = 3, experts = 4;
  std::vector<Memory> table;
  std::vector<std::vector<int32_t>> orders(static_cast<size_t>(experts), std::vector<int32_t>(static_cast<size_t>(n)));
  for (auto &order : orders) {
    std::iota(order.begin(), order.end(), 0);
    std::shuffle(order.begin(), order.end(), random);
    table.push_back(Memory::of(order));
  }
  std::vector<int32_t> ids(static_cast<size_t>(kTokens * slots)), pairs(ids.size());
  for (int32_t &id : ids)
    id = static_cast<int32_t>(random() % experts);
  std::iota(pairs.begin(), pairs.end(), 0);
  std::shuffle(pairs.begin(), pairs.end(), random);
  std::string list = "tensor<?x3xi32>", type = tensor(n, "f32", "?x3x"), ordersType = "tensor<4x1x" + std::to_string(n) + "xi32>";
  for (bool isOfSlots : {false, true}) {
    Floats x = normal(kTokens * (isOfSlots ? slots : 1) * n);
    Doubles want;
    for (int64_t row = 0; row < kTokens * slots; ++row)
      for (int64_t column = 0; column < n; ++column)
        want.push_back(x[(isOfSlots ? row : pairs[row] / slots) * n + orders[ids[pairs[row]]][column]]);
    std::string source = isOfSlots ? type : tensor(n);
    run("(%x: " + source + ", %o: " + ordersType + ", %i: " + list + ", %r: " + list + ") -> " + type,
        "  %y = qblock.gather_columns %x by %o of(%i, %r) : (" + source + ", " + ordersType + ", " + list + ", " + list +
            ") -> " + type + "\n  return %y : " + type + "\n",
        {Memory::of(x), Memory::table(table), Memory::of(ids), Memory::of(pairs)}, {Memory::room<float>(kTokens * slots * n)},
        [&](const std::vector<Memory> &out) { near(out[0].as<float>(), want, 0); });
  }
}

/// Codes and scales of each token's row, bit for bit, in the places of its experts; on GPUs alone.
TEST_P(RowKernels, GatherRows) {
  int64_t n = GetParam(), groups = (n + 127) / 128, slots = 3;
  for (bool kMajor : {false, true}) {
    ScaleLayout from{kTokens, groups, kMajor}, to{kTokens * slots, groups, kMajor};
    std::vector<uint8_t> codes(static_cast<size_t>(kTokens * n));
    for (uint8_t &code : codes)
      code = static_cast<uint8_t>(random());
    Floats scales = normal(from.count());
    std::vector<int32_t> pairs(static_cast<size_t>(to.rows));
    std::iota(pairs.begin(), pairs.end(), 0);
    std::shuffle(pairs.begin(), pairs.end(), random);
    std::string layout = kMajor ? ", #qblock.layout<k_major>>" : ">", scheme = kMajor ? "f32, k_major" : "f32";
    std::string source = blocks(n, scheme), result = blocks(n, scheme, "?x3x");
    auto scaleType = [&](const std::string &rows) { return "tensor<" + rows + std::to_string(groups) + "xf32" + layout; };
    std::string outputs = tensor(n, "f8E4M3FN", "?x3x") + ", " + scaleType("?x3x");
    run(
        "(%c: " + tensor(n, "f8E4M3FN") + ", %s: " + scaleType("?x") + ", %r: tensor<?x3xi32>) -> (" + outputs + ")",
        "  %x = qblock.assemble %c, %s : (" + tensor(n, "f8E4M3FN") + ", " + scaleType("?x") + ") -> " + source +
            "\n  %y = qblock.gather_rows %x by %r : (" + source + ", tensor<?x3xi32>) -> " + result +
            "\n  %d, %t = qblock.storage %y : " + result + " -> (" + outputs + ")\n  return %d, %t : " + outputs + "\n",
        {Memory::of(codes), Memory::of(scales), Memory::of(pairs)},
        {Memory::room<uint8_t>(to.rows * n), Memory::room<float>(to.count())},
        [&](const std::vector<Memory> &out) {
          std::vector<uint8_t> got = out[0].as<uint8_t>();
          Floats gotScales = out[1].as<float>();
          for (int64_t row = 0; row < to.rows; ++row) {
            int64_t token = pairs[row] / slots;
            for (int64_t i = 0; i < n; ++i) {
              uint8_t code = codes[token * n + i];
              bool isNan = (code & 0x7f) == 0x7f;
              ASSERT_EQ(isNan ? got[row * n + i] | 0x80 : got[row * n + i], isNan ? 0xff : code)
                  << "row " << row << ", column " << i;
            }
            for (int64_t group = 0; group < groups; ++group)
              ASSERT_EQ(gotScales[to.at(row, group)], scales[from.at(token, group)]) << "row " << row << ", group " << group;
          }
        },
        false);
  }
}

/// On GPUs rms_norm and swiglu quantize what they have in registers.
TEST_P(RowKernels, QuantizedResults) {
  int64_t n = GetParam(), groups = (n + 127) / 128;
  ScaleLayout layout{kTokens, groups, true};
  Floats x = normal(kTokens * n), gamma = normal(n);
  std::string type = tensor(n), list = tensor(n, "f32", ""), codes = tensor(n, "f8E4M3FN"), block = blocks(n, "f32, k_major");
  std::string scales = "tensor<?x" + std::to_string(groups) + "xf32, #qblock.layout<k_major>>";
  std::string store = "  %c, %s = qblock.storage %q : " + block + " -> (" + codes + ", " + scales +
                      ")\n  return %y, %c, %s : " + type + ", " + codes + ", " + scales + "\n";
  auto check = [&](const std::vector<Memory> &out) {
    checkCodes(out[0].as<float>(), n, layout, false, out[1].as<uint8_t>(), out[2].as<float>());
  };
  std::vector<Memory> results = {Memory::room<float>(kTokens * n), Memory::room<uint8_t>(kTokens * n),
                                 Memory::room<float>(layout.count())};
  std::string outputs = " -> (" + type + ", " + codes + ", " + scales + ")";
  run("(%x: " + type + ", %g: " + list + ")" + outputs,
      "  %y, %q = deepseek.rms_norm %x, %g {eps = 1.0e-6} : (" + type + ", " + list + ") -> (" + type + ", " + block + ")\n" +
          store,
      {Memory::of(x), Memory::of(gamma)}, results, check, false);
  run("(%x: " + type + ")" + outputs,
      "  %y, %q = deepseek.swiglu %x, %x : (" + type + ", " + type + ") -> (" + type + ", " + block + ")\n" + store,
      {Memory::of(x)}, results, check, false);
}

/// INT8 with a scale a row, which needs all of the row: alone on both targets, on GPUs also behind rms_norm and swiglu.
TEST_P(RowKernels, QuantizedToInt8) {
  int64_t n = GetParam();
  std::string type = tensor(n), list = tensor(n, "f32", ""), codes = tensor(n, "i8"), scales = "tensor<?x1xf32>";
  std::string block = "!qblock.tensor<?x" + std::to_string(n) + "xi8, block<1x?>, f32>";
  std::string store = "  %c, %s = qblock.storage %q : " + block + " -> (" + codes + ", " + scales + ")\n  return ";
  auto check = [n](const Floats &x, const std::vector<uint8_t> &got, const Floats &gotScales) {
    for (int64_t row = 0; row < kTokens; ++row) {
      float amax = 1e-4F;
      for (int64_t i = row * n; i < (row + 1) * n; ++i)
        amax = std::max(amax, std::abs(x[i]));
      float scale = amax / 127.0F;
      ASSERT_EQ(gotScales[row], scale) << "row " << row;
      for (int64_t i = row * n; i < (row + 1) * n; ++i)
        ASSERT_EQ(static_cast<int8_t>(got[i]), std::nearbyint(x[i] / scale)) << "row " << row << ", column " << i - row * n;
    }
  };
  Floats x = normal(kTokens * n), gamma = normal(n);
  std::vector<Memory> quantized = {Memory::room<uint8_t>(kTokens * n), Memory::room<float>(kTokens)}, results = quantized;
  results.insert(results.begin(), Memory::room<float>(kTokens * n));
  std::string outputs = codes + ", " + scales, all = type + ", " + outputs;
  run("(%x: " + type + ") -> (" + outputs + ")",
      "  %q = qblock.quantize %x : " + type + " -> " + block + "\n" + store + "%c, %s : " + outputs + "\n", {Memory::of(x)},
      quantized, [&](const std::vector<Memory> &out) { check(x, out[0].as<uint8_t>(), out[1].as<float>()); });
  auto checkAll = [&](const std::vector<Memory> &out) { check(out[0].as<float>(), out[1].as<uint8_t>(), out[2].as<float>()); };
  run("(%x: " + type + ", %g: " + list + ") -> (" + all + ")",
      "  %y, %q = deepseek.rms_norm %x, %g {eps = 1.0e-6} : (" + type + ", " + list + ") -> (" + type + ", " + block + ")\n" +
          store + "%y, %c, %s : " + all + "\n",
      {Memory::of(x), Memory::of(gamma)}, results, checkAll, false);
  run("(%x: " + type + ") -> (" + all + ")",
      "  %y, %q = deepseek.swiglu %x, %x : (" + type + ", " + type + ") -> (" + type + ", " + block + ")\n" + store +
          "%y, %c, %s : " + all + "\n",
      {Memory::of(x)}, results, checkAll, false);
}

//===----------------------------------------------------------------------===//
// Attention
//===----------------------------------------------------------------------===//

constexpr double kFactor = 1.25;

// Three tokens of one sequence, and two of another that has a full page behind it; the page that nobody has may not be looked at.
constexpr int64_t kPageRows = 64, kPagesOfSequence = 2;
const std::vector<int32_t> kPositions = {3, 4, 5, 69, 70}, kSequences = {0, 0, 0, 1, 1}, kPages = {1, 1 << 30, 2, 0};

/// The row of the cache that holds a position of a token's sequence.
int64_t rowOf(int64_t token, int64_t position) {
  return kPages[kSequences[token] * kPagesOfSequence + position / kPageRows] * kPageRows + position % kPageRows;
}

/// As arguments `%p`, `%s` and `%t`, as operands behind a cache `%c`, their types, and in memory.
std::string placeArguments() {
  return "%p: tensor<?xi32>" + dim("tokens") + ", %s: tensor<?xi32>" + dim("tokens") + ", %t: tensor<?x2xi32>" + dim("sequences");
}
const char *const kPlaced = "%c[%p, %s, %t]", *const kPagesType = "tensor<?x2xi32>";
std::vector<Memory> withPlaces(std::vector<Memory> operands) {
  for (const std::vector<int32_t> *numbers : {&kPositions, &kSequences, &kPages})
    operands.push_back(Memory::of(*numbers));
  return operands;
}

Doubles frequencies(int64_t count) {
  Doubles values;
  for (int64_t i = 0; i < count; ++i)
    values.push_back(std::pow(10000.0, -double(i) / count));
  return values;
}

/// Cosines and sines of this call's positions.
Doubles ropeTable(int64_t half) {
  Doubles table;
  for (int64_t t = 0; t < kTokens; ++t)
    for (int64_t i = 0; i < 2 * half; ++i) {
      double angle = double(kPositions[t]) * frequencies(half)[i % half];
      table.push_back(kFactor * (i < half ? std::cos(angle) : std::sin(angle)));
    }
  return table;
}

std::string exactly(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.17e", value);
  return text;
}

Floats narrowed(const Doubles &values) { return {values.begin(), values.end()}; }

Doubles rotated(const Floats &x, int64_t first, const Floats &table, int64_t row, int64_t half, bool interleaved) {
  Doubles y(static_cast<size_t>(2 * half));
  for (int64_t i = 0; i < half; ++i) {
    int64_t left = interleaved ? 2 * i : i, right = interleaved ? 2 * i + 1 : i + half;
    std::complex<double> turn(table[row * 2 * half + i], table[row * 2 * half + half + i]);
    std::complex<double> value = std::complex<double>(x[first + left], x[first + right]) * turn;
    y[left] = value.real();
    y[right] = value.imag();
  }
  return y;
}

TEST_P(RowKernels, RopeTable) {
  int64_t half = GetParam();
  std::string list, type = tensor(2 * half);
  for (double value : frequencies(half))
    list += (list.empty() ? "" : ", ") + exactly(value);
  run("(%p: tensor<?xi32>) -> " + type,
      "  %y = deepseek.rope_table %p {inv_freq = array<f64: " + list + ">, factor = 1.25} : " + type + "\n  return %y : " + type +
          "\n",
      {Memory::of(kPositions)}, {Memory::room<float>(kTokens * 2 * half)},
      [&](const std::vector<Memory> &out) { near(out[0].as<float>(), ropeTable(half), 1e-7); });
}

const char *const kCacheFormats[] = {"f32", "bf16", "fp8", "int8", "int4"};

TEST_P(RowKernels, LatentAppend) {
  constexpr int64_t kHalf = 6, kRope = 2 * kHalf, kRows = kSizes.cacheRows;
  int64_t latent = GetParam(), n = latent + kRope;
  Floats kv = normal(kTokens * n), gamma = normal(latent), table = narrowed(ropeTable(kHalf));
  std::string type = tensor(n), list = tensor(latent, "f32", ""), rope = tensor(kRope);
  for (const char *format : kCacheFormats)
    for (bool interleaved : {true, false}) {
      LatentCache layout(format, latent, kRope);
      std::string cache = layout.type();
      Floats past = normal(kRows * n);
      Memory memory = layout.store(past);
      Doubles want(past.begin(), past.end());
      for (int64_t t = 0; t < kTokens; ++t) {
        auto row = want.begin() + rowOf(t, kPositions[t]) * n;
        std::ranges::copy(normed(kv, gamma, t, n, 1e-6), row);
        std::ranges::copy(rotated(kv, t * n + latent, table, t, kHalf, interleaved), row + latent);
      }
      // The cache is an operand that is written; as the last one it is seen as a result here.
      run("(%kv: " + type + ", %g: " + list + ", %r: " + rope + ", " + placeArguments() + ", %c: " + cache + dim("context") + ")",
          std::string("  deepseek.latent_append %kv, %g, %r, ") + kPlaced +
              " {eps = 1.0e-6, interleaved = " + (interleaved ? "true" : "false") + layout.attribute() + "} : " + type + ", " +
              list + ", " + rope + ", " + cache + ", " + kPagesType + "\n  return\n",
          withPlaces({Memory::of(kv), Memory::of(gamma), Memory::of(table)}), {memory}, [&](const std::vector<Memory> &out) {
            near(layout.load(out[0]), want, layout.error());
            // What was there is left alone, bit for bit.
            std::vector<std::byte> expected = memory.bytes;
            for (int64_t t = 0; t < kTokens; ++t) {
              int64_t first = rowOf(t, kPositions[t]) * layout.rowBytes();
              std::copy_n(out[0].bytes.begin() + first, layout.rowBytes(), expected.begin() + first);
            }
            ASSERT_EQ(out[0].bytes, expected);
          });
    }
}

/// To the nearest, ties to even, on all units. A row of ones has the norm 1, so that gamma is what is stored.
TEST_F(RowKernels, LatentAppendRoundsToNearestEven) {
  constexpr int64_t kRope = 2, kRows = kSizes.cacheRows;
  const Floats gamma = {1 + 0x1p-8f, 1 + 0x3p-8f,  -1 - 0x1p-8f, 1 + 0x1.02p-8f, 1 + 0x0.fep-8f, 0x1.fffffep127f,
                        -INFINITY,   0x1.01p-130f, 0x1p-140f,    -0.0f,          3.0f,           NAN};
  const std::vector<uint16_t> rounded = {0x3F80, 0x3F82, 0xBF80, 0x3F81, 0x3F80, 0x7F80, 0xFF80, 0x0008, 0x0000, 0x8000, 0x4040};
  auto latent = static_cast<int64_t>(gamma.size()), n = latent + kRope, numbers = static_cast<int64_t>(rounded.size());
  Floats kv(static_cast<size_t>(kTokens * n), 1.0f), table(static_cast<size_t>(kTokens * kRope));
  std::string type = tensor(n), list = tensor(latent, "f32", ""), rope = tensor(kRope),
              cache = LatentCache("bf16", latent, kRope).type();
  run("(%kv: " + type + ", %g: " + list + ", %r: " + rope + ", " + placeArguments() + ", %c: " + cache + dim("context") + ")",
      std::string("  deepseek.latent_append %kv, %g, %r, ") + kPlaced + " {eps = 0.0, interleaved = true} : " + type + ", " +
          list + ", " + rope + ", " + cache + ", " + kPagesType + "\n  return\n",
      withPlaces({Memory::of(kv), Memory::of(gamma), Memory::of(table)}), {Memory::room<uint16_t>(kRows * n)},
      [&](const std::vector<Memory> &out) {
        std::vector<uint16_t> codes = out[0].as<uint16_t>();
        auto row = codes.begin() + rowOf(0, kPositions[0]) * n;
        EXPECT_EQ(std::vector<uint16_t>(row, row + numbers), rounded);
        EXPECT_TRUE(std::isnan(fromBf16(row[numbers])));
      });
}

/// From the first position, and as MTP layers have it, from another one.
TEST_P(RowKernels, MlaCore) {
  constexpr int64_t kHalf = 6, kRope = 2 * kHalf, kNope = 5, kHeads = 2, kRows = kSizes.cacheRows;
  int64_t latent = GetParam(), n = latent + kRope, query = kNope + kRope;
  // On sm_90a a lane holds its share of the query in registers.
  std::string gpuError = latent > 1024 ? "mla_core takes latents of at most 1024 and rope of at most 256 columns" : "";
  Floats queryLatent = normal(kTokens * kHeads * latent), q = normal(kTokens * kHeads * query),
         table = narrowed(ropeTable(kHalf));
  const std::pair<const char *, int64_t> cases[] = {{"f32", 0}, {"f32", 1}, {"bf16", 1}, {"fp8", 0}, {"int8", 1}, {"int4", 0}};
  for (auto [format, firstPosition] : cases) {
    LatentCache layout(format, latent, kRope);
    Floats cache = normal(kRows * n);
    // What stands before the first position is not looked at.
    if (firstPosition > 0 && format == std::string("f32"))
      for (int64_t t = 0; t < kTokens; ++t)
        std::fill_n(cache.begin() + rowOf(t, 0) * n, n, std::numeric_limits<float>::quiet_NaN());
    Memory stored = layout.store(cache);
    Doubles want;
    for (int64_t t = 0; t < kTokens; ++t)
      for (int64_t head = 0; head < kHeads; ++head) {
        Doubles turned = rotated(q, t * kHeads * query + head * query + kNope, table, t, kHalf, true), weights;
        for (int64_t s = firstPosition; s <= kPositions[t]; ++s) {
          int64_t key = rowOf(t, s) * n;
          double score = 0;
          for (int64_t c = 0; c < latent; ++c)
            score += double(queryLatent[(t * kHeads + head) * latent + c]) * cache[key + c];
          for (int64_t r = 0; r < kRope; ++r)
            score += turned[r] * cache[key + latent + r];
          weights.push_back(score * 0.1);
        }
        double largest = *std::ranges::max_element(weights), total = 0;
        for (double &weight : weights)
          total += weight = std::exp(weight - largest);
        for (int64_t c = 0; c < latent; ++c) {
          double sum = 0;
          for (size_t s = 0; s < weights.size(); ++s)
            sum += weights[s] / total * cache[rowOf(t, firstPosition + static_cast<int64_t>(s)) * n + c];
          want.push_back(sum);
        }
      }
    std::string latents = tensor(kHeads * latent), queries = tensor(kHeads * query), rope = tensor(kRope), memory = layout.type();
    run(
        "(%l: " + latents + ", %q: " + queries + ", %r: " + rope + ", %c: " + memory + dim("context") + ", " + placeArguments() +
            ") -> " + latents,
        std::string("  %y = deepseek.mla_core %l, %q, %r, ") + kPlaced +
            " {heads = 2, nope_dim = 5, rope_dim = 12, v_dim = 4, softmax_scale = 0.1, interleaved = true" + layout.attribute() +
            (firstPosition ? ", first_position = 1 : i64" : "") + "} : (" + latents + ", " + queries + ", " + rope + ", " +
            memory + ", " + kPagesType + ") -> " + latents + "\n  return %y : " + latents + "\n",
        withPlaces({Memory::of(queryLatent), Memory::of(q), Memory::of(table), stored}),
        {Memory::room<float>(kTokens * kHeads * latent)},
        [&](const std::vector<Memory> &out) { near(out[0].as<float>(), want, 1e-5); }, true, "tokens * 2", gpuError);
  }
}

//===----------------------------------------------------------------------===//
// Experts
//===----------------------------------------------------------------------===//

TEST_P(RowKernels, MoeCombine) {
  constexpr int64_t kTopK = 3, kExperts = 6;
  int64_t n = GetParam();
  std::vector<int32_t> ids, offsets = {0}, rows;
  for (int64_t t = 0; t < kTokens; ++t) {
    std::vector<int32_t> order(kExperts);
    std::iota(order.begin(), order.end(), 0);
    std::ranges::shuffle(order, random);
    ids.insert(ids.end(), order.begin(), order.begin() + kTopK);
  }
  for (int32_t expert = 0; expert < kExperts; ++expert) {
    for (size_t pair = 0; pair < ids.size(); ++pair)
      if (ids[pair] == expert)
        rows.push_back(static_cast<int32_t>(pair));
    offsets.push_back(static_cast<int32_t>(rows.size()));
  }
  Floats x = normal(kTokens * kTopK * n), weights = normal(kTokens * kTopK);
  Doubles want(static_cast<size_t>(kTokens * n));
  for (size_t place = 0; place < rows.size(); ++place)
    for (int64_t c = 0; c < n; ++c)
      want[rows[place] / kTopK * n + c] += double(weights[rows[place]]) * x[static_cast<int64_t>(place) * n + c];
  std::string slots = tensor(n, "f32", "?x3x"), y = tensor(n), pairs = tensor(kTopK, "i32"), factors = tensor(kTopK);
  run("(%x: " + slots + ", %i: " + pairs + ", %w: " + factors + ", %o: tensor<7xi32>, %r: " + pairs + ") -> " + y,
      "  %y = deepseek.moe_combine %x, %i, %w, %o, %r : (" + slots + ", " + pairs + ", " + factors + ", tensor<7xi32>, " + pairs +
          ") -> " + y + "\n  return %y : " + y + "\n",
      {Memory::of(x), Memory::of(ids), Memory::of(weights), Memory::of(offsets), Memory::of(rows)},
      {Memory::room<float>(kTokens * n)}, [&](const std::vector<Memory> &out) { near(out[0].as<float>(), want); });
}

/// The experts and weights of one token.
struct Choice {
  std::vector<int32_t> ids;
  Doubles weights;
};

struct Gate {
  int64_t topK, groups, limited;
  bool sigmoid, top2, normalize;

  Choice choose(std::span<const float> logits, std::span<const float> bias) const {
    auto n = static_cast<int64_t>(logits.size()), size = n / groups;
    Doubles scores, biased;
    double largest = *std::ranges::max_element(logits), total = 0;
    for (float logit : logits)
      scores.push_back(sigmoid ? 1 / (1 + std::exp(-double(logit))) : std::exp(logit - largest));
    for (double score : scores)
      total += score;
    for (int64_t e = 0; e < n; ++e) {
      scores[e] /= sigmoid ? 1 : total;
      biased.push_back(scores[e] + bias[e]);
    }
    Doubles ofGroups;
    for (int64_t group = 0; group < groups; ++group) {
      Doubles members(biased.begin() + group * size, biased.begin() + (group + 1) * size);
      std::ranges::sort(members, std::greater());
      ofGroups.push_back(members[0] + (top2 ? members[1] : 0));
    }
    for (int64_t group = 0; group < groups; ++group)
      if (std::ranges::count_if(ofGroups, [&](double other) { return other > ofGroups[group]; }) >= limited)
        std::fill_n(biased.begin() + group * size, size, -INFINITY);
    Choice choice;
    double sum = 0;
    for (int64_t slot = 0; slot < topK; ++slot) {
      auto best = static_cast<int32_t>(std::ranges::max_element(biased) - biased.begin());
      choice.ids.push_back(best);
      choice.weights.push_back(scores[best]);
      sum += scores[best];
      biased[best] = -INFINITY;
    }
    for (double &weight : choice.weights)
      weight = 2.5 * weight / (normalize ? sum : 1);
    return choice;
  }
};

TEST_P(RowKernels, MoeGate) {
  int64_t experts = GetParam(), groups = experts % 8 == 0 ? 8 : experts % 4 == 0 && experts > 4 ? 4 : 1;
  int64_t limited = (groups + 1) / 2, topK = std::min<int64_t>(experts / groups * limited, 5);
  for (bool sigmoid : {true, false}) {
    Gate gate{topK, groups, limited, sigmoid, sigmoid && groups > 1, sigmoid};
    Floats logits = normal(kTokens * experts), bias = sigmoid ? normal(experts) : Floats(static_cast<size_t>(experts));
    std::string type = tensor(experts), list = tensor(experts, "f32", ""), ids = tensor(topK, "i32"), weights = tensor(topK);
    std::string bits = " {top_k = " + std::to_string(topK) + ", groups = " + std::to_string(groups) +
                       ", limited_groups = " + std::to_string(limited) + ", score_func = " + std::to_string(gate.sigmoid) +
                       " : i32, group_score = " + std::to_string(gate.top2) +
                       " : i32, normalize = " + (gate.normalize ? "true" : "false") + ", route_scale = 2.5}";
    run("(%l: " + type + ", %b: " + list + ") -> (" + ids + ", " + weights + ")",
        "  %i, %w = deepseek.moe_gate %l, %b" + bits + " : (" + type + ", " + list + ") -> (" + ids + ", " + weights +
            ")\n  return %i, %w : " + ids + ", " + weights + "\n",
        {Memory::of(logits), Memory::of(bias)}, {Memory::room<int32_t>(kTokens * topK), Memory::room<float>(kTokens * topK)},
        [&](const std::vector<Memory> &out) {
          std::vector<int32_t> got = out[0].as<int32_t>();
          Doubles want;
          for (int64_t t = 0; t < kTokens; ++t) {
            Choice choice = gate.choose(std::span(logits).subspan(t * experts, experts), bias);
            ASSERT_EQ(std::vector<int32_t>(got.begin() + t * topK, got.begin() + (t + 1) * topK), choice.ids) << "token " << t;
            want.insert(want.end(), choice.weights.begin(), choice.weights.end());
          }
          near(out[1].as<float>(), want);
        });
  }
}

INSTANTIATE_TEST_SUITE_P(Widths, RowKernels, testing::ValuesIn(kWidths), testing::PrintToStringParamName());

} // namespace
