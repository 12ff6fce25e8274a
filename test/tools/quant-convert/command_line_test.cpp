//===- command_line_test.cpp - quant-convert as a user calls it -----------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "run_convert.h"

#include <nlohmann/json.hpp>

using namespace quant::test;
using nlohmann::json;

namespace {

std::string toy(const std::filesystem::path &output) {
  return "random --config " + config("toy_v3.json").string() + " --output " + output.string() + " ";
}

TEST(CommandLine, HelpAndVersion) {
  TestDir dir;
  Outcome version = runConvert(dir, "--version");
  EXPECT_EQ(version.code, 0);
  EXPECT_EQ(version.out.rfind("quant-convert ", 0), 0u) << version.out;
  EXPECT_NE(runConvert(dir, "--help").out.find("random"), std::string::npos);
  Outcome help = runConvert(dir, "random --help");
  EXPECT_EQ(help.code, 0);
  EXPECT_NE(help.out.find("Examples:\n  quant-convert random --config models/configs/toy_v3.json"), std::string::npos);
}

TEST(CommandLine, WrongCallsExitWith2) {
  TestDir dir;
  for (const char *call : {"", "frobnicate", "random", "random --config x", "random --config x --output y --dtype int3",
                           "random --config x --output y --shard-size 5XB", "random --config x --output y --shard-size 0",
                           "random --config x --output y --seed -1"}) {
    Outcome outcome = runConvert(dir, call);
    EXPECT_EQ(outcome.code, 2) << call;
    EXPECT_EQ(outcome.err.rfind("quant-convert: error: ", 0), 0u) << outcome.err;
    EXPECT_NE(outcome.err.find("--help"), std::string::npos) << outcome.err;
  }
}

TEST(CommandLine, FailuresExitWith1AndNameTheFile) {
  TestDir dir;
  Outcome outcome = runConvert(dir, "random --config /nowhere.json --output " + (dir / "out").string());
  EXPECT_EQ(outcome.code, 1);
  EXPECT_EQ(outcome.err.rfind("quant-convert: error: /nowhere.json: ", 0), 0u) << outcome.err;

  std::ofstream(dir / "bad.json") << R"({"dim": 0})";
  outcome = runConvert(dir, "random --config " + (dir / "bad.json").string() + " --output " + (dir / "out").string());
  EXPECT_EQ(outcome.code, 1);
  EXPECT_NE(outcome.err.find("bad.json: vocab_size: is missing"), std::string::npos) << outcome.err;
  EXPECT_FALSE(std::filesystem::exists(dir / "out"));
}

TEST(CommandLine, RefusesAFolderThatIsNotEmptyUnlessForced) {
  TestDir dir;
  std::ofstream(dir / "tokenizer.json") << "{}";
  std::ofstream(dir / "model-00009-of-00009.safetensors") << "old";
  Outcome outcome = runConvert(dir, toy(dir.path));
  EXPECT_EQ(outcome.code, 1);
  EXPECT_EQ(outcome.err, "quant-convert: error: " + dir.path.string() +
                             ": is not empty; choose another --output, or replace the checkpoint in it with --force\n");
  EXPECT_EQ(runConvert(dir, toy(dir.path) + "--force").code, 0);
  EXPECT_TRUE(std::filesystem::exists(dir / "tokenizer.json"));
  EXPECT_FALSE(std::filesystem::exists(dir / "model-00009-of-00009.safetensors")) << "a shard of the old checkpoint";
  EXPECT_TRUE(std::filesystem::exists(dir / "model.safetensors.index.json"));
}

TEST(CommandLine, ADiskThatIsTooSmallIsSeenBeforeWriting) {
  TestDir dir;
  std::ofstream huge(dir / "huge.json");
  huge << R"({"vocab_size": 1000000, "dim": 1000000, "inter_dim": 1000000, "n_layers": 1000, "n_dense_layers": 1000,
              "n_heads": 128, "kv_lora_rank": 512, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128})";
  huge.close();
  Outcome outcome = runConvert(dir, "random --config " + (dir / "huge.json").string() + " --output " + (dir / "out").string());
  EXPECT_EQ(outcome.code, 1);
  EXPECT_NE(outcome.err.find(" are needed, "), std::string::npos) << outcome.err;
  EXPECT_FALSE(std::filesystem::exists(dir / "out"));
}

TEST(CommandLine, DryRunAndJson) {
  TestDir dir;
  Outcome outcome =
      runConvert(dir, "random --dry-run --json --config " + config("671B.json").string() + " --output " + (dir / "out").string());
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_EQ(outcome.err, "") << "no progress bar when stderr is no terminal";
  json plan = json::parse(outcome.out);
  EXPECT_EQ(plan["tensors"], 91991);
  EXPECT_EQ(plan["dtype"], "fp8");
  EXPECT_EQ(plan["dry_run"], true);
  uint64_t bytes = 0;
  for (const json &shard : plan["shards"]) {
    bytes += shard["bytes"].get<uint64_t>();
    EXPECT_LE(shard["bytes"], 5'000'000'000u);
  }
  EXPECT_EQ(plan["bytes"], bytes);
  EXPECT_FALSE(std::filesystem::exists(dir / "out"));
}

} // namespace
