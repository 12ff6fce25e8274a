//===- random_test.cpp - checkpoints that quant-convert random writes -----===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "models/config/names.h"
#include "models/config/read.h"
#include "models/tensors.h"
#include "runtime/checkpoint/checkpoint.h"
#include "test_dir.h"
#include "tools/quant-convert/command.h"

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include <cstring>

using namespace quant;
using namespace quant::test;
using nlohmann::json;

namespace {

/// Runs `quant-convert random` in this process, its words swallowed.
Result<void> convertRandom(const std::string &model, const std::filesystem::path &output, std::vector<std::string> more = {}) {
  CLI::App app;
  convert::Command command = convert::addRandomCommand(app);
  std::vector<std::string> arguments = {"random", "--config", config(model).string(), "--output", output.string()};
  arguments.insert(arguments.end(), more.begin(), more.end());
  std::reverse(arguments.begin(), arguments.end()); // as App::parse wants them
  app.parse(arguments);
  testing::internal::CaptureStdout();
  auto done = command.run();
  testing::internal::GetCapturedStdout();
  return done;
}

/// The checkpoint in `dir` has exactly the tensors of its config.
void expectComplete(const std::filesystem::path &dir) {
  auto opened = checkpoint::Checkpoint::open(dir);
  ASSERT_TRUE(opened) << opened.error().message;
  auto model = models::loadConfig(dir);
  ASSERT_TRUE(model) << model.error().message;
  auto tensors = models::checkpointTensors(*model);
  EXPECT_EQ(opened->tensors().size(), tensors.size());
  uint64_t bytes = 0;
  for (const models::TensorSpec &tensor : tensors) {
    const auto *found = opened->find(tensor.name);
    ASSERT_NE(found, nullptr) << tensor.name;
    EXPECT_EQ(found->info->dtype, tensor.dtype) << tensor.name;
    EXPECT_EQ(found->info->shape, tensor.shape) << tensor.name;
    bytes += found->data.size();
  }
  json index = json::parse(readAll(dir / "model.safetensors.index.json"));
  EXPECT_EQ(index["metadata"]["total_size"], bytes);
  EXPECT_TRUE(std::filesystem::exists(dir / "generation_config.json"));
}

TEST(RandomCheckpoint, BothToysOpen) {
  for (const char *model : {"toy_v3.json", "toy_v2.json"}) {
    TestDir dir;
    auto done = convertRandom(model, dir.path);
    ASSERT_TRUE(done) << done.error().message;
    expectComplete(dir.path);
  }
}

TEST(RandomCheckpoint, OtherDtypesAndManyShards) {
  for (const char *dtype : {"fp8", "bf16", "f32"}) {
    TestDir dir;
    auto done = convertRandom("toy_v2.json", dir.path, {"--dtype", dtype, "--shard-size", "100kB"});
    ASSERT_TRUE(done) << done.error().message;
    expectComplete(dir.path);
    auto opened = checkpoint::Checkpoint::open(dir.path);
    EXPECT_GT(opened->files().size(), 10u);
    EXPECT_EQ(models::storageName(*models::loadConfig(dir.path)), dtype);
  }
}

TEST(RandomCheckpoint, ConfigIsTheModels) {
  TestDir dir;
  ASSERT_TRUE(convertRandom("toy_v3.json", dir.path));
  EXPECT_EQ(*models::loadConfig(dir.path), *models::loadConfig(config("toy_v3.json")));
  json written = json::parse(readAll(dir / "config.json"));
  EXPECT_EQ(written["quantization_config"]["quant_method"], "fp8");
  EXPECT_TRUE(written["quantization_config"].contains("ignored_layers"));
  EXPECT_TRUE(written["quantization_config"].contains("modules_to_not_convert"));
}

TEST(RandomCheckpoint, NoNaNAndPositiveScales) {
  TestDir dir;
  ASSERT_TRUE(convertRandom("toy_v3.json", dir.path));
  auto opened = checkpoint::Checkpoint::open(dir.path);
  ASSERT_TRUE(opened);
  for (const auto &tensor : opened->tensors()) {
    if (tensor.info->dtype == DType::F8E4M3FN)
      for (std::byte code : tensor.data)
        ASSERT_NE(code & std::byte{0x7F}, std::byte{0x7F}) << tensor.info->name;
    if (!tensor.info->name.ends_with("weight_scale_inv"))
      continue;
    for (size_t i = 0; i < tensor.data.size(); i += sizeof(float)) {
      float scale;
      std::memcpy(&scale, tensor.data.data() + i, sizeof(float));
      ASSERT_GT(scale, 0) << tensor.info->name;
    }
  }
}

TEST(RandomCheckpoint, TheSameForTheSameSeedOnAnyNumberOfThreads) {
  TestDir dir;
  ASSERT_TRUE(convertRandom("toy_v2.json", dir / "a", {"--seed", "3", "--threads", "1"}));
  ASSERT_TRUE(convertRandom("toy_v2.json", dir / "b", {"--seed", "3", "--threads", "5"}));
  ASSERT_TRUE(convertRandom("toy_v2.json", dir / "c", {"--seed", "4"}));
  const std::string shard = "model-00001-of-00001.safetensors";
  std::string a = readAll(dir / "a" / shard);
  EXPECT_FALSE(a.empty());
  EXPECT_TRUE(a == readAll(dir / "b" / shard));
  EXPECT_FALSE(a == readAll(dir / "c" / shard));
  EXPECT_EQ(readAll(dir / "a" / "config.json"), readAll(dir / "b" / "config.json"));
}

TEST(RandomCheckpoint, TheSameBytesInOtherShards) {
  TestDir dir;
  ASSERT_TRUE(convertRandom("toy_v2.json", dir / "one"));
  ASSERT_TRUE(convertRandom("toy_v2.json", dir / "many", {"--shard-size", "64KiB"}));
  auto one = checkpoint::Checkpoint::open(dir / "one"), many = checkpoint::Checkpoint::open(dir / "many");
  ASSERT_TRUE(one && many);
  for (const auto &tensor : one->tensors())
    EXPECT_TRUE(std::ranges::equal(tensor.data, many->find(tensor.info->name)->data)) << tensor.info->name;
}

/// The bytes are part of the tests that build on them; a change of the generator is to be seen.
TEST(RandomCheckpoint, StaysTheSame) {
  TestDir dir;
  ASSERT_TRUE(convertRandom("toy_v2.json", dir.path));
  auto opened = checkpoint::Checkpoint::open(dir.path);
  ASSERT_TRUE(opened);
  uint64_t hash = 0xCBF29CE484222325; // FNV-1a
  for (const auto &tensor : opened->tensors())
    for (std::byte byte : tensor.data)
      hash = (hash ^ std::to_integer<uint64_t>(byte)) * 0x100000001B3;
  EXPECT_EQ(hash, 5688143800534768490u);
}

} // namespace
