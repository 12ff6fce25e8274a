//===- recode_test.cpp - quant-convert recode -----------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "scheme_golden.h"

using namespace quant;
using namespace quant::test;
using nlohmann::json;
namespace fs = std::filesystem;

namespace {

std::string recode(const std::string &to, const fs::path &in, const fs::path &out) {
  return "recode --to=" + to + " " + in.string() + " " + out.string() + " ";
}

/// Every value of the two is the same.
void expectIdentical(const TestDir &dir, const fs::path &a, const fs::path &b) {
  json said = json::parse(convertOk(dir, "compare --json " + a.string() + " " + b.string()).out);
  EXPECT_EQ(said["compared"], said["identical"]);
  EXPECT_GT(said["compared"], 0);
  EXPECT_EQ(said["only_in_a"], json::array());
  EXPECT_EQ(said["only_in_b"], json::array());
}

TEST(Recode, Mxfp4ThereAndBack) {
  for (const char *name : {"ct-mxfp4", "deepseek-v4-mxfp4"}) {
    Golden golden(name);
    TestDir dir;
    auto tensors = golden.tensors();
    tensors.push_back(tensorOf<uint16_t>("lm_head.weight", DType::BF16, {1, 3}, {0x3F80, 0x4000, 0x4040}));
    writeTensors(dir / "in", tensors);
    writeText(dir / "in" / "config.json", golden.config.dump());
    convertOk(dir, recode("fp8", dir / "in", dir / "fp8") + "--verify");
    convertOk(dir, recode("mxfp4", dir / "fp8", dir / "back") + "--verify");
    expectIdentical(dir, dir / "in", dir / "fp8");
    expectIdentical(dir, dir / "in", dir / "back");
    auto fp8 = checkpoint::Checkpoint::open(dir / "fp8"), back = checkpoint::Checkpoint::open(dir / "back");
    EXPECT_EQ(fp8->find(kGoldenLayer + ".weight")->info->dtype, DType::F8E4M3FN);
    EXPECT_EQ(back->find(kGoldenLayer + ".weight_packed")->info->shape, (std::vector<int64_t>{20, 48}));
    EXPECT_EQ(back->find(kGoldenLayer + ".weight_scale")->info->dtype, DType::U8);
    json config = json::parse(readAll(dir / "fp8" / "config.json"))["quantization_config"];
    EXPECT_EQ(config["scale_fmt"], "ue8m0");
    EXPECT_EQ(config["ignored_layers"], json({"lm_head"}));
    EXPECT_EQ(json::parse(readAll(dir / "back" / "config.json"))["quantization_config"]["ignore"], json({"lm_head"}));
    EXPECT_EQ(convertOk(dir, "inspect --json " + (dir / "back").string()).code, 0);
  }
}

/// Exit code 1 and a line that says why; nothing is written.
void expectRefused(const std::vector<TestTensor> &tensors, const json &config, const std::string &to, const std::string &says) {
  TestDir dir;
  writeTensors(dir / "in", tensors);
  writeText(dir / "in" / "config.json", config.dump());
  Outcome outcome = runConvert(dir, recode(to, dir / "in", dir / "out"));
  EXPECT_EQ(outcome.code, 1);
  EXPECT_NE(outcome.err.find(says), outcome.err.npos) << outcome.err;
  EXPECT_FALSE(fs::exists(dir / "out" / "model.safetensors"));
}

/// Row 2 of ones, row 3 of ones and sixes, and a group at the top that has another scale.
std::vector<TestTensor> spreadScales(int exponent) {
  std::vector<uint8_t> codes(20 * 48, 0x22), scales(20 * 3, 127);
  codes[3 * 48 + 16] = 0x17; // column 32 is 6, column 33 is 0.5
  scales[3 * 3 + 1] = uint8_t(127 + exponent);
  return {tensorOf(kGoldenLayer + ".weight_packed", DType::U8, {20, 48}, codes),
          tensorOf(kGoldenLayer + ".weight_scale", DType::U8, {20, 3}, scales)};
}

TEST(Recode, ScalesTooFarApart) {
  Golden golden("ct-mxfp4");
  TestDir dir;
  // 6 * 2^15 beside 1: the scale is 2^9, and 1 is its smallest subnormal.
  writeTensors(dir / "in", spreadScales(15));
  writeText(dir / "in" / "config.json", golden.config.dump());
  convertOk(dir, recode("fp8", dir / "in", dir / "out"));
  expectIdentical(dir, dir / "in", dir / "out");
  expectRefused(spreadScales(16), golden.config, "fp8",
                "tensor '" + kGoldenLayer + ".weight_packed': element [0, 0] is 1, which is no e4m3 beside the others");
}

TEST(Recode, WhatHasNoE2M1) {
  Golden golden("deepseek-fp8-ue8m0");
  auto tensors = golden.tensors();
  std::ranges::fill(tensors[0].bytes, std::byte{0x38}); // 1
  tensors[0].bytes[80 + 7] = std::byte{0x39};           // 1.125
  expectRefused(tensors, golden.config, "mxfp4", "tensor '" + kGoldenLayer + ".weight': element [1, 7] is ");
  tensors[0].bytes[80 + 7] = std::byte{0x7F};
  expectRefused(tensors, golden.config, "fp8", "element [1, 7] is nan, which is no finite number");
}

TEST(Recode, Int4IsNone) {
  Golden golden("ct-w4a16");
  expectRefused(golden.tensors(), golden.config, "fp8", "which is no e4m3 beside the others that share its scale; dequantize it");
}

} // namespace
