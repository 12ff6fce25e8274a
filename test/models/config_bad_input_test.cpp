//===- config_bad_input_test.cpp - what a configuration is refused for ----===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "models/config/read.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <fstream>

using namespace quant::models;
using nlohmann::json;

namespace {

const std::filesystem::path kConfigs = QUANT_MODEL_CONFIGS;

/// What parseConfig says to `object`; "accepted" if nothing.
std::string refusal(const json &object) {
  auto config = parseConfig(object);
  return config ? "accepted" : config.error().message;
}

/// `file` with the JSON merge patch `patch`; a null in it removes the key.
std::string refusal(const char *file, const char *patch) {
  json object = json::parse(std::ifstream(kConfigs / file));
  object.merge_patch(json::parse(patch));
  return refusal(object);
}

struct Case {
  const char *patch, *message;
};

TEST(BadConfig, HuggingFaceStyle) {
  const Case cases[] = {
      {R"({"hidden_size": "7168"})", "hidden_size: \"7168\" is not an integer"},
      {R"({"hidden_size": 7168.5})", "hidden_size: 7168.5 is not an integer"},
      {R"({"hidden_size": null})", "hidden_size: is missing"},
      {R"({"hidden_size": 0})", "hidden_size: 0 is not in 1 .. 16777216"},
      {R"({"hidden_size": -1})", "hidden_size: -1 is not in 1 .. 16777216"},
      {R"({"hidden_size": 18446744073709551615})", "hidden_size: 18446744073709551615 is more than 2^63 - 1"},
      {R"({"num_hidden_layers": 1000000000})", "num_hidden_layers: 1000000000 is not in 1 .. 1024"},
      {R"({"first_k_dense_replace": 62})", "first_k_dense_replace: 62 is more than num_hidden_layers 61"},
      {R"({"n_routed_experts": 0})", "n_routed_experts: 0, but the layers from 3 on have experts; a model without experts has "
                                     "first_k_dense_replace = num_hidden_layers"},
      {R"({"n_routed_experts": 100000000})", "n_routed_experts: 100000000 is not in 0 .. 8192"},
      {R"({"num_experts_per_tok": 0})", "num_experts_per_tok: 0, but the layers from 3 on have experts"},
      {R"({"num_experts_per_tok": 257})", "num_experts_per_tok: 257 is more than n_routed_experts 256"},
      {R"({"num_experts_per_tok": 129})", "num_experts_per_tok: 129 is more than the 128 experts in 4 groups (topk_group) of 32"},
      {R"({"n_group": 7})", "n_group: 7 does not divide n_routed_experts 256"},
      {R"({"n_group": 0})", "n_group: 0 is not in 1 .. 8192"},
      {R"({"n_group": 256, "topk_group": 8})",
       "n_group: 256 leaves one expert a group, but noaux_tc scores a group by its best two"},
      {R"({"topk_group": 9})", "topk_group: 9 is more than n_group 8"},
      {R"({"scoring_func": "softmax"})", "scoring_func: \"softmax\" is not supported, only \"sigmoid\": the gate of deepseek_v3"},
      {R"({"topk_method": "greedy"})", "topk_method: \"greedy\" does not go with scoring_func \"sigmoid\""},
      {R"({"topk_method": "magic"})", "topk_method: \"magic\" is not supported, only noaux_tc, group_limited_greedy, greedy"},
      {R"({"qk_rope_head_dim": 63})", "qk_rope_head_dim: 63 is odd, rotary positions turn pairs"},
      {R"({"routed_scaling_factor": 0})", "routed_scaling_factor: 0 is not in 1e-06 .. 1e+06"},
      {R"({"rms_norm_eps": "small"})", "rms_norm_eps: \"small\" is not a number"},
      {R"({"rope_theta": 1})", "rope_theta: 1 is not in 2 .. 1e+15"},
      {R"({"hidden_act": "gelu"})", "hidden_act: \"gelu\" is not supported, only \"silu\": the experts are SwiGLU"},
      {R"({"attention_bias": true})", "attention_bias: true is not supported, only false"},
      {R"({"moe_layer_freq": 2})", "moe_layer_freq: 2 is not supported, only 1"},
      {R"({"num_key_value_heads": 8})", "num_key_value_heads: 8 is not supported, only 128"},
      {R"({"model_type": "llama"})", "model_type: \"llama\" is not supported, only deepseek_v3 and deepseek_v2"},
      {R"({"model_type": null})", "model_type: is missing"},
      {R"({"norm_topk_prob": 1})", "norm_topk_prob: 1 is not true or false"},
      {R"({"intermediate_size": 16777216, "vocab_size": 16777216})", "accepted"},
      {R"({"num_attention_heads": 65536, "num_key_value_heads": null, "v_head_dim": 16777216})",
       "num_attention_heads: 65536 times 16777344 is more than 2^31 - 1"},
      {R"({"moe_intermediate_size": 16777216, "hidden_size": 16777216, "n_routed_experts": 2048, "num_hidden_layers": 64})",
       "hidden_size: 16777216 with num_hidden_layers 64 makes a model whose size overflows 64 bits"},
      {R"({"n_routed_experts": 8192, "num_hidden_layers": 1024})",
       "n_routed_experts: 8192 in each of 1022 layers are more than 131072 together"},
      {R"({"torch_dtype": "float64", "quantization_config": null})", "torch_dtype: \"float64\" is not supported"},
  };
  for (const Case &test : cases)
    EXPECT_EQ(refusal("671B.json", test.patch).substr(0, std::string(test.message).size()), test.message) << test.patch;
}

TEST(BadConfig, RopeAndQuantization) {
  const Case cases[] = {
      {R"({"rope_scaling": {"type": "linear"}})", "rope_scaling.type: \"linear\" is not supported, only yarn and default"},
      {R"({"rope_scaling": {"rope_type": "default"}})", "rope_scaling.rope_type: \"default\" contradicts type \"yarn\""},
      {R"({"rope_scaling": {"factor": 0.5}})", "rope_scaling.factor: 0.5 is not in 1 .. 1e+06"},
      {R"({"rope_scaling": {"factor": null}})", "rope_scaling.factor: is missing"},
      {R"({"rope_scaling": {"original_max_position_embeddings": null}})",
       "rope_scaling.original_max_position_embeddings: is missing"},
      {R"({"rope_scaling": {"beta_fast": 0.5}})", "rope_scaling.beta_fast: 0.5 is less than rope_scaling.beta_slow 1"},
      {R"({"rope_scaling": {"mscale": -1}})", "rope_scaling.mscale: -1 is not in 0 .. 100"},
      {R"({"rope_scaling": {"truncate": false}})", "rope_scaling.truncate: false is not supported, only true"},
      {R"({"rope_scaling": {"attention_factor": 0}})", "rope_scaling.attention_factor: 0 is not"},
      {R"({"rope_scaling": "yarn"})", "rope_scaling: \"yarn\" is not an object"},
      {R"({"rope_parameters": {"rope_type": "default"}})", "rope_scaling: contradicts rope_parameters"},
      {R"({"quantization_config": {"quant_method": "compressed-tensors"}})",
       "quantization_config.config_groups: is not supported, only groups with"},
      {R"({"quantization_config": {"quant_method": "modelopt"}})",
       "quantization_config.quant_method: \"modelopt\" is not supported, only fp8, blockwise_int8, compressed-tensors, "
       "gptq and awq"},
      {R"({"quantization_config": {"quant_method": null}})", "quantization_config.quant_method: is missing"},
      {R"({"quantization_config": {"fmt": "e3m4"}})", "quantization_config.fmt: \"e3m4\" is not supported, only e4m3, e5m2"},
      {R"({"quantization_config": {"activation_scheme": "static"}})",
       "quantization_config.activation_scheme: \"static\" is not supported, only dynamic"},
      {R"({"quantization_config": {"weight_block_size": null}})", "quantization_config.weight_block_size: is missing"},
      {R"({"quantization_config": {"weight_block_size": [128]}})",
       "quantization_config.weight_block_size: [128] is not two integers"},
      {R"({"quantization_config": {"weight_block_size": [0, 128]}})",
       "quantization_config.weight_block_size: 0 is not in 1 .. 65536"},
      {R"({"quantization_config": {"weight_block_size": [128, 18446744073709551615]}})",
       "quantization_config.weight_block_size: -1 is not in 1 .. 65536"},
      {R"({"quantization_config": {"scale_fmt": "e3m2"}})",
       "quantization_config.scale_fmt: \"e3m2\" is not supported, only none, ue8m0"},
      {R"({"quantization_config": {"ignored_layers": "lm_head"}})",
       "quantization_config.ignored_layers: \"lm_head\" is not a list of strings"},
      {R"({"quantization_config": {"ignored_layers": ["re:.*gate$"]}})",
       "quantization_config.modules_to_not_convert: \"re:.*gate$\" is not a module's name"},
      {R"({"quantization_config": {"ignored_layers": [".*"]}})", "quantization_config.modules_to_not_convert: \".*\" is not"},
      {R"({"quantization_config": []})", "quantization_config: [] is not an object"},
  };
  for (const Case &test : cases)
    EXPECT_EQ(refusal("671B.json", test.patch).substr(0, std::string(test.message).size()), test.message) << test.patch;
}

TEST(BadConfig, DeepSeekStyle) {
  const Case cases[] = {
      {R"({"dim": 0})", "dim: 0 is not in 1 .. 16777216"},
      {R"({"n_heads": null})", "n_heads: is missing"},
      {R"({"score_func": "tanh"})", "score_func: \"tanh\" is not supported, only sigmoid, softmax"},
      {R"({"dtype": "fp4"})", "dtype: \"fp4\" is not supported, only bf16, fp8, f32"},
      {R"({"n_limited_groups": 9})", "n_limited_groups: 9 is more than n_expert_groups 8"},
      {R"({"n_active_experts": 6})", "\"n_active_experts\": is not a key of a DeepSeek configuration"},
      {R"({"norm_topk_prob": true})", "norm_topk_prob: true with score_func \"softmax\" means different things"},
      {R"({"topk_method": "greedy"})", "n_expert_groups: 8 with topk_method \"greedy\", which knows no groups"},
      {R"({"max_batch_size": 1048576, "max_seq_len": 1073741824})",
       "max_seq_len: 1073741824 makes a cache whose size overflows 64 bits"},
      {R"({"hidden_size": 5120})", "hidden_size and dim: the keys of Hugging Face's and of DeepSeek's style are mixed"},
  };
  for (const Case &test : cases)
    EXPECT_EQ(refusal("236B.json", test.patch).substr(0, std::string(test.message).size()), test.message) << test.patch;
}

TEST(BadConfig, NoConfiguration) {
  EXPECT_EQ(refusal(json::array()), "a model configuration is a JSON object, this is []");
  EXPECT_EQ(refusal(json::object()), "neither Hugging Face's model_type and hidden_size nor DeepSeek's dim is there; this is no "
                                     "model configuration");
}

TEST(BadConfig, FileErrorsNameTheFile) {
  auto config = loadConfig("/nowhere/config.json");
  ASSERT_FALSE(config);
  EXPECT_NE(config.error().message.find("/nowhere/config.json"), std::string::npos) << config.error().message;

  std::filesystem::path file = std::filesystem::path(testing::TempDir()) / "bad-config.json";
  std::ofstream(file) << R"({"dim": 0})";
  config = loadConfig(file);
  ASSERT_FALSE(config);
  EXPECT_EQ(config.error().message.rfind(file.string() + ": ", 0), 0u) << config.error().message;
  std::filesystem::remove(file);
}

/// Every key of a valid configuration, replaced by every kind of value: an answer, never a crash.
TEST(BadConfig, AnyValueAnywhere) {
  const json values[] = {nullptr,       true,           -1,     0,         1, 3, INT64_MAX, UINT64_MAX, 1e308, -0.5, "", "x",
                         json::array(), json::object(), {1, 2}, {{"a", 1}}};
  for (const char *file : {"671B.json", "toy_v2.json"}) {
    const json good = json::parse(std::ifstream(kConfigs / file));
    const json flat = good.flatten();
    for (const auto &[pointer, ignored] : flat.items())
      for (const json &value : values) {
        json object = good;
        object[json::json_pointer(pointer)] = value;
        (void)parseConfig(object);
      }
  }
}

} // namespace
