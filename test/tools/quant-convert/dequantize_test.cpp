//===- dequantize_test.cpp - quant-convert dequantize ---------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "scheme_golden.h"

using namespace quant;
using namespace quant::test;
using checkpoint::Checkpoint;
using nlohmann::json;
namespace fs = std::filesystem;

namespace {

std::string dequantize(const fs::path &in, const fs::path &out) { return "dequantize " + in.string() + " " + out.string() + " "; }

json writtenConfig(const fs::path &dir) { return json::parse(readAll(dir / "config.json")); }

Checkpoint open(const fs::path &dir) {
  auto checkpoint = Checkpoint::open(dir);
  EXPECT_TRUE(checkpoint) << checkpoint.error().message;
  return std::move(*checkpoint);
}

/// A golden as a checkpoint of its own.
void copyGolden(const Golden &golden, const fs::path &to) {
  fs::create_directories(to);
  for (const char *file : {"config.json", "model.safetensors"})
    fs::copy_file(golden.dir / file, to / file);
}

class Dequantize : public testing::TestWithParam<std::string> {};

TEST_P(Dequantize, IsWhatTheLibraryDequantizes) {
  Golden golden(GetParam());
  TestDir dir;
  copyGolden(golden, dir / "in");
  convertOk(dir, dequantize(dir / "in", dir / "f32") + "--dtype=f32 --verify");
  convertOk(dir, dequantize(dir / "in", dir / "bf16") + "--verify");
  Checkpoint wide = open(dir / "f32"), narrow = open(dir / "bf16");
  ASSERT_EQ(wide.tensors().size(), 1u);
  ASSERT_EQ(narrow.tensors().size(), 1u);
  const auto *weight = wide.find(kGoldenLayer + ".weight");
  ASSERT_NE(weight, nullptr);
  EXPECT_EQ(weight->info->shape, golden.want().info->shape);
  std::vector<float> exact = values<float>(*weight);
  EXPECT_TRUE(rounded(exact, golden.want().info->dtype) == bytesOfTensor(golden.want()));
  EXPECT_EQ(narrow.tensors()[0].info->dtype, DType::BF16);
  EXPECT_TRUE(rounded(exact, DType::BF16) == bytesOfTensor(narrow.tensors()[0]));
  EXPECT_EQ(writtenConfig(dir / "f32"), json({{"torch_dtype", "float32"}}));
  EXPECT_EQ(writtenConfig(dir / "bf16"), json({{"torch_dtype", "bfloat16"}}));
}

INSTANTIATE_TEST_SUITE_P(All, Dequantize, testing::ValuesIn(goldenCases()), [](const auto &info) {
  std::string name = info.param;
  std::ranges::replace(name, '-', '_');
  return name;
});

/// The golden's layer and a norm in one shard, its scales in another; a tokenizer; a configuration in a part of the whole.
void writeMixed(const fs::path &dir) {
  Golden golden("ct-w4a16");
  std::vector<TestTensor> first, second;
  for (TestTensor &tensor : golden.tensors())
    (tensor.name.ends_with("_packed") ? first : second).push_back(std::move(tensor));
  first.push_back(tensorOf<uint16_t>("model.norm.weight", DType::BF16, {3}, {0x3F80, 0x4000, 0x4040}));
  writeTensors(dir, first, "model-00001-of-00002.safetensors");
  writeTensors(dir, second, "model-00002-of-00002.safetensors");
  json index;
  for (const TestTensor &tensor : first)
    index["weight_map"][tensor.name] = "model-00001-of-00002.safetensors";
  for (const TestTensor &tensor : second)
    index["weight_map"][tensor.name] = "model-00002-of-00002.safetensors";
  writeText(dir / "model.safetensors.index.json", index.dump());
  json text = golden.config;
  text["compression_config"] = golden.config["quantization_config"];
  writeText(dir / "config.json", json{{"text_config", text}, {"torch_dtype", "bfloat16"}}.dump());
  writeText(dir / "tokenizer.json", "{}");
  writeText(dir / "quantize_config.json", "{}");
}

TEST(DequantizeFiles, ShardsOthersAndConfiguration) {
  TestDir dir;
  writeMixed(dir / "in");
  auto outcome = convertOk(dir, dequantize(dir / "in", dir / "out") + "--json");
  json said = json::parse(outcome.out);
  EXPECT_EQ(said["dequantized"], 1);
  EXPECT_EQ(said["schemes"], json({{"ct-w4a16", 1}}));
  EXPECT_EQ(said["copied"], 1);
  EXPECT_EQ(said["dropped"], 2) << "scale and shape";
  EXPECT_FALSE(fs::exists(dir / "out" / "model-00002-of-00002.safetensors")) << "nothing is left of it";
  EXPECT_TRUE(fs::exists(dir / "out" / "tokenizer.json"));
  EXPECT_FALSE(fs::exists(dir / "out" / "quantize_config.json"));
  EXPECT_EQ(writtenConfig(dir / "out"), json({{"text_config", json::object()}, {"torch_dtype", "bfloat16"}}));
  Checkpoint out = open(dir / "out");
  ASSERT_EQ(out.tensors().size(), 2u);
  EXPECT_TRUE(bytesOfTensor(*out.find(kGoldenLayer + ".weight")) == bytesOfTensor(Golden("ct-w4a16").want()));
  EXPECT_EQ(values<uint16_t>(*out.find("model.norm.weight")), (std::vector<uint16_t>{0x3F80, 0x4000, 0x4040}));
}

TEST(DequantizeFiles, Fp8IsAsCastBf16HasIt) {
  TestDir dir;
  copyGolden(Golden("deepseek-fp8"), dir / "in");
  convertOk(dir, dequantize(dir / "in", dir / "out"));
  convertOk(dir, "cast-bf16 --input-fp8-hf-path " + (dir / "in").string() + " --output-bf16-hf-path " + (dir / "cast").string());
  expectSameTensors(dir / "out", dir / "cast");
  EXPECT_EQ(readAll(dir / "out" / "config.json"), readAll(dir / "cast" / "config.json"));
}

/// Exit code 1 and a line that says why; nothing is written.
void expectRefused(const std::vector<TestTensor> &tensors, const json &config, const std::string &says,
                   const std::string &more = "") {
  TestDir dir;
  writeTensors(dir / "in", tensors);
  writeText(dir / "in" / "config.json", config.dump());
  Outcome outcome = runConvert(dir, dequantize(dir / "in", dir / "out") + more);
  EXPECT_EQ(outcome.code, 1);
  EXPECT_NE(outcome.err.find(says), outcome.err.npos) << outcome.err;
  EXPECT_FALSE(fs::exists(dir / "out" / "model.safetensors")) << says;
}

TEST(DequantizeErrors, ABrokenLayoutAndABrokenScale) {
  Golden golden("ct-w4a16");
  auto tensors = golden.tensors();
  auto &scale = *std::ranges::find(tensors, kGoldenLayer + ".weight_scale", &TestTensor::name);
  auto intact = scale.bytes;
  scale.bytes[1] = std::byte{0xFF};
  expectRefused(tensors, golden.config, "tensor '" + kGoldenLayer + ".weight_scale': block [0, 0] has scale", "--dry-run");
  scale.bytes = intact;
  scale.bytes.resize(80);
  scale.shape = {20, 2};
  expectRefused(tensors, golden.config, "blocks of 1x64 need 20x3");
}

TEST(DequantizeErrors, WhatNoFloatHolds) {
  Golden fp8("deepseek-fp8"), mxfp4("ct-mxfp4");
  auto tensors = fp8.tensors();
  tensors[0].bytes[83] = std::byte{0x7F};
  expectRefused(tensors, fp8.config, "tensor '" + kGoldenLayer + ".weight': element [1, 3] is NaN; is the file damaged?");
  tensors = mxfp4.tensors();
  auto &scale = tensors[1].name.ends_with("_scale") ? tensors[1] : tensors[0];
  auto &codes = tensors[1].name.ends_with("_scale") ? tensors[0] : tensors[1];
  scale.bytes[4] = std::byte{254}; // 2^127, row 1, group 1
  std::fill(codes.bytes.begin(), codes.bytes.end(), std::byte{0x22});
  codes.bytes[48 + 20] = std::byte{0x72}; // column 41 is 6
  expectRefused(tensors, mxfp4.config,
                "tensor '" + kGoldenLayer + ".weight_packed': element [1, 41] times its scale does not fit into bf16");
}

TEST(DequantizeErrors, TwoOfAName) {
  Golden golden("ct-w4a16");
  auto tensors = golden.tensors();
  tensors.push_back(floats(kGoldenLayer + ".weight", {2}, {1, 2}));
  expectRefused(tensors, golden.config, "would be called '" + kGoldenLayer + ".weight', as '" + kGoldenLayer + ".weight");
}

TEST(DequantizeErrors, ScaleWithoutItsWeight) {
  Golden golden("ct-fp8-channel");
  auto tensors = golden.tensors();
  std::erase_if(tensors, [](const TestTensor &tensor) { return tensor.name.ends_with(".weight"); });
  expectRefused(tensors, golden.config, "is a scale, and its weight '" + kGoldenLayer + ".weight' is in no shard");
}

} // namespace
