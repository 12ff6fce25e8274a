//===- changed_input_test.cpp - inputs that change while they are read ----===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "run_convert.h"
#include "run_in_background.h"

#include <csignal>

using namespace quant;
using namespace quant::test;
namespace fs = std::filesystem;

namespace {

constexpr int64_t kRows = 8192, kColumns = 8192;

/// One weight of zeros, `bytes` each element: a hole takes no room on the disk. With `scale`, FP8 and its scales.
fs::path zeros(const fs::path &dir, DType dtype, bool scale) {
  fs::create_directories(dir);
  std::vector<checkpoint::TensorSpec> tensors = {{"model.layers.0.mlp.down_proj.weight", dtype, {kRows, kColumns}}};
  if (scale)
    tensors.push_back({"model.layers.0.mlp.down_proj.weight_scale_inv", DType::F32, {kRows / 128, kColumns / 128}});
  writeHoles(dir / "model.safetensors", tensors);
  return dir;
}

/// Runs it, and cuts the input short when the output has begun. False: it was faster.
bool cutShort(const fs::path &input, const std::vector<std::string> &arguments, const fs::path &out, Outcome &outcome) {
  auto begun = [&] {
    std::error_code ignored;
    for (fs::directory_iterator it(out, ignored), end; !ignored && it != end; it.increment(ignored))
      if (checkpoint::isTemporaryName(it->path().filename().native()))
        return true;
    return false;
  };
  Background run(arguments);
  while (!begun() && run.isRunning())
    ::usleep(100);
  run.signal(SIGSTOP);
  fs::path file = input / "model.safetensors";
  uint64_t whole = fs::file_size(file);
  fs::resize_file(file, 8192);
  run.signal(SIGCONT);
  outcome = run.wait();
  fs::resize_file(file, whole); // for the next try: the header is still there
  return outcome.code != 0;
}

/// A page that is lost ends the program at once; if all were read before, the end of the shard notices.
void expectNamed(const fs::path &input, const std::vector<std::string> &arguments, const fs::path &out) {
  Outcome outcome;
  for (int i = 0; i < 50 && !cutShort(input, arguments, out, outcome); ++i)
    fs::remove_all(out);
  EXPECT_EQ(outcome.code, 1) << arguments[0];
  std::string begin = "quant-convert: error: " + (input / "model.safetensors").string();
  bool atOnce = outcome.err.find(begin + ": was cut short while it was read, or the disk failed") != std::string::npos;
  bool atTheEnd = outcome.err.find(begin + ": changed while it was open: it had") != std::string::npos;
  EXPECT_TRUE(atOnce || atTheEnd) << arguments[0] << ": " << outcome.err;
  EXPECT_FALSE(fs::exists(out / "model.safetensors")) << arguments[0];
}

TEST(ChangedInput, ATruncatedFileIsNamed) {
  TestDir dir;
  fs::path fp8 = zeros(dir / "fp8", DType::F8E4M3FN, true), bf16 = zeros(dir / "bf16", DType::BF16, false), out = dir / "out";
  writeText(dir / "list", "model.layers.0.mlp.down_proj.weight\n");
  expectNamed(fp8, {"cast-bf16", "--input-fp8-hf-path", fp8, "--output-bf16-hf-path", out}, out);
  fs::remove_all(out);
  expectNamed(bf16, {"cast-fp8", "--input-bf16-hf-path", bf16, "--output-fp8-hf-path", out, "--weights-list", dir / "list"}, out);
  fs::remove_all(out);
  expectNamed(fp8, {"shard", "--hf-ckpt-path", fp8, "--save-path", out, "--n-experts", "2", "--model-parallel", "2"}, out);
}

} // namespace
