//===- quant_run_test.cpp - the tool from outside -------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/checkpoint/safetensors.h"

#include "toy_model.h"

#include <gtest/gtest.h>

#include <array>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <sys/wait.h>

namespace quant::runtime::test {
namespace {

struct Outcome {
  int status;
  std::string output; ///< stdout and stderr
};

Outcome shell(const std::string &command) {
  FILE *pipe = popen((command + " 2>&1").c_str(), "r");
  std::string output;
  std::array<char, 4096> buffer;
  while (size_t got = std::fread(buffer.data(), 1, buffer.size(), pipe))
    output.append(buffer.data(), got);
  return {WEXITSTATUS(pclose(pipe)), output};
}

class QuantRun : public testing::Test {
protected:
  Outcome run(const std::string &arguments) {
    return shell(QUANT_RUN " " + toy.module() + " --weights " + toy.weights() + " " + arguments);
  }
  void expectError(const std::string &arguments, int status, const std::string &error) {
    Outcome outcome = run(arguments);
    EXPECT_EQ(outcome.status, status) << arguments;
    EXPECT_NE(outcome.output.find("quant-run: error: " + error), std::string::npos) << outcome.output;
  }

  ToyModel toy;
};

TEST_F(QuantRun, Generates) {
  Outcome outcome = run("--tokens 1,2,3 --max-new-tokens 5 --threads 2");
  EXPECT_EQ(outcome.status, 0);
  EXPECT_TRUE(outcome.output.starts_with("6 12 8 0 0\nprompt: 3 tokens in ")) << outcome.output;
  for (const char *line : {" tokens/s (baseline, 2 threads)\nKV cache: 32 bytes a token in each of 1 layers\nmemory: ",
                           " page faults, ", "\nfirst token: ", " s after the program's start\n"})
    EXPECT_NE(outcome.output.find(line), std::string::npos) << outcome.output;
}

TEST_F(QuantRun, PrintsJson) {
  Outcome outcome = run("--tokens 1,2,3,4,5,6 --max-new-tokens 3 --json --threads 1 --isa baseline --chunk 2");
  nlohmann::json json = nlohmann::json::parse(outcome.output);
  EXPECT_EQ(json["prompt"].dump(), "[1,2,3,4,5,6]");
  EXPECT_EQ(json["tokens"].dump(), "[5,10,4]");
  EXPECT_EQ(json["threads"], 1);
  EXPECT_EQ(json["isa"], "baseline");
  EXPECT_EQ(json["kv_cache"].dump(), R"({"bytes_per_token":32,"layers":1})");
  EXPECT_GT(json["prefill_seconds"], 0);
  EXPECT_GT(json["decode_seconds_per_token"], 0);
  EXPECT_GE(json["first_token_seconds"], json["prefill_seconds"]);
  EXPECT_GT(json["memory"]["peak_bytes"], 1 << 20);
  EXPECT_GT(json["memory"]["minor_page_faults"], 0);
  EXPECT_GE(json["memory"]["major_page_faults"], 0);
}

TEST_F(QuantRun, Stops) {
  EXPECT_TRUE(run("--tokens 1,2,3 --stop-token 9 --stop-token 12").output.starts_with("6 12\n"));
  EXPECT_TRUE(run("--tokens 1,2,3 --max-new-tokens 0").output.starts_with("\nprompt:"));
}

TEST_F(QuantRun, ReadsTokens) {
  std::ofstream(toy.dir() / "ids") << "1 2\n3\n";
  EXPECT_TRUE(run("--max-new-tokens 1 --tokens @" + (toy.dir() / "ids").string()).output.starts_with("6\n"));
  EXPECT_TRUE(run("--max-new-tokens 1 --tokens - < " + (toy.dir() / "ids").string()).output.starts_with("6\n"));
}

TEST_F(QuantRun, SamplesWithASeed) {
  std::string arguments = "--tokens 1 --json --max-new-tokens 20 --temperature 5 --top-p 0.9 --seed ";
  auto tokens = [&](const char *seed) { return nlohmann::json::parse(run(arguments + seed).output)["tokens"]; };
  EXPECT_EQ(tokens("1"), tokens("1"));
  EXPECT_NE(tokens("1"), tokens("2"));
}

TEST_F(QuantRun, WritesLogits) {
  std::string path = toy.dir() / "logits.safetensors";
  EXPECT_EQ(run("--tokens 1,2,3,4,5,6 --logits " + path).status, 0);
  Result<checkpoint::SafetensorsFile> file = checkpoint::SafetensorsFile::open(path);
  ASSERT_TRUE(file) << file.error().message;
  ASSERT_EQ(file->tensors().size(), 1u);
  const checkpoint::TensorInfo *logits = file->find("logits");
  ASSERT_NE(logits, nullptr);
  EXPECT_EQ(logits->shape, (std::vector<int64_t>{6, kToyVocab}));
  float value;
  std::memcpy(&value, file->data(*logits).data() + (5 * kToyVocab + 7) * sizeof value, sizeof value);
  EXPECT_EQ(value, -4); // position 5: the sum is 21, 5 modulo 16
}

TEST_F(QuantRun, Helps) {
  Outcome help = shell(QUANT_RUN " --help");
  EXPECT_EQ(help.status, 0);
  EXPECT_NE(help.output.find("Example: continue the prompt"), std::string::npos);
  EXPECT_NE(help.output.find("--device=sim"), std::string::npos);
  EXPECT_NE(help.output.find("--device=cuda"), std::string::npos);
  Outcome version = shell(QUANT_RUN " --version");
  EXPECT_EQ(version.status, 0);
  EXPECT_TRUE(version.output.starts_with("quant-run "));
  Outcome program = shell(QUANT_RUN " --print-program " + toy.module());
  EXPECT_EQ(program.status, 0);
  EXPECT_TRUE(program.output.starts_with("program @host {"));
  EXPECT_NE(program.output.find("}\n// by test; hash "), std::string::npos) << program.output;
  EXPECT_NE(run("--tokens 1 --profile").output.find("  embedding\n"), std::string::npos);
}

TEST_F(QuantRun, RefusesUsage) {
  Outcome none = shell(QUANT_RUN);
  EXPECT_EQ(none.status, 2);
  EXPECT_EQ(none.output, "quant-run: error: module is required\nquant-run --help lists the options\n");
  expectError("", 2, "--tokens, --prompt or --chat is required");
  expectError("--tokens 1 --frobnicate", 2, "The following argument was not expected: --frobnicate");
  expectError("--tokens 1 --threads x", 2, "");
  expectError("--tokens 1 --device tpu", 2, "--device");
  for (const char *device : {"cuda", "sim"})
    expectError(std::string("--tokens 1 --device ") + device, 1,
                toy.module() + ": the module has no code of target 'sm_90a'; compile it with --target=sm_90a");
  expectError("--tokens 1 --top-p 0", 2, "--top-p");
  expectError("--tokens 1 --temperature -1", 2, "--temperature");
  expectError("--tokens ,", 2, "the prompt is empty");
  expectError("--tokens 1,x", 2, "token 1: 'x' is not an integer of 32 bits");
  expectError("--tokens 4294967296", 2, "token 0: '4294967296' is not an integer of 32 bits");
  expectError("--tokens @/nonexistent", 2, "cannot read '/nonexistent'");
}

TEST_F(QuantRun, RefusesRuns) {
  expectError("--tokens 16", 1, "token 0 is id 16, the vocabulary has 0 to 15");
  expectError("--tokens=-1", 1, "token 0 is id -1, the vocabulary has 0 to 15");
  expectError("--tokens 1 --max-new-tokens 257", 1, "1 prompt tokens and 257 new ones overflow the context of 256 rows");
  expectError("--tokens 1,2,3 --max-new-tokens 2 --context 3", 1,
              "3 prompt tokens and 2 new ones overflow the context of 3 rows");
  expectError("--tokens 1 --context 300", 1, "context is 300, not 0 (the default) to 256");
  expectError("--tokens 1 --isa avx3", 1, toy.module() + ": the module has no code for isa 'avx3'");
  expectError("--tokens 1 --logits /nonexistent/x", 1, "/nonexistent/");
  Outcome noModule = shell(QUANT_RUN " /nonexistent.qmod --weights x --tokens 1");
  EXPECT_EQ(noModule.status, 1);
  EXPECT_EQ(noModule.output, "quant-run: error: /nonexistent.qmod: cannot open: No such file or directory\n");
}

} // namespace
} // namespace quant::runtime::test
