//===- tensors_test.cpp - the inventory against what is known of the real checkpoints -===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "models/config/read.h"
#include "models/tensors.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

using quant::DType;
using namespace quant::models;

namespace {

ModelConfig load(const char *name) {
  auto config = loadConfig(std::filesystem::path(QUANT_MODEL_CONFIGS) / name);
  EXPECT_TRUE(config) << config.error().message;
  return config.value_or(ModelConfig{});
}

class V3Tensors : public testing::Test {
protected:
  static void SetUpTestSuite() { tensors = checkpointTensors(load("671B.json")); }

  static const TensorSpec *find(const std::string &name) {
    auto found = std::ranges::find(tensors, name, &TensorSpec::name);
    return found == tensors.end() ? nullptr : &*found;
  }
  static void expect(const std::string &name, DType dtype, std::vector<int64_t> shape) {
    const TensorSpec *tensor = find(name);
    ASSERT_NE(tensor, nullptr) << name;
    EXPECT_EQ(tensor->dtype, dtype) << name;
    EXPECT_EQ(tensor->shape, shape) << name;
  }
  static void expectQuantized(const std::string &module, std::vector<int64_t> shape, std::vector<int64_t> scale) {
    expect(module + ".weight", DType::F8E4M3FN, shape);
    expect(module + ".weight_scale_inv", DType::F32, scale);
  }

  static std::vector<TensorSpec> tensors;
};
std::vector<TensorSpec> V3Tensors::tensors;

TEST_F(V3Tensors, Count) {
  EXPECT_EQ(tensors.size(), 91'991u) << "DeepSeek-V3's model.safetensors.index.json";
  std::set<std::string> names;
  for (const TensorSpec &tensor : tensors)
    EXPECT_TRUE(names.insert(tensor.name).second) << tensor.name;
}

TEST_F(V3Tensors, ShapesOfTheCheckpoint) {
  expectQuantized("model.layers.0.self_attn.q_a_proj", {1536, 7168}, {12, 56});
  expectQuantized("model.layers.0.self_attn.q_b_proj", {24576, 1536}, {192, 12});
  expectQuantized("model.layers.0.self_attn.kv_a_proj_with_mqa", {576, 7168}, {5, 56});
  expectQuantized("model.layers.60.self_attn.kv_b_proj", {32768, 512}, {256, 4});
  expectQuantized("model.layers.61.self_attn.o_proj", {7168, 16384}, {56, 128});
  expectQuantized("model.layers.2.mlp.up_proj", {18432, 7168}, {144, 56});
  expectQuantized("model.layers.2.mlp.down_proj", {7168, 18432}, {56, 144});
  expectQuantized("model.layers.3.mlp.experts.255.gate_proj", {2048, 7168}, {16, 56});
  expectQuantized("model.layers.61.mlp.experts.0.down_proj", {7168, 2048}, {56, 16});
  expectQuantized("model.layers.3.mlp.shared_experts.down_proj", {7168, 2048}, {56, 16});
  expect("model.embed_tokens.weight", DType::BF16, {129280, 7168});
  expect("lm_head.weight", DType::BF16, {129280, 7168});
  expect("model.norm.weight", DType::BF16, {7168});
  expect("model.layers.0.self_attn.q_a_layernorm.weight", DType::BF16, {1536});
  expect("model.layers.0.self_attn.kv_a_layernorm.weight", DType::BF16, {512});
  expect("model.layers.3.mlp.gate.weight", DType::BF16, {256, 7168});
  expect("model.layers.3.mlp.gate.e_score_correction_bias", DType::F32, {256});
  expect("model.layers.61.eh_proj.weight", DType::BF16, {7168, 14336});
  expect("model.layers.61.embed_tokens.weight", DType::BF16, {129280, 7168});
  expect("model.layers.61.enorm.weight", DType::BF16, {7168});
  expect("model.layers.61.shared_head.norm.weight", DType::BF16, {7168});
  expect("model.layers.61.shared_head.head.weight", DType::BF16, {129280, 7168});
  EXPECT_EQ(find("model.layers.2.mlp.experts.0.up_proj.weight"), nullptr) << "a dense layer";
  EXPECT_EQ(find("model.layers.62.input_layernorm.weight"), nullptr);
}

TEST(ModelTotals, V3) {
  ModelTotals counts = totals(load("671B.json"));
  EXPECT_EQ(counts.tensors, 91'991);
  EXPECT_NEAR(counts.parameters / 1e9, 671.03, 0.01);
  EXPECT_NEAR((counts.parameters + counts.mtpParameters) / 1e9, 684.5, 0.05);
  EXPECT_NEAR(counts.activeParameters / 1e9, 36.7, 0.15) << "README_WEIGHTS.md: 36.7B";
}

TEST(ModelTotals, V2Lite) {
  ModelTotals counts = totals(load("16B.json"));
  EXPECT_NEAR(counts.parameters / 1e9, 15.706, 0.001);
  EXPECT_NEAR(counts.activeParameters / 1e9, 2.45, 0.005);
  EXPECT_EQ(counts.bytes, counts.parameters * 2) << "all of it is bf16";
  EXPECT_EQ(counts.mtpParameters, 0);
}

TEST(ModelTotals, V2) { EXPECT_NEAR(totals(load("236B.json")).parameters / 1e9, 235.7, 0.1); }

TEST(CheckpointTensors, WithoutQuantizationThereAreNoScales) {
  ModelConfig config = load("toy_v3.json");
  config.quantization.groups.clear();
  for (DType dtype : {DType::BF16, DType::F32}) {
    config.plain = dtype;
    for (const TensorSpec &tensor : checkpointTensors(config)) {
      EXPECT_NE(tensor.role, TensorRole::Scale) << tensor.name;
      bool f32 = dtype == DType::F32 || tensor.role == TensorRole::GateBias;
      EXPECT_EQ(tensor.dtype, f32 ? DType::F32 : DType::BF16) << tensor.name;
    }
  }
}

TEST(CheckpointTensors, SkippedModulesStayBF16) {
  ModelConfig config = load("toy_v3.json");
  config.quantization.notQuantized = {"self_attn.kv_b_proj"};
  for (const TensorSpec &tensor : checkpointTensors(config))
    if (tensor.name.find("kv_b_proj") != std::string::npos) {
      EXPECT_EQ(tensor.dtype, DType::BF16) << tensor.name;
      EXPECT_EQ(tensor.role, TensorRole::Linear) << tensor.name;
    }
}

TEST(CheckpointTensors, TheToysAreSmallAndRagged) {
  for (const char *name : {"toy_v3.json", "toy_v2.json"}) {
    ModelConfig config = load(name);
    EXPECT_LT(totals(config).bytes, 32 << 20) << name;
    EXPECT_NE((config.kvLoraRank + config.qkRopeHeadDim) % 128, 0) << name << ": kv_a_proj has a ragged block";
  }
}

TEST(CheckpointTensors, TiedEmbeddings) {
  ModelConfig config = load("toy_v2.json");
  int64_t active = totals(config).activeParameters;
  config.tieWordEmbeddings = true;
  auto tensors = checkpointTensors(config);
  EXPECT_EQ(std::ranges::find(tensors, "lm_head.weight", &TensorSpec::name), tensors.end());
  EXPECT_EQ(totals(config).activeParameters, active) << "the embedding is the head";
}

} // namespace
