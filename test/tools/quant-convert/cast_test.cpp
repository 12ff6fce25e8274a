//===- cast_test.cpp - quant-convert cast-fp8 and cast-bf16 ---------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "cast_oracle.h"
#include "run_convert.h"

#include <cmath>
#include <random>

using namespace quant;
using namespace quant::test;
using checkpoint::Checkpoint;
using nlohmann::json;
namespace fs = std::filesystem;

namespace {

/// A random checkpoint of that model.
fs::path randomCheckpoint(const TestDir &dir, const std::string &model, const std::string &more = "--shard-size 2MB") {
  fs::path path = dir / "fp8";
  convertOk(dir, "random --config " + config(model).string() + " --output " + path.string() + " --dtype fp8 " + more);
  return path;
}

std::string toBf16(const fs::path &in, const fs::path &out) {
  return "cast-bf16 --input-fp8-hf-path " + in.string() + " --output-bf16-hf-path " + out.string() + " ";
}

std::string toFp8(const fs::path &in, const fs::path &out) {
  return "cast-fp8 --input-bf16-hf-path " + in.string() + " --output-fp8-hf-path " + out.string() + " ";
}

/// A real model with all its matrix shapes, but with few layers and experts and a small vocabulary.
fs::path smallConfig(const TestDir &dir, const std::string &name, int layers, int denseLayers, int experts) {
  json model = json::parse(readAll(config(name)));
  bool isDeepSeek = model.contains("n_layers");
  model[isDeepSeek ? "n_layers" : "num_hidden_layers"] = layers;
  model[isDeepSeek ? "n_dense_layers" : "first_k_dense_replace"] = denseLayers;
  model[isDeepSeek ? "n_mtp_layers" : "num_nextn_predict_layers"] = 0;
  model["vocab_size"] = 64;
  model["n_routed_experts"] = experts;
  model[isDeepSeek ? "n_activated_experts" : "num_experts_per_tok"] = 1;
  for (const char *key : {"n_expert_groups", "n_limited_groups", "n_group", "topk_group"})
    if (model.contains(key))
      model[key] = 1;
  writeText(dir / name, model.dump());
  return dir / name;
}

//===----------------------------------------------------------------------===//
// There and back
//===----------------------------------------------------------------------===//

TEST(ThereAndBack, ReusedScalesGiveEveryByteBack) {
  for (const char *model : {"toy_v2.json", "toy_v3.json"}) {
    TestDir dir;
    fs::path fp8 = randomCheckpoint(dir, model);
    convertOk(dir, toBf16(fp8, dir / "bf16"));
    convertOk(dir, toFp8(dir / "bf16", dir / "again") + "--reuse-scales --input-fp8-hf-path " + fp8.string());
    expectSameTensors(fp8, dir / "again");
  }
}

/// Blocks that use the full range (a code of 448) keep their bytes with fresh scales, too, and these are within 2^-8.
void expectSameCodes(const TestDir &dir, const fs::path &fp8) {
  convertOk(dir, toBf16(fp8, dir / "bf16"));
  convertOk(dir, toFp8(dir / "bf16", dir / "again"));
  auto before = Checkpoint::open(fp8), after = Checkpoint::open(dir / "again");
  ASSERT_TRUE(before && after);
  ASSERT_EQ(before->tensors().size(), after->tensors().size());
  size_t fullBlocks = 0;
  for (const auto &tensor : before->tensors()) {
    if (tensor.info->dtype != DType::F8E4M3FN)
      continue;
    const auto *twin = after->find(tensor.info->name);
    auto old = values<uint8_t>(tensor), now = values<uint8_t>(*twin);
    auto oldScales = values<float>(*before->find(tensor.info->name + "_scale_inv"));
    auto newScales = values<float>(*after->find(tensor.info->name + "_scale_inv"));
    int64_t columns = tensor.info->shape[1], blocks = (columns + 127) / 128;
    std::vector<bool> isFull(oldScales.size());
    for (size_t i = 0; i < old.size(); ++i)
      if ((old[i] & 0x7F) == 0x7E)
        isFull[static_cast<size_t>(int64_t(i) / columns / 128 * blocks + int64_t(i) % columns / 128)] = true;
    for (size_t i = 0; i < old.size(); ++i)
      if (isFull[static_cast<size_t>(int64_t(i) / columns / 128 * blocks + int64_t(i) % columns / 128)])
        ASSERT_EQ(int(old[i]), int(now[i])) << tensor.info->name << " " << i;
    for (size_t b = 0; b < oldScales.size(); ++b)
      if (isFull[b]) {
        ++fullBlocks;
        ASSERT_LE(std::fabs(newScales[b] / oldScales[b] - 1), 0x1p-8f) << tensor.info->name;
      }
  }
  EXPECT_GT(fullBlocks, 0u);
}

/// And where all blocks are full, as cast-fp8 itself leaves them, every byte.
TEST(ThereAndBack, FreshScalesGiveFullBlocksBack) {
  for (const char *model : {"toy_v2.json", "toy_v3.json"}) {
    TestDir dir;
    expectSameCodes(dir, randomCheckpoint(dir, model));
    convertOk(dir, toBf16(dir / "again", dir / "plain"));
    convertOk(dir, toFp8(dir / "plain", dir / "third"));
    auto full = Checkpoint::open(dir / "again"), third = Checkpoint::open(dir / "third");
    ASSERT_TRUE(full && third);
    for (const auto &tensor : full->tensors())
      if (tensor.info->dtype == DType::F8E4M3FN)
        EXPECT_TRUE(std::ranges::equal(tensor.data, third->find(tensor.info->name)->data)) << tensor.info->name;
  }
}

TEST(ThereAndBack, Ue8m0ScalesAreReused) {
  TestDir dir;
  json model = json::parse(readAll(config("toy_v3.json")));
  model["quantization_config"]["scale_fmt"] = "ue8m0";
  writeText(dir / "model.json", model.dump());
  convertOk(dir, "random --config " + (dir / "model.json").string() + " --output " + (dir / "fp8").string());
  convertOk(dir, toBf16(dir / "fp8", dir / "bf16"));
  convertOk(dir, toFp8(dir / "bf16", dir / "again") + "--reuse-scales --input-fp8-hf-path " + (dir / "fp8").string());
  expectSameTensors(dir / "fp8", dir / "again");
  EXPECT_EQ(json::parse(readAll(dir / "again" / "config.json"))["quantization_config"]["scale_fmt"], "ue8m0");
}

/// With the scales kept every byte comes back, with fresh ones those of the full blocks.
void expectThereAndBack(const std::string &model, int layers, int denseLayers, int experts) {
  TestDir dir;
  fs::path fp8 = dir / "fp8";
  convertOk(dir, "random --dtype fp8 --config " + smallConfig(dir, model, layers, denseLayers, experts).string() + " --output " +
                     fp8.string());
  expectSameCodes(dir, fp8);
  fs::remove_all(dir / "again");
  convertOk(dir, toFp8(dir / "bf16", dir / "again") + "--reuse-scales --input-fp8-hf-path " + fp8.string());
  expectSameTensors(fp8, dir / "again");
}

/// 671B's, 236B's and 16B's shapes. The larger ones' dense layer and more experts, 20 GB, only where QUANT_TEST_LARGE is set.
TEST(ThereAndBack, RealShapes) {
  bool large = std::getenv("QUANT_TEST_LARGE");
  expectThereAndBack("671B.json", large ? 2 : 1, large ? 1 : 0, large ? 8 : 1);
  expectThereAndBack("236B.json", large ? 2 : 1, large ? 1 : 0, large ? 8 : 1);
  expectThereAndBack("16B.json", 2, 1, large ? 8 : 2);
}

//===----------------------------------------------------------------------===//
// The rule, element by element
//===----------------------------------------------------------------------===//

/// Weights of that shape with a block of zeros in the middle, as bf16 bits.
std::vector<uint16_t> someWeights(int64_t rows, int64_t columns) {
  std::mt19937 random(7);
  std::normal_distribution<float> normal(0, 0.02f);
  std::vector<uint16_t> weights;
  for (int64_t i = 0; i < rows * columns; ++i)
    weights.push_back(i / columns / 128 == 1 && i % columns / 128 == 1 ? 0x8000 : bf16Bits(normal(random)));
  return weights;
}

TEST(CastFp8, FollowsTheRuleOnRaggedRows) {
  TestDir dir;
  for (auto [rows, columns, block] : {std::array{576, 300, 128}, {1, 1, 128}, {128, 129, 128}, {200, 1000, 64}}) {
    auto weights = someWeights(rows, columns);
    fs::remove_all(dir / "in");
    fs::remove_all(dir / "out");
    writeCheckpoint(dir / "in", {{{"a.weight", DType::BF16, {rows, columns}}, bytesOf(weights)}});
    writeText(dir / "list", "# the only one\n\na.weight\r\n");
    convertOk(dir, toFp8(dir / "in", dir / "out") + "--weights-list " + (dir / "list").string() + " --block-size " +
                       std::to_string(block) + ",128");
    auto out = Checkpoint::open(dir / "out");
    ASSERT_TRUE(out) << out.error().message;
    auto codes = values<uint8_t>(*out->find("a.weight"));
    auto scales = values<float>(*out->find("a.weight_scale_inv"));
    int64_t blocks = (columns + 127) / 128;
    ASSERT_EQ(scales.size(), static_cast<size_t>((rows + block - 1) / block * blocks));
    std::vector<float> amax(scales.size());
    auto blockOf = [&](size_t i) {
      return static_cast<size_t>(int64_t(i) / columns / block * blocks + int64_t(i) % columns / 128);
    };
    for (size_t i = 0; i < weights.size(); ++i)
      amax[blockOf(i)] = std::max(amax[blockOf(i)], std::fabs(bf16Value(weights[i])));
    for (size_t b = 0; b < scales.size(); ++b)
      ASSERT_EQ(scales[b], amax[b] == 0 ? 1 : amax[b] / 448.0f) << b;
    for (size_t i = 0; i < weights.size(); ++i)
      ASSERT_EQ(int(codes[i]), int(e4m3Code(bf16Value(weights[i]) / scales[blockOf(i)]))) << i;
  }
}

TEST(CastFp8, F16AndF32AndUe8m0) {
  TestDir dir;
  std::vector<uint16_t> halves = {0x3C00, 0xC000, 0x0001, 0x7BFF}; // 1, -2, 2^-24, 65504
  std::vector<float> floats = {1, -3, 1e-30f, 0.5f};
  writeCheckpoint(dir / "in",
                  {{{"h.weight", DType::F16, {1, 4}}, bytesOf(halves)}, {{"f.weight", DType::F32, {1, 4}}, bytesOf(floats)}});
  writeText(dir / "list", "h.weight\nf.weight\n");
  convertOk(dir, toFp8(dir / "in", dir / "out") + "--scale-fmt ue8m0 --weights-list " + (dir / "list").string());
  auto out = Checkpoint::open(dir / "out");
  ASSERT_TRUE(out) << out.error().message;
  EXPECT_EQ(values<float>(*out->find("h.weight_scale_inv")), std::vector{256.0f});
  EXPECT_EQ(values<float>(*out->find("f.weight_scale_inv")), std::vector{0x1p-7f});
  auto codes = values<uint8_t>(*out->find("f.weight"));
  for (size_t i = 0; i < 4; ++i)
    EXPECT_EQ(codes[i], e4m3Code(floats[i] / 0x1p-7f));
}

TEST(CastFp8, ReusesOnlyWhatFits) {
  TestDir dir;
  std::vector<uint16_t> weights(256, bf16Bits(1));
  weights[200] = bf16Bits(100); // in the second block
  std::vector<float> scales = {0.01f, 0.1f};
  writeCheckpoint(dir / "in", {{{"a.weight", DType::BF16, {1, 256}}, bytesOf(weights)}});
  writeCheckpoint(dir / "ref", {{{"a.weight", DType::F8E4M3FN, {1, 256}}, std::string(256, 1)},
                                {{"a.weight_scale_inv", DType::F32, {1, 2}}, bytesOf(scales)}});
  Outcome outcome = convertOk(dir, toFp8(dir / "in", dir / "out") + "--json --verify --reuse-scales --input-fp8-hf-path " +
                                       (dir / "ref").string());
  auto out = Checkpoint::open(dir / "out");
  ASSERT_TRUE(out) << out.error().message;
  EXPECT_EQ(values<float>(*out->find("a.weight_scale_inv")), (std::vector{0.01f, 100 / 448.0f}));
  EXPECT_EQ(json::parse(outcome.out)["scales_kept"], 1);
  EXPECT_EQ(json::parse(outcome.out)["scales_new"], 1);
}

TEST(CastBf16, TakesScalesOfOtherShardsAndOtherDtypes) {
  TestDir dir;
  fs::create_directories(dir / "in");
  std::string codes(200, 0x38); // 1.0
  writeTensors(dir / "in" / "a.safetensors", {{{"a.weight", DType::F8E4M3FN, {1, 200}}, codes},
                                              {{"b.weight", DType::F8E4M3FN, {1, 200}}, codes},
                                              {{"n.weight", DType::F32, {1}}, bytesOf(std::vector{1.5f})}});
  writeTensors(dir / "in" / "b.safetensors",
               {{{"a.weight_scale_inv", DType::BF16, {1, 2}}, bytesOf(std::vector{bf16Bits(0.5f), bf16Bits(3)})},
                {{"b.weight_scale_inv", DType::F8E8M0FNU, {1, 2}}, std::string("\x80\x7E")}});
  checkpoint::WeightMap map = {{"a.weight", "a.safetensors"},
                               {"b.weight", "a.safetensors"},
                               {"n.weight", "a.safetensors"},
                               {"a.weight_scale_inv", "b.safetensors"},
                               {"b.weight_scale_inv", "b.safetensors"}};
  ASSERT_TRUE(checkpoint::writeIndex(dir / "in", map, 0));
  convertOk(dir, toBf16(dir / "in", dir / "out"));
  auto out = Checkpoint::open(dir / "out");
  ASSERT_TRUE(out) << out.error().message;
  ASSERT_EQ(out->files().size(), 1u) << "a shard of scales alone has nothing left";
  auto a = values<uint16_t>(*out->find("a.weight")), b = values<uint16_t>(*out->find("b.weight"));
  EXPECT_EQ(bf16Value(a[127]), 0.5f);
  EXPECT_EQ(bf16Value(a[128]), 3);
  EXPECT_EQ(bf16Value(b[0]), 2);
  EXPECT_EQ(bf16Value(b[199]), 0.5f);
  EXPECT_EQ(out->find("n.weight")->info->dtype, DType::F32);
  EXPECT_EQ(json::parse(readAll(dir / "out" / "model.safetensors.index.json"))["metadata"]["total_size"], 804);
}

//===----------------------------------------------------------------------===//
// Which weights, and what goes along
//===----------------------------------------------------------------------===//

TEST(CastFp8, TheBuiltInRuleAndTheReferenceAgree) {
  TestDir dir;
  fs::path fp8 = randomCheckpoint(dir, "toy_v3.json");
  convertOk(dir, toBf16(fp8, dir / "bf16"));
  convertOk(dir, toFp8(dir / "bf16", dir / "rule"));
  convertOk(dir, toFp8(dir / "bf16", dir / "reference") + "--input-fp8-hf-path " + fp8.string());
  expectSameTensors(dir / "rule", dir / "reference");
  convertOk(dir, "cast-fp8 --input-fp8-hf-path " + fp8.string() + " --weights-list " + (dir / "list").string());
  convertOk(dir, toFp8(dir / "bf16", dir / "list-out") + "--weights-list " + (dir / "list").string());
  expectSameTensors(dir / "rule", dir / "list-out");
  std::string printed = convertOk(dir, "cast-fp8 --input-fp8-hf-path " + fp8.string()).out;
  EXPECT_EQ(printed, readAll(dir / "list"));
  EXPECT_NE(printed.find("model.layers.4.self_attn.o_proj.weight\n"), std::string::npos) << "the MTP layer's, too";
  EXPECT_EQ(printed.find("lm_head"), std::string::npos);
}

TEST(CastFp8, IgnoredWeightsStayAndAreInTheConfig) {
  TestDir dir;
  fs::path fp8 = randomCheckpoint(dir, "toy_v2.json");
  convertOk(dir, toBf16(fp8, dir / "bf16"));
  convertOk(dir, toFp8(dir / "bf16", dir / "out") + "--ignore '.*lm_head' '.*kv_b_proj'");
  auto out = Checkpoint::open(dir / "out");
  ASSERT_TRUE(out) << out.error().message;
  EXPECT_EQ(out->find("model.layers.0.self_attn.kv_b_proj.weight")->info->dtype, DType::BF16);
  EXPECT_EQ(out->find("model.layers.0.self_attn.o_proj.weight")->info->dtype, DType::F8E4M3FN);
  json quantization = json::parse(readAll(dir / "out" / "config.json"))["quantization_config"];
  EXPECT_EQ(quantization["quant_method"], "fp8");
  EXPECT_EQ(quantization["fmt"], "e4m3");
  EXPECT_EQ(quantization["activation_scheme"], "dynamic");
  EXPECT_EQ(quantization["weight_block_size"], (json{128, 128}));
  EXPECT_EQ(quantization["ignored_layers"], quantization["modules_to_not_convert"]);
  std::vector<std::string> ignored = quantization["ignored_layers"];
  EXPECT_NE(std::ranges::find(ignored, "model.layers.0.self_attn.kv_b_proj"), ignored.end());
  EXPECT_NE(std::ranges::find(ignored, "lm_head"), ignored.end());
  EXPECT_EQ(std::ranges::find(ignored, "model.layers.0.self_attn.o_proj"), ignored.end());
}

TEST(Cast, CodeAndTokenizerGoAlong) {
  TestDir dir;
  fs::path fp8 = randomCheckpoint(dir, "toy_v2.json");
  for (const char *name :
       {"tokenizer.json", "tokenizer_config.json", "configuration_deepseek.py", "modeling_deepseek.py", "LICENSE"})
    writeText(fp8 / name, std::string("this is ") + name);
  writeText(dir / "blob", "in a cache");
  fs::create_symlink(dir / "blob", fp8 / "special_tokens_map.json"); // as in the Hugging Face cache
  writeText(fp8 / "notes.txt", "mine");
  convertOk(dir, toBf16(fp8, dir / "bf16"));
  EXPECT_EQ(readAll(dir / "bf16" / "modeling_deepseek.py"), "this is modeling_deepseek.py");
  EXPECT_EQ(readAll(dir / "bf16" / "special_tokens_map.json"), "in a cache");
  EXPECT_FALSE(fs::is_symlink(dir / "bf16" / "special_tokens_map.json"));
  EXPECT_FALSE(fs::exists(dir / "bf16" / "notes.txt"));
  EXPECT_TRUE(fs::exists(dir / "bf16" / "generation_config.json"));
  EXPECT_FALSE(json::parse(readAll(dir / "bf16" / "config.json")).contains("quantization_config"));

  fs::remove(dir / "bf16" / "configuration_deepseek.py"); // a script of DeepSeek's leaves it out: the reference has it
  convertOk(dir, toFp8(dir / "bf16", dir / "again") + "--input-fp8-hf-path " + fp8.string());
  for (const char *name : {"tokenizer.json", "configuration_deepseek.py", "modeling_deepseek.py", "generation_config.json"})
    EXPECT_EQ(readAll(dir / "again" / name), readAll(fp8 / name)) << name;
}

} // namespace
