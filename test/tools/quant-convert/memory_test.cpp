//===- memory_test.cpp - memory does not grow with the tensors ------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "run_convert.h"
#include "run_in_background.h"

#include <nlohmann/json.hpp>

#include <thread>

using namespace quant;
using namespace quant::test;
namespace fs = std::filesystem;

namespace {

/// What a step of each thread takes, twice, and the program itself. A sanitizer's own memory is not counted.
int64_t mostBytes() {
#if defined(__SANITIZE_ADDRESS__) || (defined(__has_feature) && __has_feature(address_sanitizer))
  return std::numeric_limits<int64_t>::max();
#endif
  return (64 + 32 * int64_t(std::max(1u, std::thread::hardware_concurrency()))) << 20;
}

/// 512 MB of bf16 and 256 MB of FP8 in one tensor: with all of it in memory each would fail.
TEST(Memory, IsAFewStepsAThread) {
  constexpr int64_t rows = 16384, columns = 16384;
  const std::string weight = "model.layers.0.mlp.down_proj.weight";
  TestDir dir;
  fs::path bf16 = dir / "bf16", fp8 = dir / "fp8", out = dir / "out";
  fs::create_directories(bf16);
  fs::create_directories(fp8);
  writeHoles(bf16 / "model.safetensors", {{weight, DType::BF16, {rows, columns}}});
  writeHoles(fp8 / "model.safetensors",
             {{weight, DType::F8E4M3FN, {rows, columns}}, {weight + "_scale_inv", DType::F32, {rows / 128, columns / 128}}});
  writeText(dir / "list", weight + "\n");
  nlohmann::json model = nlohmann::json::parse(readAll(config("toy_v3.json")));
  model["hidden_size"] = columns;
  model["intermediate_size"] = rows;
  writeText(bf16 / "config.json", model.dump());
  for (const std::vector<std::string> &arguments : std::vector<std::vector<std::string>>{
           {"cast-fp8", "--input-bf16-hf-path", bf16, "--output-fp8-hf-path", out, "--weights-list", dir / "list", "--verify"},
           {"cast-bf16", "--input-fp8-hf-path", fp8, "--output-bf16-hf-path", out, "--verify"},
           {"quantize", bf16, "--scheme=w4a16", "--group-size=32", "-o", out, "--verify"},
           {"shard", "--hf-ckpt-path", fp8, "--save-path", out, "--n-experts", "2", "--model-parallel", "2", "--verify"}}) {
    Background run(arguments);
    Outcome outcome = run.wait();
    EXPECT_EQ(outcome.code, 0) << outcome.err;
    EXPECT_LT(run.peakBytes(), mostBytes()) << arguments[0];
    fs::remove_all(out);
  }
}

} // namespace
