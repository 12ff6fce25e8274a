//===- awq_test.cpp - AWQ: which inputs are scaled, and by what -----------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "test_tensors.h"

#include "tools/quant-convert/calibrate/awq.h"

#include <gtest/gtest.h>

using namespace quant;
using namespace quant::convert;
using namespace quant::test;

namespace {

constexpr int64_t kRows = 24, kColumns = 64, kTokens = 300;

AwqLayer layerOf(const std::vector<float> &values, const Eigen::MatrixXd &sums) {
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

TEST(Awq, FindsTheInputsOfALayer) {
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

TEST(Awq, ScalesGoByTheInputs) {
  std::vector<double> squares = {1, 0, 16, 256};
  EXPECT_EQ(scalesFor(squares, 0), (std::vector<float>{1, 1, 1, 1}));
  std::vector<float> scales = scalesFor(squares, 0.5); // 1, 1e-4, 2, 4 over the root of 4 and 1e-4
  EXPECT_FLOAT_EQ(scales[0], 50);
  EXPECT_FLOAT_EQ(scales[1], 0.005);
  EXPECT_FLOAT_EQ(scales[2], 100);
  EXPECT_FLOAT_EQ(scales[3], 200);
}

TEST(Awq, ErrorIsThatOfTheProduct) {
  std::vector<float> values = normal(kRows * kColumns, 1, 0.1f), plain(kColumns, 1), doubled(kColumns, 2), byInput;
  Eigen::MatrixXd sums = outlierSums(2);
  AwqLayer layer = layerOf(values, sums);
  RowBlock block{values, kRows, kColumns, 0};
  std::vector<float> nearest = decodeRows(layer.format, layer.scheme, block, encodeRows(layer.format, layer.scheme, block, {}));
  EXPECT_EQ(scaledError(layer, plain), outputError(sums, block, nearest));
  EXPECT_EQ(scaledError(layer, doubled), scaledError(layer, plain)); // a power of two changes no code
  std::vector<double> squares(kColumns);
  for (int64_t i = 0; i < kColumns; ++i)
    squares[static_cast<size_t>(i)] = sums(i, i) / kTokens;
  EXPECT_LT(scaledError(layer, scalesFor(squares, 0.5)), 0.5 * scaledError(layer, plain));
}

TEST(Awq, RefusesScalesThatRowsShare) {
  auto error = [](const char *scheme) {
    auto checked = Awq::checkSchemes({{"x.up_proj", *chooseTarget({.name = scheme}, FileLayout::CompressedTensors)}});
    return checked ? std::string("accepted") : checked.error().message;
  };
  for (const char *scheme : {"w8a8", "w8a16", "w4a16", "w4a8", "w4afp8", "fp8-channel", "mxfp4", "mxfp8"})
    EXPECT_EQ(error(scheme), "accepted") << scheme;
  for (const char *scheme : {"fp8-block", "fp8-tensor", "nvfp4"}) {
    EXPECT_TRUE(error(scheme).starts_with(std::string("x.up_proj: ") + scheme)) << error(scheme);
    EXPECT_TRUE(
        error(scheme).ends_with(" has scales that rows share, which --method=awq does not search; take another method or scheme"))
        << error(scheme);
  }
}
