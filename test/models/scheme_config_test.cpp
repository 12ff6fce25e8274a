//===- scheme_config_test.cpp - the schemes that a config.json names ------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "models/config/scheme_config.h"

#include <gtest/gtest.h>

using namespace quant;
using nlohmann::json;

namespace {

std::string schemeName(const char *quantization) {
  auto scheme = readScheme({{"quantization_config", json::parse(quantization)}});
  return scheme ? std::string(scheme->name) : "error: " + scheme.error().message;
}

} // namespace

TEST(SchemeConfig, PublishedConfigurations) {
  EXPECT_EQ(schemeName(R"({"quant_method": "fp8", "fmt": "e4m3", "weight_block_size": [128, 128]})"), "deepseek-fp8");
  EXPECT_EQ(schemeName(R"({"quant_method": "fp8", "scale_fmt": "ue8m0", "weight_block_size": [128, 128]})"),
            "deepseek-fp8-ue8m0");
  EXPECT_EQ(schemeName(R"({"quant_method": "fp8", "fmt": "e5m2", "weight_block_size": [128, 128]})"), "deepseek-fp8-e5m2");
  EXPECT_EQ(schemeName(R"({"quant_method": "blockwise_int8", "weight_block_size": [128, 128]})"), "blockwise-int8");
  EXPECT_EQ(schemeName(R"({"quant_method": "gptq", "bits": 4, "group_size": 128})"), "gptq-w4");
  EXPECT_EQ(schemeName(R"({"quant_method": "awq", "bits": 4, "group_size": 64})"), "awq-w4");
}

TEST(SchemeConfig, CompressedTensors) {
  auto name = [](const char *format, const char *weights, const char *inputs) {
    json group = {{"weights", json::parse(weights)}, {"input_activations", json::parse(inputs)}, {"targets", {"Linear"}}};
    json config = {{"quant_method", "compressed-tensors"}, {"format", format}, {"config_groups", {{"group_0", group}}}};
    return schemeName(config.dump().c_str());
  };
  const char *token8 = R"({"num_bits": 8, "type": "float", "strategy": "token", "dynamic": true})";
  const char *token8Int = R"({"num_bits": 8, "type": "int", "strategy": "token", "dynamic": true})";
  EXPECT_EQ(name("float-quantized", R"({"num_bits": 8, "type": "float", "strategy": "channel"})", token8), "ct-fp8-channel");
  EXPECT_EQ(name("float-quantized", R"({"num_bits": 8, "type": "float", "strategy": "block", "block_structure": [128, 128]})",
                 R"({"num_bits": 8, "type": "float", "strategy": "group", "group_size": 128, "dynamic": true})"),
            "ct-fp8-block");
  EXPECT_EQ(name("int-quantized", R"({"num_bits": 8, "type": "int", "strategy": "channel"})", token8Int), "ct-w8a8");
  EXPECT_EQ(name("pack-quantized", R"({"num_bits": 4, "type": "int", "strategy": "group", "group_size": 32})", "null"),
            "ct-w4a16");
  EXPECT_EQ(name("pack-quantized",
                 R"({"num_bits": 4, "type": "int", "strategy": "group", "group_size": 128, "symmetric": false})", "null"),
            "ct-w4a16-asymmetric");
  EXPECT_EQ(name("pack-quantized", R"({"num_bits": 3, "type": "int", "strategy": "group", "group_size": 32})", "null"),
            "error: quantization_config.config_groups: group_0: format \"pack-quantized\" with weights of 3 bits, type int, "
            "strategy group is "
            "no scheme that is known");
}

TEST(SchemeConfig, SeveralGroups) {
  json channel = {{"num_bits", 8}, {"type", "int"}, {"strategy", "channel"}};
  json int4 = {{"num_bits", 4}, {"type", "int"}, {"strategy", "group"}, {"group_size", 32}};
  json token8 = {{"num_bits", 8}, {"type", "int"}, {"strategy", "token"}, {"dynamic", true}};
  json config = {
      {"quant_method", "compressed-tensors"},
      {"format", "mixed-precision"},
      {"ignore", {"re:.*shared_experts.*", "lm_head"}},
      {"config_groups",
       {{"a", {{"targets", {"Linear"}}, {"format", "int-quantized"}, {"weights", channel}, {"input_activations", token8}}},
        {"b", {{"targets", {"re:.*\\.experts\\.\\d+"}}, {"format", "pack-quantized"}, {"weights", int4}}},
        {"c",
         {{"targets", {"model.layers.0.mlp.experts.1.up_proj"}},
          {"format", "int-quantized"},
          {"weights", channel},
          {"input_activations", token8}}}}}};
  ObjectReader fields(config);
  auto read = readQuantization(fields);
  ASSERT_TRUE(read) << fields.result().error().message;
  auto scheme = [&](const char *module) {
    const Scheme *found = read->schemeOf(module);
    return found ? std::string(found->name) : "none";
  };
  EXPECT_EQ(read->mainScheme().name, "ct-w8a8");
  EXPECT_EQ(scheme("model.layers.0.self_attn.o_proj"), "ct-w8a8");
  EXPECT_EQ(scheme("model.layers.0.mlp.experts.0.up_proj"), "ct-w4a16") << "an expression comes before a class";
  EXPECT_EQ(scheme("model.layers.0.mlp.experts.1.up_proj"), "ct-w8a8") << "a name comes before an expression";
  EXPECT_EQ(scheme("model.layers.0.mlp.shared_experts.up_proj"), "none");
  config["config_groups"].erase("a");
  config["config_groups"].erase("c");
  ObjectReader only(config);
  EXPECT_FALSE(readQuantization(only)->schemeOf("model.layers.0.self_attn.o_proj")) << "no target names it";
  config["config_groups"]["b"]["targets"] = {"re:(["};
  ObjectReader broken(config);
  EXPECT_FALSE(readQuantization(broken));
  EXPECT_NE(broken.result().error().message.find("targets: \"re:([\" is no regular expression"), std::string::npos);
  config["config_groups"]["b"]["targets"] = {"Attention"};
  ObjectReader other(config);
  EXPECT_FALSE(readQuantization(other));
}

TEST(SchemeConfig, GptqAndAwq) {
  EXPECT_EQ(schemeName(R"({"quant_method": "gptq", "bits": 4, "checkpoint_format": "gptq_v2"})"), "gptq-v2-w4");
  std::string error = "error: quantization_config.";
  EXPECT_EQ(schemeName(R"({"quant_method": "gptq", "bits": 3})"), error + "bits: 3 is not supported, only 4");
  EXPECT_EQ(schemeName(R"({"quant_method": "gptq", "bits": 4, "group_size": 0})"),
            error + "group_size: 0 is not in 1 .. 65536, nor -1 for whole rows");
  EXPECT_EQ(schemeName(R"({"quant_method": "gptq", "checkpoint_format": "marlin"})"),
            error + "checkpoint_format: \"marlin\" is not supported, only gptq, gptq_v2");
  EXPECT_EQ(schemeName(R"({"quant_method": "awq", "version": "gemv"})"), error + "version: \"gemv\" is not supported, only gemm");
  EXPECT_EQ(schemeName(R"({"quant_method": "awq", "zero_point": false})"),
            error + "zero_point: false is not supported: AWQ's checkpoints have zero points");
  EXPECT_EQ(schemeName(R"({"quant_method": "gptq", "dynamic": {"+:.*": {"bits": 8}}})"),
            error + "dynamic: \"+:.*\": layers with parameters of their own are not supported");
  json config = {{"quant_method", "gptq"}, {"dynamic", {{"-:.*self_attn.*", json::object()}}}};
  ObjectReader fields(config);
  auto read = readQuantization(fields);
  ASSERT_TRUE(read);
  EXPECT_FALSE(read->schemeOf("model.layers.0.self_attn.o_proj"));
  EXPECT_TRUE(read->schemeOf("model.layers.0.mlp.up_proj"));
}

TEST(SchemeConfig, GroupsThatAreNone) {
  auto error = [](const char *weights) {
    json config = {{"quant_method", "compressed-tensors"},
                   {"format", "pack-quantized"},
                   {"config_groups", {{"group_0", {{"weights", json::parse(weights)}, {"targets", {"Linear"}}}}}}};
    return schemeName(config.dump().c_str());
  };
  std::string where = "error: quantization_config.config_groups: ";
  EXPECT_EQ(error(R"({"num_bits": "4"})"), where + "num_bits: \"4\" is not an integer");
  EXPECT_EQ(error(R"({"num_bits": 4, "strategy": "group"})"), where + "group_size: 0 is not in 1 .. 65536");
  EXPECT_EQ(error(R"({"num_bits": 4, "strategy": "group", "group_size": -1})"), where + "group_size: -1 is not in 1 .. 65536");
  EXPECT_EQ(error(R"({"strategy": "block"})"), where + "block_structure: is missing");
  EXPECT_EQ(error(R"({"strategy": "block", "block_structure": [0.5, 128]})"),
            where + "block_structure: [0.5,128] is not two integers, rows and columns");
  EXPECT_EQ(error(R"({"strategy": "block", "block_structure": [128, 0]})"), where + "block_structure: 0 is not in 1 .. 65536");
  EXPECT_TRUE(error(R"({"strategy": "columns"})").starts_with(where + "strategy: \"columns\" is not supported"));
}

TEST(SchemeConfig, BlocksThatAreNone) {
  for (const char *bad : {"[0, 1]", "[-1, 1]", "[1]", "\"x\"", "[1.5, 1]", "[99999999999, 1]", "[1, 2, 3]", "[0.5, 128]"}) {
    json config = {{"quantization_config", {{"quant_method", "fp8"}, {"weight_block_size", json::parse(bad)}}}};
    auto scheme = readScheme(config);
    ASSERT_FALSE(scheme) << bad;
    EXPECT_TRUE(scheme.error().message.starts_with("quantization_config.weight_block_size: ")) << scheme.error().message;
  }
}

TEST(SchemeConfig, WithoutQuantizationItIsDeepSeeks) {
  EXPECT_EQ(readScheme(json::object()), deepSeekFp8());
  EXPECT_EQ(readScheme({{"quantization_config", nullptr}}), deepSeekFp8());
  EXPECT_EQ(readScheme({{"weight_block_size", {64, 32}}})->block, (std::array<int64_t, 2>{64, 32}));
  EXPECT_FALSE(readScheme({{"quantization_config", {1}}}));
}

TEST(SchemeConfig, ReadsWhatItWrites) {
  for (const Scheme &known : schemes()) {
    if (known.method != "fp8" && known.method != "blockwise_int8")
      continue;
    if (known.name.starts_with("deepseek-v4"))
      continue; // told from V3's by its tensors
    Scheme scheme = known;
    scheme.block = {64, 32};
    json written = toQuantizationConfig(scheme, {"lm_head", "model.layers.0"});
    ObjectReader fields(written);
    auto read = readQuantization(fields);
    ASSERT_TRUE(read) << known.name;
    EXPECT_EQ(read->groups, everyLinear(scheme)) << known.name;
    EXPECT_EQ(read->notQuantized, (std::vector<std::string>{"lm_head", "model.layers.0"}));
  }
}
