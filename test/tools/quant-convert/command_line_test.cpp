//===- command_line_test.cpp - quant-convert as a user calls it -----------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "test_dir.h"

#include <nlohmann/json.hpp>

#include <cstdio>
#include <sys/wait.h>

using namespace quant::test;
using nlohmann::json;

namespace {

struct Outcome {
  int code;
  std::string out, err;
};

Outcome run(const TestDir &dir, const std::string &arguments) {
  auto err = dir.path.string() + ".stderr";
  std::FILE *pipe = ::popen((std::string(QUANT_CONVERT) + " " + arguments + " 2>'" + err + "'").c_str(), "r");
  std::string out;
  for (char buffer[4096]; size_t bytes = std::fread(buffer, 1, sizeof(buffer), pipe);)
    out.append(buffer, bytes);
  int status = ::pclose(pipe);
  Outcome outcome{WIFEXITED(status) ? WEXITSTATUS(status) : -1, out, readAll(err)};
  std::filesystem::remove(err);
  return outcome;
}

std::string toy(const std::filesystem::path &output) {
  return "random --config " + config("toy_v3.json").string() + " --output " + output.string() + " ";
}

TEST(CommandLine, HelpAndVersion) {
  TestDir dir;
  Outcome version = run(dir, "--version");
  EXPECT_EQ(version.code, 0);
  EXPECT_EQ(version.out.rfind("quant-convert ", 0), 0u) << version.out;
  EXPECT_NE(run(dir, "--help").out.find("random"), std::string::npos);
  Outcome help = run(dir, "random --help");
  EXPECT_EQ(help.code, 0);
  EXPECT_NE(help.out.find("Examples:\n  quant-convert random --config models/configs/toy_v3.json"), std::string::npos);
}

TEST(CommandLine, WrongCallsExitWith2) {
  TestDir dir;
  for (const char *call : {"", "frobnicate", "random", "random --config x", "random --config x --output y --dtype int3",
                           "random --config x --output y --shard-size 5XB", "random --config x --output y --shard-size 0",
                           "random --config x --output y --seed -1"}) {
    Outcome outcome = run(dir, call);
    EXPECT_EQ(outcome.code, 2) << call;
    EXPECT_EQ(outcome.err.rfind("quant-convert: error: ", 0), 0u) << outcome.err;
    EXPECT_NE(outcome.err.find("--help"), std::string::npos) << outcome.err;
  }
}

TEST(CommandLine, FailuresExitWith1AndNameTheFile) {
  TestDir dir;
  Outcome outcome = run(dir, "random --config /nowhere.json --output " + (dir / "out").string());
  EXPECT_EQ(outcome.code, 1);
  EXPECT_EQ(outcome.err.rfind("quant-convert: error: /nowhere.json: ", 0), 0u) << outcome.err;

  std::ofstream(dir / "bad.json") << R"({"dim": 0})";
  outcome = run(dir, "random --config " + (dir / "bad.json").string() + " --output " + (dir / "out").string());
  EXPECT_EQ(outcome.code, 1);
  EXPECT_NE(outcome.err.find("bad.json: vocab_size: is missing"), std::string::npos) << outcome.err;
  EXPECT_FALSE(std::filesystem::exists(dir / "out"));
}

TEST(CommandLine, RefusesAFolderThatIsNotEmptyUnlessForced) {
  TestDir dir;
  std::ofstream(dir / "tokenizer.json") << "{}";
  std::ofstream(dir / "model-00009-of-00009.safetensors") << "old";
  Outcome outcome = run(dir, toy(dir.path));
  EXPECT_EQ(outcome.code, 1);
  EXPECT_EQ(outcome.err, "quant-convert: error: " + dir.path.string() +
                             ": is not empty; choose another --output, or replace the checkpoint in it with --force\n");
  EXPECT_EQ(run(dir, toy(dir.path) + "--force").code, 0);
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
  Outcome outcome = run(dir, "random --config " + (dir / "huge.json").string() + " --output " + (dir / "out").string());
  EXPECT_EQ(outcome.code, 1);
  EXPECT_NE(outcome.err.find(" are needed, "), std::string::npos) << outcome.err;
  EXPECT_FALSE(std::filesystem::exists(dir / "out"));
}

TEST(CommandLine, DryRunAndJson) {
  TestDir dir;
  Outcome outcome =
      run(dir, "random --dry-run --json --config " + config("671B.json").string() + " --output " + (dir / "out").string());
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
