//===- config_field_test.cpp - configurations as they are found -----------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// What published and edited config.json files leave out, add and spell in ways of their own.
//
//===----------------------------------------------------------------------===//

#include "models/config/print.h"
#include "models/config/read.h"
#include "models/tensors.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <fstream>

using namespace quant::models;
using nlohmann::json;

namespace {

const std::filesystem::path kConfigs = QUANT_MODEL_CONFIGS;

json readJson(const char *name) { return json::parse(std::ifstream(kConfigs / name)); }

/// A configuration and the notes on it; the message in `error` when it is refused.
struct Read {
  ModelConfig config;
  std::vector<std::string> notes;
  std::string error;
};

Read read(const json &object) {
  Read result;
  auto config = parseConfig(object, &result.notes);
  result.error = config ? "" : config.error().message;
  result.config = config.value_or(ModelConfig{});
  return result;
}

/// `file` without `keys`, then with the merge patch `patch`.
Read readWithout(const char *file, std::initializer_list<const char *> keys, const char *patch = "{}") {
  json object = readJson(file);
  for (const char *key : keys)
    EXPECT_EQ(object.erase(key), 1u) << key;
  object.merge_patch(json::parse(patch));
  return read(object);
}

constexpr const char *kNoteV3 = "not in config.json, so that the class default of deepseek_v3 counts: ";

//===----------------------------------------------------------------------===//
// Keys that are left out
//===----------------------------------------------------------------------===//

TEST(ConfigDefaults, AreThoseOfDeepseekV3Config) {
  Read defaults =
      readWithout("671B.json", {"moe_intermediate_size", "n_routed_experts", "n_shared_experts", "num_experts_per_tok", "n_group",
                                "topk_group", "routed_scaling_factor", "scoring_func", "topk_method", "norm_topk_prob",
                                "q_lora_rank", "rms_norm_eps", "rope_theta", "tie_word_embeddings"});
  ASSERT_EQ(defaults.error, "");
  EXPECT_EQ(defaults.config, read(readJson("671B.json")).config) << "the class's defaults are those of DeepSeek-V3 itself";
  ASSERT_EQ(defaults.notes.size(), 1u);
  EXPECT_EQ(defaults.notes[0], std::string(kNoteV3) +
                                   "moe_intermediate_size 2048, n_routed_experts 256, n_shared_experts 1, num_experts_per_tok 8, "
                                   "n_group 8, topk_group 4, routed_scaling_factor 2.5, scoring_func \"sigmoid\", topk_method "
                                   "\"noaux_tc\", norm_topk_prob true, q_lora_rank 1536, rms_norm_eps 1e-06, rope_theta 10000.0, "
                                   "tie_word_embeddings false");
  EXPECT_EQ(readWithout("671B.json", {"max_position_embeddings"}).config.maxSeqLen, 4096);
}

TEST(ConfigDefaults, AreThoseOfDeepseekV2Config) {
  json v2 = json(json::parse(toHuggingFaceJson(read(readJson("16B.json")).config).dump()));
  for (const char *key : {"n_group", "topk_group", "scoring_func", "topk_method", "norm_topk_prob", "routed_scaling_factor",
                          "max_position_embeddings", "moe_intermediate_size"})
    EXPECT_EQ(v2.erase(key), 1u) << key;
  Read result = read(v2);
  ASSERT_EQ(result.error, "");
  EXPECT_EQ(result.config.nExpertGroups, 1);
  EXPECT_EQ(result.config.topkMethod, TopkMethod::Greedy);
  EXPECT_EQ(result.config.moeInterDim, 1407);
  EXPECT_EQ(result.config.maxSeqLen, 2048);
  EXPECT_FALSE(result.config.normTopkProb);
  v2.erase("n_shared_experts");
  EXPECT_EQ(read(v2).error, "n_shared_experts: is missing, and deepseek_v2 has no one default for it (2 in transformers, none in "
                            "configuration_deepseek.py); write it into config.json");
}

TEST(ConfigDefaults, ANullIsNoDefault) {
  EXPECT_EQ(readWithout("671B.json", {}, "{}").notes.size(), 0u) << "DeepSeek-V3's own leaves nothing out";
  json object = readJson("671B.json");
  object["n_shared_experts"] = nullptr;
  EXPECT_EQ(read(object).config.nSharedExperts, 0) << "none, which the tensors then must bear out";
  object["q_lora_rank"] = nullptr;
  EXPECT_EQ(read(object).config.qLoraRank, 0);
  object["n_group"] = nullptr;
  EXPECT_EQ(read(object).error, "n_group: null says nothing in deepseek_v3, whose gate selects groups; 1 means no groups");
}

TEST(ConfigDefaults, ARefusalSaysThatADefaultWasTaken) {
  Read result = readWithout("671B.json", {"n_group", "topk_group"}, R"({"n_routed_experts": 12})");
  EXPECT_EQ(result.error, "n_group: 8 does not divide n_routed_experts 12; " + std::string(kNoteV3) + "n_group 8, topk_group 4");
}

TEST(ConfigDefaults, AModelWithoutExpertsNeedsNoneOfTheirs) {
  json object = readJson("toy_v3.json");
  object["first_k_dense_replace"] = object["num_hidden_layers"];
  for (const char *key : {"num_nextn_predict_layers", "n_routed_experts", "num_experts_per_tok", "moe_intermediate_size",
                          "n_group", "topk_group", "n_shared_experts", "routed_scaling_factor"})
    object.erase(key);
  Read result = read(object);
  EXPECT_EQ(result.error, "");
  EXPECT_TRUE(result.notes.empty());
}

TEST(ConfigDefaults, OfModelArgs) {
  Read result = readWithout("16B.json", {}, R"({"n_group": null})");
  json object = {{"vocab_size", 102400},   {"dim", 2048},      {"inter_dim", 10944},  {"n_layers", 27},
                 {"n_dense_layers", 1},    {"n_heads", 16},    {"kv_lora_rank", 512}, {"qk_nope_head_dim", 128},
                 {"qk_rope_head_dim", 64}, {"v_head_dim", 128}};
  result = read(object);
  ASSERT_EQ(result.error, "");
  EXPECT_EQ(result.config.nSharedExperts, 2);
  EXPECT_EQ(result.config.nRoutedExperts, 64);
  EXPECT_EQ(result.config.nActivatedExperts, 6);
  EXPECT_EQ(result.config.moeInterDim, 1408);
  ASSERT_EQ(result.notes.size(), 1u);
  EXPECT_EQ(result.notes[0].find("not in the configuration, so that the default of ModelArgs counts: moe_inter_dim 1408, "
                                 "n_routed_experts 64, n_shared_experts 2, n_activated_experts 6, n_expert_groups 1"),
            0u)
      << result.notes[0];
}

TEST(ConfigDefaults, OfYarn) {
  json object = readJson("671B.json");
  object["rope_scaling"] = {{"type", "yarn"}, {"factor", 40}, {"original_max_position_embeddings", 4096}};
  Read result = read(object);
  ASSERT_EQ(result.notes.size(), 1u);
  EXPECT_EQ(result.notes[0], std::string(kNoteV3) + "rope_scaling.beta_fast 32, rope_scaling.beta_slow 1, rope_scaling.mscale 1, "
                                                    "rope_scaling.mscale_all_dim 0");
  object["rope_scaling"].erase("type");
  EXPECT_EQ(read(object).error, "rope_scaling.type: is missing beside factor; yarn is the scaling that is supported");
  object["rope_scaling"]["type"] = "yarn";
  object["rope_scaling"]["mscale"] = 0.707;
  EXPECT_EQ(read(object).error.find("rope_scaling.mscale_all_dim: is missing beside an mscale"), 0u) << read(object).error;
}

//===----------------------------------------------------------------------===//
// Keys that are not known
//===----------------------------------------------------------------------===//

TEST(ConfigKeys, OfAttentionAndRoutingAreRefusedByName) {
  const char *const patches[] = {R"({"index_topk": 2048})",
                                 R"({"index_n_heads": 64})",
                                 R"({"index_head_dim": 128})",
                                 R"({"sliding_window": 128})",
                                 R"({"use_qk_norm": true})",
                                 R"({"attn_logit_softcapping": 30})",
                                 R"({"moe_router_dtype": "f"})",
                                 R"({"expert_bias_rate": 0.5})",
                                 R"({"num_hash_layers": 3})",
                                 R"({"swiglu_limit": 10.0})",
                                 R"({"hc_mult": 4})",
                                 R"({"score_func": "softmax"})",
                                 R"({"lm_head_bias": true})",
                                 R"({"zero_centered_gamma": true})",
                                 R"({"num_dense_layers": 2})",
                                 R"({"compression_config": {"quant_method": "fp8"}})",
                                 R"({"text_config": {"hidden_size": 64}})",
                                 R"({"language_config": {}, "model_type": "deepseek_vl_v2"})",
                                 R"({"logits_scaling": 2})"};
  for (const char *patch : patches) {
    std::string key = json::parse(patch).begin().key(), error = readWithout("671B.json", {}, patch).error;
    EXPECT_NE(error.find(key), std::string::npos) << patch << ": " << error;
  }
  EXPECT_NE(readWithout("671B.json", {}, R"({"index_topk": 2048})").error.find("sparse attention"), std::string::npos);
  EXPECT_EQ(readWithout("671B.json", {}, R"({"use_qk_norm": false})").error, "") << "what is off changes nothing";
  EXPECT_EQ(readWithout("671B.json", {}, R"({"use_mla": false})").error.find("use_mla: false is not supported"), 0u);
  EXPECT_EQ(readWithout("671B.json", {}, R"({"rope_scaling": {"long_factor": [1]}})").error,
            "rope_scaling.long_factor: is not a key of yarn or default, the two that are supported");
}

TEST(ConfigKeys, OthersAreNamed) {
  Read result = readWithout("671B.json", {}, R"({"colour": "blue", "_internal": 1, "transformers_version": "5", "top_k": 50})");
  EXPECT_EQ(result.error, "");
  EXPECT_EQ(result.notes, std::vector<std::string>{"keys of config.json that are not known here and not read: \"colour\""});
}

TEST(ConfigKeys, OfQuantizationAreNamedOrRefused) {
  auto quantized = [](const char *patch) {
    return readWithout("671B.json", {}, ("{\"quantization_config\": " + std::string(patch) + "}").c_str());
  };
  EXPECT_EQ(quantized(R"({"transform_config": {"config_groups": {"r1": 1}}})").error,
            "quantization_config.transform_config: rotates weights and activations, which is not supported");
  EXPECT_EQ(quantized(R"({"sparsity_config": {"format": "sparse-24-bitmask"}})").error,
            "quantization_config.sparsity_config: says that weights are stored sparsely, which is not supported");
  Read empty =
      quantized(R"({"transform_config": {}, "sparsity_config": {"format": "dense"}, "version": "0.11", "dequantize": true})");
  EXPECT_EQ(empty.error, "");
  EXPECT_TRUE(empty.notes.empty());
  EXPECT_EQ(quantized(R"({"colour": "blue", "size": null})").notes,
            std::vector<std::string>{"keys of quantization_config that are not known here and not read: \"colour\""});
}

TEST(ConfigKeys, AnotherArchitectureIsSaid) {
  for (const char *name : {"Qwen2ForCausalLM", "DeepseekV2ForCausalLM", "DeepseekV32ForCausalLM"}) {
    Read result = readWithout("671B.json", {}, ("{\"architectures\": [\"" + std::string(name) + "\"]}").c_str());
    EXPECT_EQ(result.notes,
              std::vector{"architectures says \"" + std::string(name) + "\", and model_type deepseek_v3, which counts"});
  }
  for (const char *patch : {R"({"architectures": ["DeepseekV3ForCausalLM"]})", R"({"architectures": null})",
                            R"({"architectures": ["DeepseekV3ForCausalLMNextN"]})", R"({"architectures": 5})"})
    EXPECT_TRUE(readWithout("671B.json", {}, patch).notes.empty()) << patch;
}

//===----------------------------------------------------------------------===//
// Published models
//===----------------------------------------------------------------------===//

/// A model of test/models/published.json: its config.json, and how many parameters it has, in 10^9.
struct Published {
  std::string name;
  json config;
  double billions;
};

std::vector<Published> publishedModels() {
  json file = json::parse(std::ifstream(QUANT_PUBLISHED_MODELS)), base = readJson(file["base"].get<std::string>().c_str());
  std::vector<Published> result;
  for (const json &model : file["models"]) {
    json config = base;
    for (const json &key : model.value("without", json::array()))
      EXPECT_EQ(config.erase(key.get<std::string>()), 1u) << key;
    config.update(model["changes"], /*merge_objects=*/true); // keeps nulls, as a file has them
    result.push_back({model["name"], std::move(config), model["billions"]});
  }
  return result;
}

TEST(ConfigPublished, AreReadWithoutADefault) {
  std::vector<Published> models = publishedModels();
  EXPECT_GE(models.size(), 10u);
  for (const Published &model : models) {
    Read result = read(model.config);
    ASSERT_EQ(result.error, "") << model.name;
    EXPECT_NEAR(double(totals(result.config).parameters) * 1e-9, model.billions, model.billions * 0.01) << model.name;
    for (const std::string &note : result.notes)
      EXPECT_TRUE(note.starts_with("model_type kimi_k2")) << model.name << ": " << note;
  }
}

//===----------------------------------------------------------------------===//
// Spellings
//===----------------------------------------------------------------------===//

TEST(ConfigSpelling, KimiK2IsDeepSeekV3) {
  Read result = readWithout("671B.json", {}, R"({"model_type": "kimi_k2"})");
  ASSERT_EQ(result.error, "");
  EXPECT_EQ(result.config, read(readJson("671B.json")).config);
  EXPECT_EQ(result.notes, std::vector<std::string>{"model_type kimi_k2 is read as deepseek_v3, of which it is another name"});
  EXPECT_NE(readWithout("671B.json", {}, R"({"model_type": "qwen2"})").error.find("distilled from DeepSeek-R1 are Qwen2"),
            std::string::npos);
}

TEST(ConfigSpelling, WholeNumbersAsFloats) {
  json object = readJson("671B.json");
  json floats = object;
  for (json *part : {&floats, &floats["rope_scaling"]})
    for (auto &[key, value] : part->items())
      if (value.is_number_integer())
        value = value.get<double>();
  EXPECT_EQ(read(floats).error, "");
  EXPECT_EQ(read(floats).config.maxSeqLen, read(object).config.maxSeqLen);
  EXPECT_EQ(read(floats).config.originalSeqLen, 4096);
  floats["eos_token_id"] = {1.0, 7.0};
  floats["quantization_config"]["weight_block_size"] = {64.0, 128.0};
  EXPECT_EQ(read(floats).config.eosTokenIds, (std::vector<int64_t>{1, 7}));
  EXPECT_EQ(read(floats).config.quantization.mainScheme().block, (std::array<int64_t, 2>{64, 128}));
  object["n_group"] = 8.5;
  EXPECT_EQ(read(object).error, "n_group: 8.5 is not an integer");
  object["n_group"] = 1e300;
  EXPECT_EQ(read(object).error, "n_group: 1e+300 is not an integer");
}

TEST(ConfigSpelling, TokensAsListOrNull) {
  json object = readJson("671B.json");
  object["bos_token_id"] = {0};
  object["eos_token_id"] = {1, 7};
  Read result = read(object);
  ASSERT_EQ(result.error, "");
  EXPECT_EQ(result.config.bosTokenId, 0);
  EXPECT_EQ(result.config.eosTokenIds, (std::vector<int64_t>{1, 7}));
  EXPECT_EQ(read(toJson(result.config)).config, result.config);
  EXPECT_EQ(read(toHuggingFaceJson(result.config)).config, result.config);
  object["eos_token_id"] = nullptr;
  EXPECT_TRUE(read(object).config.eosTokenIds.empty());
  object["eos_token_id"] = {1, "7"};
  EXPECT_EQ(read(object).error, "eos_token_id: \"7\" in the list is not an integer");
}

TEST(ConfigSpelling, Float16) {
  for (const char *key : {"torch_dtype", "dtype"}) {
    json object = readJson("671B.json");
    object["quantization_config"] = nullptr;
    object.erase("torch_dtype");
    object[key] = "float16";
    Read result = read(object);
    ASSERT_EQ(result.error, "");
    EXPECT_EQ(checkpointTensors(result.config).front().dtype, quant::DType::F16);
    EXPECT_EQ(read(toJson(result.config)).config, result.config);
    EXPECT_EQ(read(toHuggingFaceJson(result.config)).config, result.config);
  }
}

TEST(ConfigSpelling, BothGenerationsOfRope) {
  json object = readJson("671B.json");
  object["rope_parameters"] = object["rope_scaling"];
  object["rope_parameters"].erase("type");
  object["rope_parameters"]["rope_type"] = "yarn";
  object["rope_parameters"]["rope_theta"] = object["rope_theta"];
  EXPECT_EQ(read(object).error, "");
  EXPECT_EQ(read(object).config, read(readJson("671B.json")).config);
  object["rope_parameters"].erase("mscale");
  EXPECT_EQ(read(object).error, "") << "what is left out is 1, as it is in rope_scaling";
  object["rope_parameters"]["factor"] = 20;
  EXPECT_EQ(read(object).error, "rope_scaling: contradicts rope_parameters in factor; one of them is enough");
  object["rope_parameters"] = {{"rope_type", "default"}, {"rope_theta", 10000}};
  EXPECT_EQ(read(object).error, "rope_scaling: contradicts rope_parameters in rope_type; one of them is enough");
  object["rope_scaling"] = nullptr;
  EXPECT_EQ(read(object).error, "");
  object["rope_theta"] = 5000.0;
  EXPECT_EQ(read(object).config.ropeTheta, 10000);
  EXPECT_EQ(read(object).notes,
            std::vector<std::string>{"rope_theta says 5000.0, and rope_parameters.rope_theta 10000, which counts"});
  object["rope_parameters"]["rope_theta"] = 5000;
  EXPECT_TRUE(read(object).notes.empty());
}

TEST(ConfigSpelling, BothNamesOfTheDtype) {
  EXPECT_EQ(readWithout("671B.json", {}, R"({"torch_dtype": "bfloat16", "dtype": "bfloat16"})").error, "");
  EXPECT_EQ(readWithout("671B.json", {}, R"({"torch_dtype": "bfloat16", "dtype": "float16"})").error,
            "dtype: \"float16\" contradicts torch_dtype \"bfloat16\"; one of them is enough");
}

TEST(ConfigFiles, EndTokensOfGenerationConfigCountToo) {
  std::filesystem::path dir = std::filesystem::path(testing::TempDir()) / "models-generation-config";
  std::filesystem::create_directories(dir);
  std::filesystem::copy_file(kConfigs / "671B.json", dir / "config.json", std::filesystem::copy_options::overwrite_existing);
  std::ofstream(dir / "generation_config.json") << R"({"eos_token_id": [1, 9], "temperature": 0.6})";
  auto config = loadConfig(dir);
  ASSERT_TRUE(config) << config.error().message;
  EXPECT_EQ(config->eosTokenIds, (std::vector<int64_t>{1, 9}));
  std::ofstream(dir / "generation_config.json") << R"({"eos_token_id": "x"})";
  config = loadConfig(dir);
  ASSERT_FALSE(config);
  EXPECT_NE(config.error().message.find("generation_config.json: eos_token_id: \"x\" is not an integer"), std::string::npos)
      << config.error().message;
  std::filesystem::remove_all(dir);
}

} // namespace
