//===- config_test.cpp - reading and printing model configurations --------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "models/config/print.h"
#include "models/config/read.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <fstream>

using namespace quant;
using namespace quant::models;
using nlohmann::json;

namespace {

const std::filesystem::path kConfigs = QUANT_MODEL_CONFIGS;
const char *const kAllConfigs[] = {"671B.json", "v3.1.json", "236B.json", "16B.json", "toy_v3.json", "toy_v2.json"};

ModelConfig load(const std::string &name) {
  auto config = loadConfig(kConfigs / name);
  EXPECT_TRUE(config) << config.error().message;
  return config.value_or(ModelConfig{});
}

ModelConfig parse(const json &object) {
  auto config = parseConfig(object);
  EXPECT_TRUE(config) << config.error().message;
  return config.value_or(ModelConfig{});
}

json readJson(const std::string &name) { return json::parse(std::ifstream(kConfigs / name)); }

/// inference/configs/config_671B.json of deepseek-ai/DeepSeek-V3.
const char *const kDeepSeek671B = R"({"vocab_size": 129280, "dim": 7168, "inter_dim": 18432, "moe_inter_dim": 2048,
  "n_layers": 61, "n_dense_layers": 3, "n_heads": 128, "n_routed_experts": 256, "n_shared_experts": 1,
  "n_activated_experts": 8, "n_expert_groups": 8, "n_limited_groups": 4, "route_scale": 2.5, "score_func": "sigmoid",
  "q_lora_rank": 1536, "kv_lora_rank": 512, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128,
  "dtype": "fp8"})";

TEST(ModelConfig, BothStylesOf671BSayTheSame) {
  ModelConfig deepSeek = parse(json::parse(kDeepSeek671B)), huggingFace = load("671B.json");
  // DeepSeek's program runs 16384 tokens, knows no token ids, and drops the MTP layer.
  EXPECT_EQ(deepSeek.maxSeqLen, 16384);
  deepSeek.maxSeqLen = 163840;
  deepSeek.nMtpLayers = 1;
  deepSeek.bosTokenId = 0;
  deepSeek.eosTokenIds = {1};
  EXPECT_EQ(toJson(deepSeek), toJson(huggingFace));
  EXPECT_EQ(deepSeek, huggingFace);
}

TEST(ModelConfig, ReadsV3) {
  ModelConfig config = load("671B.json");
  EXPECT_EQ(config.modelType, "deepseek_v3");
  EXPECT_EQ(config.quantization.groups, everyLinear(deepSeekFp8()));
  EXPECT_EQ(config.quantization.mainScheme().scaleFmt, ScaleFmt::None);
  EXPECT_EQ(config.topkMethod, TopkMethod::NoauxTc);
  EXPECT_EQ(config.groupScore(), GroupScore::SumOfTop2);
  EXPECT_TRUE(config.normTopkProb);
  EXPECT_TRUE(config.hasGateBias());
  EXPECT_TRUE(config.hasRopeScaling);
  EXPECT_EQ(config.ropeFactor, 40);
  EXPECT_EQ(config.quantization.mainScheme().block, (std::array<int64_t, 2>{128, 128}));
  EXPECT_EQ(config.nMtpLayers, 1);
  EXPECT_FALSE(config.isMoeLayer(2));
  EXPECT_TRUE(config.isMoeLayer(3));
  EXPECT_TRUE(config.isMoeLayer(61)) << "the MTP layer has experts";
}

TEST(ModelConfig, V31DiffersByItsScaleFormatOnly) {
  ModelConfig config = load("v3.1.json");
  EXPECT_EQ(config.quantization.mainScheme().scaleFmt, ScaleFmt::UE8M0);
  config.quantization.groups = everyLinear(deepSeekFp8());
  EXPECT_EQ(config, load("671B.json"));
}

TEST(ModelConfig, ReadsV2) {
  ModelConfig large = load("236B.json"), lite = load("16B.json");
  EXPECT_EQ(large.modelType, "deepseek_v2");
  EXPECT_EQ(large.topkMethod, TopkMethod::GroupLimitedGreedy);
  EXPECT_EQ(large.groupScore(), GroupScore::Max);
  EXPECT_FALSE(large.hasGateBias());
  EXPECT_FALSE(large.normTopkProb);
  EXPECT_EQ(large.routeScale, 16);
  EXPECT_EQ(large.mscaleAllDim, 1);
  EXPECT_EQ(lite.topkMethod, TopkMethod::Greedy);
  EXPECT_EQ(lite.qLoraRank, 0);
  EXPECT_EQ(lite.mscale, 0.707);
  EXPECT_EQ(lite.mscaleAllDim, 0.707) << "DeepSeek's softmax scale uses mscale";
  EXPECT_FALSE(lite.isQuantized());
  EXPECT_EQ(lite.plain, DType::BF16);
}

TEST(ModelConfig, ReadsRopeParametersAndDtypeOfTransformers5) {
  json object = readJson("671B.json"), expected = object;
  object["rope_parameters"] = object["rope_scaling"];
  object["rope_parameters"]["rope_type"] = "yarn";
  object["rope_parameters"]["rope_theta"] = object["rope_theta"];
  object["dtype"] = object["torch_dtype"];
  for (const char *old : {"rope_scaling", "rope_theta", "torch_dtype"})
    object.erase(old);
  EXPECT_EQ(parse(object), parse(expected));
}

TEST(ModelConfig, NullMeansAbsent) {
  json object = readJson("671B.json");
  object["model_type"] = "deepseek_v2";
  object["scoring_func"] = "softmax";
  object["norm_topk_prob"] = false;
  for (const char *key : {"q_lora_rank", "n_group", "topk_group", "topk_method", "rope_scaling", "num_nextn_predict_layers",
                          "quantization_config", "n_shared_experts"})
    object[key] = nullptr;
  ModelConfig config = parse(object);
  EXPECT_EQ(config.qLoraRank, 0);
  EXPECT_EQ(config.nExpertGroups, 1);
  EXPECT_EQ(config.nSharedExperts, 0);
  EXPECT_EQ(config.topkMethod, TopkMethod::Greedy);
  EXPECT_FALSE(config.hasRopeScaling);
  EXPECT_FALSE(config.isQuantized());
  EXPECT_EQ(config.plain, DType::BF16);
}

TEST(ModelConfig, AModelWithoutExperts) {
  json object = readJson("toy_v3.json");
  object["first_k_dense_replace"] = object["num_hidden_layers"];
  for (const char *key : {"num_nextn_predict_layers", "n_routed_experts", "num_experts_per_tok", "moe_intermediate_size"})
    object[key] = nullptr;
  EXPECT_FALSE(parse(object).hasMoe());
}

TEST(ModelConfig, SkipListsAreJoined) {
  json object = readJson("671B.json");
  object["quantization_config"]["modules_to_not_convert"] = {"lm_head", "kv_b_proj"};
  object["quantization_config"]["ignored_layers"] = {"lm_head", "model.layers.0", "model.layers.*.mlp.shared_experts"};
  ModelConfig config = parse(object);
  EXPECT_EQ(config.quantization.notQuantized,
            (std::vector<std::string>{"lm_head", "kv_b_proj", "model.layers.0", "model.layers.*.mlp.shared_experts"}));
  EXPECT_FALSE(config.quantization.schemeOf("model.layers.7.self_attn.kv_b_proj"));
  EXPECT_FALSE(config.quantization.schemeOf("model.layers.0.self_attn.o_proj"));
  EXPECT_FALSE(config.quantization.schemeOf("model.layers.9.mlp.shared_experts.up_proj"));
  EXPECT_TRUE(config.quantization.schemeOf("model.layers.10.self_attn.o_proj")) << "layers.0 is no prefix of layers.10";
  EXPECT_TRUE(config.quantization.schemeOf("model.layers.9.mlp.experts.3.up_proj"));
  config.quantization.groups.clear();
  EXPECT_FALSE(config.quantization.schemeOf("model.layers.9.mlp.experts.3.up_proj"));
}

TEST(ModelConfig, PrintsWhatItReads) {
  for (const char *file : kAllConfigs) {
    ModelConfig config = load(file);
    EXPECT_EQ(parse(toJson(config)), config) << file;
    EXPECT_EQ(parse(toHuggingFaceJson(config)), config) << file;
  }
  ModelConfig config = load("toy_v3.json");
  config.ropeAttentionFactor = 1.25;
  config.quantization.notQuantized = {"lm_head"};
  config.quantization.groups[0].scheme.block = {64, 32};
  EXPECT_EQ(parse(toJson(config)), config);
  EXPECT_EQ(parse(toHuggingFaceJson(config)), config);
  json quantization = toHuggingFaceJson(config)["quantization_config"];
  EXPECT_EQ(quantization["ignored_layers"], quantization["modules_to_not_convert"]);
}

TEST(ModelConfig, LoadsAFolder) {
  std::filesystem::path dir = std::filesystem::path(testing::TempDir()) / "models-config-folder";
  std::filesystem::create_directories(dir);
  std::ofstream(dir / "config.json") << kDeepSeek671B;
  auto config = loadConfig(dir);
  ASSERT_TRUE(config) << config.error().message;
  EXPECT_EQ(config->dim, 7168);
  std::filesystem::remove_all(dir);
}

} // namespace
