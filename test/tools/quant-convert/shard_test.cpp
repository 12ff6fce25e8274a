//===- shard_test.cpp - quant-convert shard -------------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "cast_oracle.h"
#include "models/config/read.h"
#include "models/tensors.h"
#include "run_convert.h"
#include "tools/quant-convert/schemes/parallel_layout.h"

#include <cmath>

using namespace quant;
using namespace quant::test;
using checkpoint::Checkpoint;
using checkpoint::SafetensorsFile;
using convert::LayoutOptions;
using nlohmann::json;
namespace fs = std::filesystem;

namespace {

std::string shard(const fs::path &in, const fs::path &out, int experts, int ranks) {
  return "shard --hf-ckpt-path " + in.string() + " --save-path " + out.string() + " --n-experts " + std::to_string(experts) +
         " --model-parallel " + std::to_string(ranks) + " ";
}

/// "name", "name | rank" or "name / dim".
std::string placed(const std::string &tensor, bool keepMtp = false) {
  auto place = convert::place(tensor, LayoutOptions{256, 16, 61, keepMtp});
  if (!place)
    return place.error().message;
  if (!*place)
    return "left out";
  return (*place)->name + ((*place)->rank ? " | " + std::to_string(*(*place)->rank) : "") +
         ((*place)->dim ? " / " + std::to_string(*(*place)->dim) : "");
}

TEST(ParallelLayout, DeepSeeksNames) {
  EXPECT_EQ(placed("model.embed_tokens.weight"), "embed.weight / 0");
  EXPECT_EQ(placed("lm_head.weight"), "head.weight / 0");
  EXPECT_EQ(placed("model.norm.weight"), "norm.weight");
  EXPECT_EQ(placed("model.layers.7.input_layernorm.weight"), "layers.7.attn_norm.weight");
  EXPECT_EQ(placed("model.layers.7.post_attention_layernorm.weight"), "layers.7.ffn_norm.weight");
  EXPECT_EQ(placed("model.layers.7.self_attn.q_proj.weight"), "layers.7.attn.wq.weight / 0");
  EXPECT_EQ(placed("model.layers.7.self_attn.q_a_proj.weight_scale_inv"), "layers.7.attn.wq_a.scale");
  EXPECT_EQ(placed("model.layers.7.self_attn.q_a_layernorm.weight"), "layers.7.attn.q_norm.weight");
  EXPECT_EQ(placed("model.layers.7.self_attn.q_b_proj.weight_scale_inv"), "layers.7.attn.wq_b.scale / 0");
  EXPECT_EQ(placed("model.layers.7.self_attn.kv_a_proj_with_mqa.weight"), "layers.7.attn.wkv_a.weight");
  EXPECT_EQ(placed("model.layers.7.self_attn.kv_a_layernorm.weight"), "layers.7.attn.kv_norm.weight");
  EXPECT_EQ(placed("model.layers.7.self_attn.kv_b_proj.weight"), "layers.7.attn.wkv_b.weight / 0");
  EXPECT_EQ(placed("model.layers.7.self_attn.o_proj.weight"), "layers.7.attn.wo.weight / 1");
  EXPECT_EQ(placed("model.layers.0.mlp.gate_proj.weight"), "layers.0.ffn.w1.weight / 0");
  EXPECT_EQ(placed("model.layers.0.mlp.down_proj.weight"), "layers.0.ffn.w2.weight / 1");
  EXPECT_EQ(placed("model.layers.0.mlp.up_proj.weight"), "layers.0.ffn.w3.weight / 0");
  EXPECT_EQ(placed("model.layers.7.mlp.gate.weight"), "layers.7.ffn.gate.weight");
  EXPECT_EQ(placed("model.layers.7.mlp.gate.e_score_correction_bias"), "layers.7.ffn.gate.bias");
  EXPECT_EQ(placed("model.layers.7.mlp.experts.0.gate_proj.weight"), "layers.7.ffn.experts.0.w1.weight | 0");
  EXPECT_EQ(placed("model.layers.7.mlp.experts.255.down_proj.weight_scale_inv"), "layers.7.ffn.experts.255.w2.scale | 15");
  EXPECT_EQ(placed("model.layers.7.mlp.shared_experts.down_proj.weight"), "layers.7.ffn.shared_experts.w2.weight / 1");
}

TEST(ParallelLayout, MtpAndErrors) {
  EXPECT_EQ(placed("model.layers.61.self_attn.o_proj.weight"), "left out");
  EXPECT_EQ(placed("model.layers.61.eh_proj.weight"), "left out");
  EXPECT_EQ(placed("model.layers.61.self_attn.o_proj.weight", true), "layers.61.attn.wo.weight / 1");
  EXPECT_EQ(placed("model.layers.61.eh_proj.weight", true), "layers.61.eh_proj.weight");
  EXPECT_EQ(placed("model.layers.61.shared_head.norm.weight", true), "layers.61.shared_head.norm.weight");
  EXPECT_EQ(placed("model.layers.61.shared_head.head.weight", true), "layers.61.shared_head.head.weight / 0");
  EXPECT_EQ(
      placed("model.layers.6.eh_proj.weight"),
      "tensor 'model.layers.6.eh_proj.weight': DeepSeek's model-parallel layout has no such module; is it a DeepSeek model?");
  EXPECT_EQ(placed("weight"), "tensor 'weight': DeepSeek's model-parallel layout has no such module; is it a DeepSeek model?");
  EXPECT_EQ(placed("model.layers.7.mlp.experts.256.up_proj.weight"),
            "tensor 'model.layers.7.mlp.experts.256.up_proj.weight': is of an expert beyond --n-experts 256");
  EXPECT_EQ(placed("model.layers.7.mlp.experts.x.up_proj.weight"),
            "tensor 'model.layers.7.mlp.experts.x.up_proj.weight': is of an expert beyond --n-experts 256");
}

TEST(ParallelLayout, KnowsEveryTensorOfEveryConfig) {
  for (const char *name : {"671B.json", "236B.json", "16B.json", "v3.1.json"}) {
    auto model = models::loadConfig(config(name));
    ASSERT_TRUE(model);
    for (const models::TensorSpec &tensor : models::checkpointTensors(*model)) {
      auto place = convert::place(tensor.name, {model->nRoutedExperts, 1, model->nLayers, true});
      EXPECT_TRUE(place && *place) << tensor.name;
    }
  }
}

/// The files of the ranks.
std::vector<SafetensorsFile> openRanks(const fs::path &dir, int ranks) {
  std::vector<SafetensorsFile> files;
  for (int rank = 0; rank < ranks; ++rank) {
    auto file = SafetensorsFile::open(dir / ("model" + std::to_string(rank) + "-mp" + std::to_string(ranks) + ".safetensors"));
    EXPECT_TRUE(file) << file.error().message;
    if (file)
      files.push_back(std::move(*file));
  }
  return files;
}

/// A checkpoint whose sizes divide by 128 * 4, apart from the ones that are never split.
fs::path alignedCheckpoint(const TestDir &dir, const std::string &more = "") {
  json model = json::parse(readAll(config("toy_v3.json")));
  model["intermediate_size"] = 512;
  model["moe_intermediate_size"] = 512;
  model["qk_nope_head_dim"] = 128;
  model["qk_rope_head_dim"] = 128;
  model["v_head_dim"] = 128;
  writeText(dir / "aligned.json", model.dump());
  convertOk(dir, "random --config " + (dir / "aligned.json").string() + " --output " + (dir / "in").string() + " " + more);
  return dir / "in";
}

TEST(ShardCommand, ThePartsAreTheWhole) {
  TestDir dir;
  fs::path in = alignedCheckpoint(dir);
  writeText(in / "tokenizer.json", "{}");
  writeText(in / "modeling_deepseek.py", "");
  convertOk(dir, shard(in, dir / "out", 16, 4) + "--verify");
  EXPECT_TRUE(fs::exists(dir / "out" / "tokenizer.json"));
  EXPECT_FALSE(fs::exists(dir / "out" / "modeling_deepseek.py")) << "convert.py copies *token*";
  EXPECT_FALSE(fs::exists(dir / "out" / "config.json"));
  auto files = openRanks(dir / "out", 4);
  ASSERT_EQ(files.size(), 4u);
  auto whole = Checkpoint::open(in);
  std::map<std::string, size_t> seen;
  for (const auto &tensor : whole->tensors()) {
    auto place = convert::place(tensor.info->name, {16, 4, 4, false});
    ASSERT_TRUE(place);
    if (!*place)
      continue;
    int64_t width = bitWidth(tensor.info->dtype) / 8, columns = tensor.info->shape.back();
    for (size_t rank = 0; rank < 4; ++rank) {
      const auto *part = files[rank].find((*place)->name);
      bool isHere = !(*place)->rank || *(*place)->rank == int64_t(rank);
      ASSERT_EQ(part != nullptr, isHere) << tensor.info->name << " " << rank;
      if (!part)
        continue;
      ++seen[(*place)->name];
      auto shape = tensor.info->shape;
      int64_t row = 0, column = 0;
      if ((*place)->dim) {
        auto dim = static_cast<size_t>(*(*place)->dim);
        shape[dim] /= 4;
        (dim == 0 ? row : column) = shape[dim] * int64_t(rank);
      }
      ASSERT_EQ(part->shape, shape) << tensor.info->name;
      auto bytes = files[rank].data(*part);
      int64_t rowBytes = shape.back() * width, rows = int64_t(bytes.size()) / rowBytes;
      for (int64_t r = 0; r < rows; ++r)
        ASSERT_EQ(std::memcmp(&bytes[size_t(r * rowBytes)], &tensor.data[size_t(((row + r) * columns + column) * width)],
                              size_t(rowBytes)),
                  0)
            << tensor.info->name << " rank " << rank << " row " << r;
    }
  }
  size_t tensors = 0;
  for (const auto &file : files)
    tensors += file.tensors().size();
  size_t expected = 0;
  for (const auto &[name, count] : seen)
    expected += count;
  EXPECT_EQ(tensors, expected) << "nothing else is there";
}

TEST(ShardCommand, OneRankHoldsAllAndMtpIsKept) {
  TestDir dir;
  fs::path in = alignedCheckpoint(dir);
  convertOk(dir, shard(in, dir / "out", 16, 1) + "--keep-mtp");
  auto whole = Checkpoint::open(in);
  auto files = openRanks(dir / "out", 1);
  ASSERT_EQ(files.size(), 1u);
  EXPECT_EQ(files[0].tensors().size(), whole->tensors().size());
  EXPECT_NE(files[0].find("layers.4.shared_head.head.weight"), nullptr);
}

TEST(ShardCommand, ASplitThroughABlockIsRefusedWithTheNumbers) {
  TestDir dir;
  std::vector<float> scales = {1, 2, 3};
  writeCheckpoint(dir / "in", {{{"model.layers.0.mlp.gate_proj.weight", DType::F8E4M3FN, {384, 8}}, std::string(384 * 8, 0x38)},
                               {{"model.layers.0.mlp.gate_proj.weight_scale_inv", DType::F32, {3, 1}}, bytesOf(scales)}});
  Outcome outcome = runConvert(dir, shard(dir / "in", dir / "out", 2, 2));
  EXPECT_EQ(outcome.code, 1);
  EXPECT_NE(
      outcome.err.find("tensor 'model.layers.0.mlp.gate_proj.weight': 384 rows over 2 ranks are 192 each, 1.5 blocks of 128: "
                       "the split cuts through a block scale; choose a smaller --model-parallel, or --requantize"),
      std::string::npos)
      << outcome.err;
  EXPECT_FALSE(fs::exists(dir / "out"));
}

/// The values stay, up to a rounding to e4m3 of a new scale.
TEST(ShardCommand, RequantizedPartsHaveTheWholesValues) {
  TestDir dir;
  convertOk(dir, "random --config " + config("toy_v3.json").string() + " --output " + (dir / "in").string());
  json summary = json::parse(convertOk(dir, shard(dir / "in", dir / "out", 16, 2) + "--requantize --verify --json").out);
  EXPECT_GT(summary["requantized"], 0);
  auto whole = Checkpoint::open(dir / "in");
  auto files = openRanks(dir / "out", 2);
  ASSERT_EQ(files.size(), 2u);
  for (auto [from, to, dim] : {std::tuple{"model.layers.0.mlp.gate_proj", "layers.0.ffn.w1", 0},
                               {"model.layers.0.mlp.down_proj", "layers.0.ffn.w2", 1}}) {
    const auto &tensor = *whole->find(std::string(from) + ".weight");
    auto codes = values<uint8_t>(tensor);
    auto scales = values<float>(*whole->find(std::string(from) + ".weight_scale_inv"));
    int64_t columns = tensor.info->shape[1], blocks = (columns + 127) / 128;
    for (size_t rank = 0; rank < 2; ++rank) {
      const auto *part = files[rank].find(std::string(to) + ".weight"), *scale = files[rank].find(std::string(to) + ".scale");
      ASSERT_TRUE(part && scale);
      int64_t rows = part->shape[0], width = part->shape[1], partBlocks = (width + 127) / 128;
      EXPECT_EQ(scale->shape, (std::vector{(rows + 127) / 128, partBlocks}));
      std::vector<float> partScales(files[rank].data(*scale).size() / 4);
      std::memcpy(partScales.data(), files[rank].data(*scale).data(), partScales.size() * 4);
      for (int64_t r = 0; r < rows; ++r)
        for (int64_t c = 0; c < width; ++c) {
          int64_t row = r + (dim == 0 ? int64_t(rank) * rows : 0), column = c + (dim == 1 ? int64_t(rank) * width : 0);
          double want = e4m3Value(codes[size_t(row * columns + column)]) * scales[size_t(row / 128 * blocks + column / 128)];
          float newScale = partScales[size_t(r / 128 * partBlocks + c / 128)];
          double found = e4m3Value(uint8_t(files[rank].data(*part)[size_t(r * width + c)])) * newScale;
          ASSERT_LE(std::fabs(found - want), std::max(std::fabs(want) / 16, newScale * 0x1p-10) * 1.0001) << from << " " << row;
        }
    }
  }
}

TEST(ShardCommand, WrongCallsAndModels) {
  TestDir dir;
  fs::path in = alignedCheckpoint(dir);
  EXPECT_EQ(runConvert(dir, shard(in, dir / "out", 16, 3)).code, 2);
  EXPECT_EQ(runConvert(dir, shard(in, dir / "out", 16, 0)).code, 2);
  Outcome experts = runConvert(dir, shard(in, dir / "out", 8, 4));
  EXPECT_EQ(experts.code, 1);
  EXPECT_NE(experts.err.find("config.json: n_routed_experts is 16, --n-experts says 8"), std::string::npos) << experts.err;
  Outcome divides = runConvert(dir, shard(in, dir / "out", 16, 16));
  EXPECT_EQ(divides.code, 1);
  EXPECT_FALSE(fs::exists(dir / "out"));
}

} // namespace
