//===- input_scaling_test.cpp - which inputs are scaled, and by what ------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "test_tensors.h"

#include "tools/quant-convert/calibrate/input_scaling.h"

#include <gtest/gtest.h>

using namespace quant;
using namespace quant::convert;
using namespace quant::test;

namespace {

constexpr int64_t kRows = 24, kColumns = 64, kTokens = 300;

ScaledLayer layerOf(const std::vector<float> &values, const Eigen::MatrixXd &sums) {
  Target target = *chooseTarget({.name = "w4a16", .groupSize = 32}, FileLayout::CompressedTensors);
  return {&sums, values, NumberFormat(target.scheme, target.zeroPoints), target.scheme};
}

/// Inputs of which some columns are far larger than the others.
Eigen::MatrixXd outlierSums(uint32_t seed) {
  auto noise = normal(kTokens * kColumns, seed);
  Eigen::MatrixXd inputs = Eigen::Map<Eigen::MatrixXf>(noise.data(), kTokens, kColumns).cast<double>();
  for (int64_t column : {3, 17, 40})
    inputs.col(column) *= 30;
  return inputs.transpose() * inputs;
}

std::string listOf(const ScaledInput &input) {
  std::string text = input.source + ":";
  for (const std::string &layer : input.layers)
    text += " " + layer;
  return text + (input.router.empty() ? "" : " + " + input.router);
}

std::vector<std::string> listOf(const std::vector<ScaledInput> &inputs) {
  std::vector<std::string> list;
  for (const ScaledInput &input : inputs)
    list.push_back(listOf(input));
  return list;
}

} // namespace

TEST(InputScaling, FindsTheInputsOfALayer) {
  Modules layers, all = {"model.embed_tokens", "model.norm"};
  const std::string p = "model.layers.1.";
  for (const char *name : {"self_attn.q_a_proj", "self_attn.kv_a_proj_with_mqa", "self_attn.q_b_proj", "self_attn.kv_b_proj",
                           "self_attn.o_proj", "mlp.experts.0.gate_proj", "mlp.experts.0.up_proj", "mlp.experts.0.down_proj",
                           "mlp.shared_experts.gate_proj", "mlp.shared_experts.up_proj", "mlp.shared_experts.down_proj"})
    layers.insert(p + name);
  all.insert(layers.begin(), layers.end());
  for (const char *name :
       {"input_layernorm", "post_attention_layernorm", "self_attn.q_a_layernorm", "self_attn.kv_a_layernorm", "mlp.gate"})
    all.insert(p + name);
  const std::string a = p + "self_attn.", m = p + "mlp.", e = m + "experts.0.", s = m + "shared_experts.";
  const std::string input = p + "input_layernorm: " + a + "q_a_proj " + a + "kv_a_proj_with_mqa",
                    q = a + "q_a_layernorm: " + a + "q_b_proj", kv = a + "kv_a_layernorm: " + a + "kv_b_proj",
                    expert = e + "up_proj: " + e + "down_proj", shared = s + "up_proj: " + s + "down_proj",
                    mlp = p + "post_attention_layernorm: " + e + "gate_proj " + e + "up_proj " + s + "gate_proj " + s +
                          "up_proj + " + m + "gate";
  EXPECT_EQ(listOf(scaledInputs(all, layers)), (std::vector<std::string>{input, q, kv, expert, shared, mlp}));
  // A reader that stays as it is would read other inputs.
  Modules fewer = layers;
  fewer.erase(e + "up_proj");
  EXPECT_EQ(listOf(scaledInputs(all, fewer)), (std::vector<std::string>{input, q, kv, shared}));
  all.insert(a + "indexer.wk");
  EXPECT_EQ(listOf(scaledInputs(all, layers)), (std::vector<std::string>{expert, shared, mlp}));
}

TEST(InputScaling, ScalesGoByTheInputs) {
  std::vector<double> squares = {1, 0, 16, 256};
  EXPECT_EQ(scalesFor(squares, 0), (std::vector<float>{1, 1, 1, 1}));
  std::vector<float> scales = scalesFor(squares, 0.5); // 1, 1e-4, 2, 4 over the root of 4 and 1e-4
  EXPECT_FLOAT_EQ(scales[0], 50);
  EXPECT_FLOAT_EQ(scales[1], 0.005);
  EXPECT_FLOAT_EQ(scales[2], 100);
  EXPECT_FLOAT_EQ(scales[3], 200);
}

TEST(InputScaling, SmoothingMovesRangeToTheWeights) {
  std::vector<double> inputs = {16, 4, 0, 9}, weights = {1, 4, 2, 0};
  EXPECT_EQ(smoothingScales(inputs, weights, 0.5), (std::vector<float>{4, 1, 1, 1}));
  EXPECT_EQ(smoothingScales(inputs, weights, 1), (std::vector<float>{16, 4, 1, 1})); // all inputs have a largest of 1
  EXPECT_EQ(smoothingScales(inputs, weights, 0), (std::vector<float>{1, 0.25F, 1, 1}));
}

/// Rows rounded to INT8 under their largest magnitudes, as W8A8's engines do with inputs and the scheme with weights.
static Eigen::MatrixXd toInt8(const Eigen::MatrixXd &rows) {
  Eigen::VectorXd steps = rows.cwiseAbs().rowwise().maxCoeff() / 127;
  return steps.asDiagonal() * (steps.cwiseInverse().asDiagonal() * rows).array().round().matrix();
}

/// Two columns of 60 times the others: both sides take their share, and the product of the rounded ones gains.
TEST(InputScaling, SmoothedInputsLoseLess) {
  auto noise = normal(kTokens * kColumns, 3), values = normal(kRows * kColumns, 4, 0.1f);
  Eigen::MatrixXd x = Eigen::Map<Eigen::MatrixXf>(noise.data(), kTokens, kColumns).cast<double>(),
                  w = Eigen::Map<Eigen::MatrixXf>(values.data(), kRows, kColumns).cast<double>();
  x.col(5) *= 60, x.col(33) *= 60;
  Eigen::VectorXd inputs = x.cwiseAbs().colwise().maxCoeff(), weights = w.cwiseAbs().colwise().maxCoeff();
  std::vector<float> given = smoothingScales({inputs.data(), kColumns}, {weights.data(), kColumns}, 0.5);
  Eigen::VectorXd scales = Eigen::Map<Eigen::VectorXf>(given.data(), kColumns).cast<double>();
  auto error = [&](const Eigen::VectorXd &s) {
    Eigen::MatrixXd divided = x * s.cwiseInverse().asDiagonal(), multiplied = w * s.asDiagonal();
    return (toInt8(divided) * toInt8(multiplied).transpose() - x * w.transpose()).squaredNorm();
  };
  EXPECT_LT(error(scales), 0.1 * error(Eigen::VectorXd::Ones(kColumns)));
}

TEST(InputScaling, ErrorIsThatOfTheProduct) {
  std::vector<float> values = normal(kRows * kColumns, 1, 0.1f), plain(kColumns, 1), doubled(kColumns, 2), byInput;
  Eigen::MatrixXd sums = outlierSums(2);
  ScaledLayer layer = layerOf(values, sums);
  RowBlock block{values, kRows, kColumns, 0};
  std::vector<float> nearest = decodeRows(layer.format, layer.scheme, block, encodeRows(layer.format, layer.scheme, block, {}));
  EXPECT_EQ(scaledError(layer, plain), outputError(sums, block, nearest));
  EXPECT_EQ(scaledError(layer, doubled), scaledError(layer, plain)); // a power of two changes no code
  std::vector<double> squares(kColumns);
  for (int64_t i = 0; i < kColumns; ++i)
    squares[static_cast<size_t>(i)] = sums(i, i) / kTokens;
  EXPECT_LT(scaledError(layer, scalesFor(squares, 0.5)), 0.5 * scaledError(layer, plain));
}

TEST(InputScaling, RefusesScalesThatRowsShare) {
  auto error = [](const char *scheme) {
    auto checked = InputScaling::checkSchemes({{"x.up_proj", *chooseTarget({.name = scheme}, FileLayout::CompressedTensors)}});
    return checked ? std::string("accepted") : checked.error().message;
  };
  for (const char *scheme : {"w8a8", "w8a16", "w4a16", "w4a8", "w4afp8", "fp8-channel", "mxfp4", "mxfp8"})
    EXPECT_EQ(error(scheme), "accepted") << scheme;
  for (const char *scheme : {"fp8-block", "fp8-tensor", "nvfp4"}) {
    EXPECT_TRUE(error(scheme).starts_with(std::string("x.up_proj: ") + scheme)) << error(scheme);
    EXPECT_TRUE(
        error(scheme).ends_with(" has scales that rows share, which inputs are not scaled for; take another method or scheme"))
        << error(scheme);
  }
}
