//===- cast_config_test.cpp - the config.json of a conversion is true -----===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "cast_oracle.h"
#include "run_convert.h"

#include <algorithm>
#include <set>

using namespace quant;
using namespace quant::test;
using nlohmann::json;
namespace fs = std::filesystem;

namespace {

constexpr const char *kIndexFile = "model.safetensors.index.json", *kStateFile = ".quant-convert.json";

std::string toBf16(const fs::path &in, const fs::path &out) {
  return "cast-bf16 --input-fp8-hf-path " + in.string() + " --output-bf16-hf-path " + out.string() + " ";
}

std::string toFp8(const fs::path &in, const fs::path &out, const std::string &list) {
  writeText(in.string() + ".list", list);
  return "cast-fp8 --input-bf16-hf-path " + in.string() + " --output-fp8-hf-path " + out.string() + " --weights-list " +
         in.string() + ".list ";
}

json writtenConfig(const fs::path &dir) { return json::parse(readAll(dir / "config.json")); }

/// A BF16 tensor of ones.
TensorData ones(const std::string &name, const std::vector<int64_t> &shape) {
  size_t elements = 1;
  for (int64_t size : shape)
    elements *= static_cast<size_t>(size);
  return {{name, DType::BF16, shape}, bytesOf(std::vector<uint16_t>(elements, 0x3F80))};
}

/// An FP8 weight [128, 128] of ones and its scales, in blocks of 64x128.
std::vector<TensorData> halfBlocks() {
  return {{{"a.weight", DType::F8E4M3FN, {128, 128}}, std::string(128 * 128, 0x38)},
          {{"a.weight_scale_inv", DType::F32, {2, 1}}, bytesOf(std::vector{2.0f, 4.0f})}};
}

json fp8Quantization() { return {{"quant_method", "fp8"}, {"fmt", "e4m3"}, {"weight_block_size", {64, 128}}}; }

//===----------------------------------------------------------------------===//
// cast-bf16
//===----------------------------------------------------------------------===//

/// As Kimi-VL has it; its block size counts, too.
TEST(CastBf16Config, QuantizationOfAPartIsReadAndTakenOut) {
  TestDir dir;
  writeCheckpoint(dir / "in", halfBlocks());
  json text = {{"quantization_config", fp8Quantization()}, {"torch_dtype", "float8_e4m3fn"}, {"hidden_size", 128}};
  json config = {{"model_type", "kimi_vl"},
                 {"text_config", text},
                 {"vision_config", {{"torch_dtype", "float32"}, {"inner", {{{"compression_config", json::object()}}}}}}};
  writeText(dir / "in" / "config.json", config.dump());
  convertOk(dir, toBf16(dir / "in", dir / "out"));
  json written = writtenConfig(dir / "out");
  EXPECT_EQ(written["text_config"], (json{{"torch_dtype", "bfloat16"}, {"hidden_size", 128}}));
  EXPECT_EQ(written["vision_config"], (json{{"torch_dtype", "float32"}, {"inner", {json::object()}}}));
  EXPECT_EQ(written["torch_dtype"], "bfloat16");
  auto out = checkpoint::Checkpoint::open(dir / "out");
  ASSERT_TRUE(out) << out.error().message;
  auto weights = values<uint16_t>(*out->find("a.weight"));
  EXPECT_EQ(bf16Value(weights[63 * 128]), 2);
  EXPECT_EQ(bf16Value(weights[64 * 128]), 4);
}

TEST(CastBf16Config, ThatOfTheWholeCounts) {
  TestDir dir;
  writeCheckpoint(dir / "in", halfBlocks());
  json nested = fp8Quantization();
  nested["weight_block_size"] = {32, 32};
  writeText(dir / "in" / "config.json",
            json{{"quantization_config", fp8Quantization()}, {"text_config", {{"quantization_config", nested}}}}.dump());
  convertOk(dir, toBf16(dir / "in", dir / "out"));
  EXPECT_EQ(readAll(dir / "out" / "config.json").find("quantization_config"), std::string::npos);
}

/// A config.json of compressed-tensors, FP8 with one scale for a row ("channel") or for all ("tensor").
json compressed(const std::string &strategy) {
  bool isDynamic = strategy == "channel";
  json inputs = {{"num_bits", 8}, {"type", "float"}, {"strategy", isDynamic ? "token" : "tensor"}, {"dynamic", isDynamic}};
  json weights = {{"num_bits", 8}, {"type", "float"}, {"strategy", strategy}, {"symmetric", true}, {"dynamic", false}};
  json group = {{"weights", weights}, {"input_activations", inputs}};
  return {{"quantization_config",
           {{"quant_method", "compressed-tensors"}, {"format", "float-quantized"}, {"config_groups", {{"group_0", group}}}}}};
}

TEST(CastBf16Config, ScalesOfRowsAndOfWholeWeights) {
  for (const std::string strategy : {"channel", "tensor"}) {
    TestDir dir;
    bool isTensor = strategy == "tensor";
    std::vector<int64_t> shape = isTensor ? std::vector<int64_t>{1} : std::vector<int64_t>{300, 1};
    std::vector<uint16_t> scales;
    for (int row = 0; row < (isTensor ? 1 : 300); ++row)
      scales.push_back(bf16Bits(static_cast<float>(1 + row % 4)));
    std::vector<TensorData> tensors = {{{"a.weight", DType::F8E4M3FN, {300, 200}}, std::string(300 * 200, 0x38)},
                                       {{"a.weight_scale", DType::BF16, shape}, bytesOf(scales)}};
    if (isTensor)
      tensors.push_back({{"a.input_scale", DType::BF16, {1}}, bytesOf(std::vector{bf16Bits(1)})});
    writeCheckpoint(dir / "in", tensors);
    writeText(dir / "in" / "config.json", compressed(strategy).dump());
    convertOk(dir, "inspect --check-values " + (dir / "in").string());
    convertOk(dir, toBf16(dir / "in", dir / "out") + "--verify");
    if (!isTensor) // the scale of the inputs is on one side only
      convertOk(dir, "compare --fail-below 40 " + (dir / "in").string() + " " + (dir / "out").string());
    auto out = checkpoint::Checkpoint::open(dir / "out");
    ASSERT_TRUE(out) << out.error().message;
    ASSERT_EQ(out->tensors().size(), 1u) << "no scale is left, not of the inputs either";
    auto weights = values<uint16_t>(*out->find("a.weight"));
    for (size_t row = 0; row < 300; ++row)
      EXPECT_EQ(bf16Value(weights[row * 200 + 199]), bf16Value(scales[isTensor ? 0 : row])) << row;
    Outcome shard = runConvert(dir, "shard --n-experts 2 --model-parallel 2 --hf-ckpt-path " + (dir / "in").string() +
                                        " --save-path " + (dir / "mp").string());
    EXPECT_EQ(shard.code, 1);
    EXPECT_NE(shard.err.find("config.json: the weights are ct-fp8-" + strategy), std::string::npos) << shard.err;
  }
}

//===----------------------------------------------------------------------===//
// cast-fp8
//===----------------------------------------------------------------------===//

TEST(CastFp8Config, AllThatStayedWideIsNamed) {
  TestDir dir;
  writeCheckpoint(
      dir / "in",
      {ones("model.layers.0.self_attn.o_proj.weight", {128, 128}), ones("model.layers.0.self_attn.indexer.wk.weight", {128, 128}),
       ones("model.layers.0.self_attn.indexer.k_norm.weight", {128}), ones("model.layers.0.mlp.gate.weight", {8, 128}),
       ones("model.embed_tokens.weight", {16, 128}), ones("vision_tower.blocks.0.attn.qkv.weight", {384, 128}),
       ones("vision_tower.blocks.0.attn.qkv.bias", {384}), ones("vision_tower.patch_embed.proj.weight", {8, 3, 14, 14}),
       ones("vision_tower.attn.in_proj_weight", {384, 128}), ones("multi_modal_projector.linear_1.weight", {128, 128}),
       ones("lm_head.weight", {16, 128})});
  writeText(dir / "in" / "config.json",
            json{{"model_type", "kimi_vl"}, {"text_config", {{"quantization_config", fp8Quantization()}}}}.dump());
  convertOk(dir, toFp8(dir / "in", dir / "out", "model.layers.0.self_attn.o_proj.weight\n"));
  json config = writtenConfig(dir / "out"), quantization = config["quantization_config"];
  EXPECT_EQ(quantization["weight_block_size"], (json{128, 128}));
  EXPECT_FALSE(config["text_config"].contains("quantization_config")) << "of what it was once";
  EXPECT_EQ(quantization["ignored_layers"], quantization["modules_to_not_convert"]);
  EXPECT_EQ(quantization["ignored_layers"].get<std::set<std::string>>(),
            (std::set<std::string>{"model.layers.0.self_attn.indexer.wk", "model.layers.0.mlp.gate", "model.embed_tokens",
                                   "vision_tower.blocks.0.attn.qkv", "vision_tower.patch_embed.proj",
                                   "vision_tower.attn.in_proj_weight", "multi_modal_projector.linear_1", "lm_head"}));
}

/// A whole model, the rule of the model's own: what is not FP8 is named, what is FP8 is not, and inspect agrees.
TEST(CastFp8Config, OfAModel) {
  TestDir dir;
  convertOk(dir, "random --dtype bf16 --config " + config("toy_v3.json").string() + " --output " + (dir / "in").string());
  convertOk(dir, "cast-fp8 --input-bf16-hf-path " + (dir / "in").string() + " --output-fp8-hf-path " + (dir / "out").string());
  auto ignored = writtenConfig(dir / "out")["quantization_config"]["ignored_layers"].get<std::set<std::string>>();
  auto out = checkpoint::Checkpoint::open(dir / "out");
  ASSERT_TRUE(out) << out.error().message;
  for (const auto &tensor : out->tensors())
    if (tensor.info->shape.size() == 2 && tensor.info->name.ends_with(".weight"))
      EXPECT_EQ(ignored.contains(tensor.info->name.substr(0, tensor.info->name.size() - 7)),
                tensor.info->dtype != DType::F8E4M3FN)
          << tensor.info->name;
  convertOk(dir, "inspect " + (dir / "out").string());
}

TEST(CastFp8Config, BlocksAreSaidWhereNoConfigWas) {
  TestDir dir;
  writeCheckpoint(dir / "in", {ones("a.weight", {128, 128})});
  convertOk(dir, toFp8(dir / "in", dir / "out", "a.weight\n") + "--block-size 64,128");
  EXPECT_EQ(writtenConfig(dir / "out")["quantization_config"]["weight_block_size"], (json{64, 128}));
  convertOk(dir, toBf16(dir / "out", dir / "again"));
  expectSameTensors(dir / "in", dir / "again");
  EXPECT_EQ(runConvert(dir, toFp8(dir / "in", dir / "wide", "a.weight\n") + "--block-size 65537,128").code, 2)
      << "which no reader takes";
}

//===----------------------------------------------------------------------===//
// Reading back
//===----------------------------------------------------------------------===//

/// DeepSeek's embedding is never FP8: no reader of the model would take it.
TEST(ReadBack, WhatIsWrongFailsAndStaysUnfinished) {
  TestDir dir;
  convertOk(dir, "random --dtype bf16 --config " + config("toy_v3.json").string() + " --output " + (dir / "in").string());
  std::string call = toFp8(dir / "in", dir / "out", "model.embed_tokens.weight\nmodel.layers.0.self_attn.o_proj.weight\n");
  for (int round = 0; round < 2; ++round) {
    Outcome outcome = runConvert(dir, call);
    EXPECT_EQ(outcome.code, 1);
    EXPECT_NE(outcome.err.find("out: what was written is not sound: tensor 'model.embed_tokens.weight' is F8_E4M3; config.json "
                               "says BF16"),
              std::string::npos)
        << outcome.err;
    EXPECT_EQ(outcome.out, "");
    EXPECT_TRUE(fs::exists(dir / "out" / kStateFile));
    EXPECT_FALSE(fs::exists(dir / "out" / kIndexFile)) << "a folder with an index claims to be whole";
  }
  convertOk(dir, call + "--force --ignore '.*embed_tokens'");
  EXPECT_FALSE(fs::exists(dir / "out" / kStateFile));
}

/// A part of a model stays one, and a weight that was left FP8 on request is no surprise.
TEST(ReadBack, WhatWasWrongBeforeIsNotTheConversionsFault) {
  TestDir dir;
  convertOk(dir, "random --dtype fp8 --config " + config("toy_v3.json").string() + " --output " + (dir / "whole").string());
  auto whole = checkpoint::Checkpoint::open(dir / "whole");
  ASSERT_TRUE(whole) << whole.error().message;
  std::vector<TensorData> part;
  for (const char *name : {"model.norm.weight", "model.layers.0.self_attn.o_proj.weight", "model.layers.0.mlp.up_proj.weight",
                           "model.layers.0.mlp.up_proj.weight_scale_inv"}) {
    const auto *tensor = whole->find(name);
    part.push_back({{name, tensor->info->dtype, tensor->info->shape},
                    {reinterpret_cast<const char *>(tensor->data.data()), tensor->data.size()}});
  }
  writeCheckpoint(dir / "in", part);
  fs::copy_file(dir / "whole" / "config.json", dir / "in" / "config.json");
  EXPECT_EQ(runConvert(dir, "inspect " + (dir / "in").string()).code, 1);
  convertOk(dir, toBf16(dir / "in", dir / "out") + "--keep-unscaled");
}

/// A model that is not known here, of which only the configuration can be wrong.
TEST(Inspect, FindsAConfigThatSaysFp8OfPlainWeights) {
  TestDir dir;
  writeCheckpoint(dir / "in", {ones("a.weight", {128, 128})});
  writeText(dir / "in" / "config.json",
            json{{"model_type", "kimi_vl"}, {"text_config", {{"quantization_config", fp8Quantization()}}}}.dump());
  Outcome outcome = runConvert(dir, "inspect " + (dir / "in").string());
  EXPECT_EQ(outcome.code, 1);
  EXPECT_NE(outcome.err.find("config.json has a quantization_config of fp8 and no tensor is FP8"), std::string::npos)
      << outcome.err;
}

} // namespace
