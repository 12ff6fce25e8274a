//===- compare_test.cpp - quant-convert compare ---------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/quant-convert/report/compare_report.h"

#include "test_tensors.h"

#include <nlohmann/json.hpp>

#include <limits>

using namespace quant;
using namespace quant::convert;
using namespace quant::test;
using nlohmann::json;

namespace {

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN(), kInf = std::numeric_limits<float>::infinity();

Comparison compare(const TestDir &dir, const std::string &pattern = "", unsigned threads = 0) {
  CompareOptions options{(dir / "a").string(), (dir / "b").string(), pattern, threads};
  auto comparison = compareCheckpoints(options);
  EXPECT_TRUE(comparison) << comparison.error().message;
  return comparison ? *comparison : Comparison{};
}

/// Both sides with one tensor each.
Metrics compareOne(const std::vector<TestTensor> &a, const std::vector<TestTensor> &b) {
  TestDir dir;
  writeTensors(dir / "a", a);
  writeTensors(dir / "b", b);
  Comparison comparison = compare(dir);
  EXPECT_TRUE(comparison.notCompared.empty()) << comparison.notCompared[0].reason;
  EXPECT_EQ(comparison.tensors.size(), 1u);
  return comparison.tensors.empty() ? Metrics{} : comparison.tensors[0].metrics;
}

bool contains(const std::string &text, const std::string &part) { return text.find(part) != text.npos; }

TEST(Compare, IdenticalTensorsSayIdentical) {
  TestDir dir;
  writeTensors(dir / "a", {floats("w.weight", {3, 5}, normal(15, 1)), floats("zero.weight", {4}, {0, 0, 0, 0})});
  std::filesystem::copy(dir / "a", dir / "b");
  auto outcome = runConvert(dir, "compare " + (dir / "a").string() + " " + (dir / "b").string() + " --fail-below 100");
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_TRUE(contains(outcome.out, "2 identical, 0 different")) << outcome.out;
  EXPECT_TRUE(contains(outcome.out, "identical    identical")) << outcome.out;
  EXPECT_FALSE(contains(outcome.out, "inf")) << outcome.out;
  EXPECT_FALSE(contains(outcome.out, "worst tensors")) << outcome.out;
}

TEST(Compare, KnownNoiseGivesItsFormula) {
  for (double noise : {1e-1, 1e-3, 1e-5}) {
    std::vector<float> a = normal(100'000, 1), b = normal(100'000, 2, float(noise));
    double largest = 0;
    for (size_t i = 0; i < a.size(); ++i) {
      largest = std::max(largest, double(std::abs(b[i])));
      b[i] += a[i];
    }
    Metrics metrics = compareOne({floats("w", {400, 250}, a)}, {floats("w", {400, 250}, b)});
    EXPECT_NEAR(metrics.sqnr(), -20 * std::log10(noise), 0.1);
    EXPECT_NEAR(metrics.relativeError(), noise, noise * 0.01);
    EXPECT_NEAR(metrics.cosine(), 1 - noise * noise / 2, noise * noise * 0.02);
    EXPECT_NEAR(metrics.maxError, largest, 1e-6);
    EXPECT_FALSE(metrics.identical());
  }
}

TEST(Compare, OneValueOff) {
  std::vector<float> a(2500, 1), b = a;
  b[1777] = 0.5f;
  Metrics metrics = compareOne({floats("w", {50, 50}, a)}, {floats("w", {50, 50}, b)});
  EXPECT_EQ(metrics.maxError, 0.5);
  EXPECT_EQ(metrics.maxAt, 1777u);
  EXPECT_DOUBLE_EQ(metrics.sqnr(), 10 * std::log10(2500 / 0.25));
  EXPECT_EQ(elementIndices(1777, std::vector<int64_t>{50, 50}), (std::vector<int64_t>{35, 27}));
}

TEST(Compare, Fp8OfANormalTensorIsAbout31dB) {
  // 300x200: blocks that are ragged on both sides.
  std::vector<float> values = normal(300 * 200, 5, 0.02f);
  Metrics metrics = compareOne({floats("m.weight", {300, 200}, values)}, castToFp8("m.weight", 300, 200, values));
  EXPECT_NEAR(metrics.sqnr(), 31.5, 0.7);
  EXPECT_EQ(metrics.elements, 60'000u);
  EXPECT_GT(metrics.cosine(), 0.999);
}

TEST(Compare, ExactInEveryDtype) {
  const std::vector<float> values = {0, 1, -1.5, 0.0078125, 448, -0.001953125};
  auto reference = floats("w.weight", {2, 3}, values);
  auto expectSame = [&](const std::vector<TestTensor> &other, const char *what) {
    EXPECT_TRUE(compareOne({reference}, other).identical()) << what;
  };
  expectSame({tensorOf<uint16_t>("w.weight", DType::BF16, {2, 3}, {0, 0x3F80, 0xBFC0, 0x3C00, 0x43E0, 0xBB00})}, "bf16");
  expectSame({tensorOf<uint16_t>("w.weight", DType::F16, {2, 3}, {0, 0x3C00, 0xBE00, 0x2000, 0x5F00, 0x9800})}, "f16");
  expectSame({tensorOf<double>("w.weight", DType::F64, {2, 3}, {values.begin(), values.end()})}, "f64");
  const std::vector<uint8_t> codes = {0, 0x38, 0xBC, 0x04, 0x7E, 0x81};
  auto fp8 = tensorOf<uint8_t>("w.weight", DType::F8E4M3FN, {2, 3}, codes);
  expectSame({fp8, floats("w.weight_scale_inv", {1, 1}, {1})}, "DeepSeek's scale");
  expectSame({fp8, tensorOf<uint16_t>("w.weight_scale", DType::BF16, {1, 1}, {0x3F80})}, "compressed-tensors' bf16 scale");
  expectSame({fp8, tensorOf<uint8_t>("w.weight_scale_inv", DType::F8E8M0FNU, {1, 1}, {127})}, "ue8m0");
  expectSame({fp8, tensorOf<uint8_t>("w.weight_scale_inv", DType::U8, {1, 1}, {127})}, "ue8m0 as U8");
  expectSame({fp8, floats("w.weight_scale", {2, 1}, {1, 1})}, "a scale per row");
  expectSame({fp8, floats("w.weight_scale", {}, {1})}, "one scale for all");
  expectSame({fp8, floats("w.scale", {1, 1}, {1})}, "the model-parallel layout");
}

TEST(Compare, ScalesCountInTheRightBlock) {
  // 130x260 of ones, with six blocks that have different scales.
  std::vector<float> values(130 * 260);
  const std::vector<float> scales = {1, 2, 4, 8, 16, 32};
  for (size_t i = 0; i < values.size(); ++i)
    values[i] = scales[i / 260 / 128 * 3 + i % 260 / 128];
  auto codes = tensorOf("w.weight", DType::F8E4M3FN, {130, 260}, std::vector<uint8_t>(values.size(), 0x38));
  EXPECT_TRUE(
      compareOne({floats("w.weight", {130, 260}, values)}, {codes, floats("w.weight_scale_inv", {2, 3}, scales)}).identical());
}

TEST(Compare, NaNAndInfAreCountedAndLeftOut) {
  Metrics metrics =
      compareOne({floats("w", {6}, {1, kNaN, kNaN, kInf, kInf, 2})}, {floats("w", {6}, {1, kNaN, 3, kInf, -kInf, 2})});
  EXPECT_EQ(metrics.nanA, 2u);
  EXPECT_EQ(metrics.nanB, 1u);
  EXPECT_EQ(metrics.infA, 2u);
  EXPECT_EQ(metrics.infB, 2u);
  EXPECT_EQ(metrics.mismatched, 2u) << "NaN against 3, Inf against -Inf";
  EXPECT_EQ(metrics.aa, 5);
  EXPECT_EQ(metrics.dd, 0);
  EXPECT_FALSE(metrics.identical());
  EXPECT_TRUE(compareOne({floats("w", {2}, {1, kNaN})}, {floats("w", {2}, {1, kNaN})}).identical());
}

TEST(Compare, NonFiniteValuesAreReportedAndFail) {
  TestDir dir;
  writeTensors(dir / "a", {floats("bad", {3}, {1, 2, 3}), floats("far", {3}, {1, 2, 3})});
  writeTensors(dir / "b", {floats("bad", {3}, {1, kNaN, 3}), floats("far", {3}, {5, 5, 5})});
  std::string call = "compare " + (dir / "a").string() + " " + (dir / "b").string();
  auto outcome = runConvert(dir, call);
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_TRUE(contains(outcome.out, "; 1 with NaN or Inf on one side only\n")) << outcome.out;
  EXPECT_TRUE(contains(outcome.out, "NaN and Inf, not in the figures")) << outcome.out;
  outcome = runConvert(dir, call + " --fail-below -100");
  EXPECT_EQ(outcome.code, 1);
  EXPECT_TRUE(contains(outcome.err, "tensor 'bad' has 1 values that are NaN or Inf on one side only")) << outcome.err;
  EXPECT_EQ(runConvert(dir, call + " --fail-below -100 --tensor far").code, 0);
}

TEST(Compare, ZeroesOnOneSide) {
  Metrics metrics = compareOne({floats("w", {2}, {0, 0})}, {floats("w", {2}, {1, 0})});
  EXPECT_EQ(metrics.sqnr(), -std::numeric_limits<double>::infinity());
  EXPECT_EQ(metrics.cosine(), 0);
  EXPECT_EQ(metrics.relativeError(), std::numeric_limits<double>::infinity());
}

TEST(Compare, WhatCannotBeComparedIsSaid) {
  TestDir dir;
  std::vector<float> ones(300 * 200, 1);
  auto fp8 = castToFp8("m.weight", 300, 200, ones);
  writeTensors(dir / "a", {floats("m.weight", {300, 200}, ones), floats("n", {2}, {1, 1}), floats("only.a", {1}, {1})});
  writeTensors(dir / "b", {fp8[0], floats("n", {1, 2}, {1, 1}), floats("only.b", {1}, {1})});
  std::string call = "compare " + (dir / "a").string() + " " + (dir / "b").string();
  auto outcome = runConvert(dir, call);
  EXPECT_EQ(outcome.code, 1);
  EXPECT_TRUE(contains(outcome.err, "2 tensors could not be compared; the first, 'm.weight', is F8_E4M3 and has no scale"))
      << outcome.err;
  EXPECT_TRUE(contains(outcome.out,
                       "not compared (2)\n  m.weight is F8_E4M3 and has no scale (weight_scale_inv or weight_scale), "
                       "in B\n  n has shape 2 in A and 1x2 in B\n"))
      << outcome.out;
  EXPECT_TRUE(contains(outcome.out, "only in A (1)\n  only.a\n")) << outcome.out;
  EXPECT_TRUE(contains(outcome.out, "only in B (1)\n  only.b\n")) << outcome.out;

  fp8[1] = floats("m.weight_scale_inv", {2, 2}, {1, 1, 1, 1});
  writeTensors(dir / "b", fp8);
  outcome = runConvert(dir, call);
  EXPECT_TRUE(contains(outcome.err, "'m.weight', has a scale of shape 2x2 does not fit a weight of shape 300x200: blocks of "
                                    "128x128 need 3x2, in B"))
      << outcome.err;
}

/// Codes, not the words that hold eight of each; "m.weight" on both sides.
TEST(Compare, PackedInt4AgainstItsValues) {
  std::vector<float> values;
  for (int i = 0; i < 4 * 20; ++i)
    values.push_back(float(i % 20 % 8 - 8) * (i < 40 ? 1 : 2));
  TestDir dir;
  writeTensors(dir / "a", {floats("m.weight", {4, 20}, values)});
  writeTensors(dir / "b", {tensorOf("m.weight_packed", DType::I32, {4, 3}, std::vector<int32_t>(12, 0x76543210)),
                           floats("m.weight_scale", {4, 1}, {1, 1, 2, 2}),
                           tensorOf("m.weight_shape", DType::I64, {2}, std::vector<int64_t>{4, 20})});
  Comparison comparison = compare(dir);
  ASSERT_EQ(comparison.tensors.size(), 1u);
  EXPECT_TRUE(comparison.tensors[0].metrics.identical());
  EXPECT_EQ(comparison.tensors[0].metrics.elements, 80u);
  EXPECT_EQ(comparison.tensors[0].schemeB, "ct-w4a16");
  EXPECT_TRUE(comparison.onlyInA.empty() && comparison.onlyInB.empty());
}

/// Groups of 32 of a row: the noise of one group is ten times that of the others.
TEST(Compare, WorstBlockIsFound) {
  std::vector<float> values;
  std::vector<int8_t> codes;
  for (float value : normal(6 * 96, 1)) {
    size_t i = codes.size();
    codes.push_back(int8_t(std::lround(value * 16)));
    values.push_back(float(codes.back()) / 16 + (i / 96 == 4 && i % 96 / 32 == 2 ? 0.1f : 0.01f) * (i % 2 ? 1.0f : -1.0f));
  }
  TestDir dir;
  writeTensors(dir / "a", {floats("m.weight", {6, 96}, values)});
  writeTensors(dir / "b", {tensorOf("m.weight", DType::I8, {6, 96}, codes),
                           floats("m.weight_scale", {6, 3}, std::vector<float>(18, 1.0f / 16))});
  const TensorComparison tensor = compare(dir).tensors.at(0);
  ASSERT_TRUE(tensor.metrics.worst);
  EXPECT_EQ(tensor.metrics.worst->row, 4);
  EXPECT_EQ(tensor.metrics.worst->column, 2);
  EXPECT_EQ(tensor.block, (std::array<int64_t, 2>{1, 32}));
  EXPECT_NEAR(tensor.metrics.worst->dd, 32 * 0.01, 1e-4);
  auto outcome = runConvert(dir, "compare " + (dir / "a").string() + " " + (dir / "b").string());
  EXPECT_TRUE(contains(outcome.out, "[4, 64] of 1x32")) << outcome.out;
}

TEST(Compare, ExitCodes) {
  TestDir dir;
  std::vector<float> values = normal(1000, 1), other = values;
  other[0] += 1;
  writeTensors(dir / "a", {floats("w", {1000}, values)});
  writeTensors(dir / "b", {floats("w", {1000}, other)});
  std::string call = "compare " + (dir / "a").string() + " " + (dir / "b").string();
  EXPECT_EQ(runConvert(dir, call + " --fail-below 25").code, 0);
  auto outcome = runConvert(dir, call + " --fail-below 60.5");
  EXPECT_EQ(outcome.code, 1);
  EXPECT_TRUE(contains(outcome.err, "tensor 'w' has an SQNR of ")) << outcome.err;
  EXPECT_TRUE(contains(outcome.err, ", below the 60.5 dB of --fail-below")) << outcome.err;
  EXPECT_EQ(runConvert(dir, call + " --tensor nothing").code, 1);
  EXPECT_EQ(runConvert(dir, call + " --tensor '('").code, 2);
  EXPECT_EQ(runConvert(dir, call + " --fail-below much").code, 2);
  EXPECT_EQ(runConvert(dir, "compare " + (dir / "a").string()).code, 2);
  EXPECT_EQ(runConvert(dir, "compare " + (dir / "a").string() + " /nowhere").code, 1);
}

TEST(Compare, JsonKeysStay) {
  TestDir dir;
  writeTensors(dir / "a", {floats("w", {2}, {0, 1}), floats("same", {1}, {1})});
  writeTensors(dir / "b", {floats("w", {2}, {0, 2}), floats("same", {1}, {1})});
  auto outcome = runConvert(dir, "compare --json " + (dir / "a").string() + " " + (dir / "b").string());
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  json result = json::parse(outcome.out);
  std::vector<std::string> keys;
  for (const auto &[key, value] : result.items())
    keys.push_back(key);
  EXPECT_EQ(keys, (std::vector<std::string>{"a", "b", "bytes", "compared", "identical", "kinds", "median_sqnr_db", "min_sqnr_db",
                                            "not_compared", "only_in_a", "only_in_b", "seconds", "tensors", "values", "worst"}));
  EXPECT_EQ(result["worst"], json({"w"}));
  json same = {{"name", "same"},        {"shape", {1}},  {"dtype_a", "F32"}, {"dtype_b", "F32"},   {"identical", true},
               {"sqnr_db", nullptr},    {"cosine", 1.0}, {"max_error", 0.0}, {"max_error_at", {}}, {"nan_a", 0},
               {"relative_error", 0.0}, {"nan_b", 0},    {"inf_a", 0},       {"inf_b", 0},         {"non_finite_mismatches", 0}};
  for (const char *key : {"max_error_at", "scheme_a", "scheme_b", "worst_block"})
    same[key] = nullptr;
  EXPECT_EQ(result["tensors"][0], same);
  EXPECT_EQ(result["tensors"][1]["sqnr_db"], 0.0);
  EXPECT_EQ(result["tensors"][1]["max_error_at"], json({1}));
}

TEST(Compare, DoesNotDependOnThreads) {
  TestDir dir;
  std::vector<float> a = normal(5'000'000, 1), b = normal(5'000'000, 2, 0.01f); // more than one slab
  for (size_t i = 0; i < a.size(); ++i)
    b[i] += a[i];
  writeTensors(dir / "a", {floats("w", {5000, 1000}, a)});
  writeTensors(dir / "b", {floats("w", {5000, 1000}, b)});
  Metrics one = compare(dir, "", 1).tensors[0].metrics, five = compare(dir, "", 5).tensors[0].metrics;
  EXPECT_EQ(one.elements, 5'000'000u);
  EXPECT_EQ(one.dd, five.dd);
  EXPECT_EQ(one.ab, five.ab);
  EXPECT_EQ(one.maxAt, five.maxAt);
  EXPECT_NEAR(one.sqnr(), 40, 0.1);
}

/// The data of a page, as its script reads it.
json dataOf(const std::string &page) {
  constexpr std::string_view begin = R"(<script id="data" type="application/json">)";
  size_t from = page.find(begin) + begin.size();
  return json::parse(page.substr(from, page.find("</script>", from) - from));
}

/// Whether `data` has the keys of `sample`, in lists in their first elements. `where` names the place.
void expectKeys(const json &data, const json &sample, const std::string &where) {
  if (sample.is_array() && !sample.empty() && !data.empty())
    return expectKeys(data[0], sample[0], where + "[0]");
  if (!sample.is_object() || where == "page.sqnr")
    return;
  ASSERT_TRUE(data.is_object()) << where;
  for (const auto &[key, value] : sample.items()) {
    ASSERT_TRUE(data.contains(key)) << where << "." << key;
    expectKeys(data[key], value, where + "." + key);
  }
  EXPECT_EQ(data.size(), sample.size()) << where;
}

TEST(Compare, HtmlStandsAlone) {
  TestDir dir;
  writeTensors(dir / "a", {floats("model.layers.0.mlp.up_proj.weight", {2}, {0, 1}), floats("<b>&\"", {1}, {1})});
  writeTensors(dir / "b", {floats("model.layers.0.mlp.up_proj.weight", {2}, {0, 2}), floats("<b>&\"", {1}, {2})});
  std::string page = (dir / "report.html").string();
  auto outcome = runConvert(dir, "compare " + (dir / "a").string() + " " + (dir / "b").string() + " --html " + page);
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_TRUE(contains(outcome.out, "the report is in " + page)) << outcome.out;
  std::string html = readAll(page);
  EXPECT_EQ(html.rfind("<!DOCTYPE html>", 0), 0u);
  EXPECT_FALSE(contains(html, "<b>&"));
  for (const char *outside : {"http:", "https:", "src=", "href=", "@import", "url("})
    EXPECT_FALSE(contains(html, outside)) << outside;
  json data = dataOf(html);
  EXPECT_EQ(data["worst"][0]["name"], "<b>&\"");
  EXPECT_EQ(data["worst"][0]["sqnr"], 0.0);
  EXPECT_EQ(data["groups"].size(), 2u);
  EXPECT_EQ(data["sqnr"]["mlp.up_proj"], json({0.0}));
  expectKeys(data, dataOf(readAll(QUANT_REPORT_PAGE)), "page");
  EXPECT_EQ(runConvert(dir, "compare " + (dir / "a").string() + " " + (dir / "b").string() + " --html /nowhere/x.html").code, 1);
}

} // namespace
