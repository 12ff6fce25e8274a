//===- inspect_test.cpp - quant-convert inspect ---------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/quant-convert/report/inspect_report.h"

#include "test_tensors.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <limits>

using namespace quant;
using namespace quant::convert;
using namespace quant::test;
using nlohmann::json;

namespace {

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN(), kInf = std::numeric_limits<float>::infinity();

bool contains(const std::string &text, const std::string &part) { return text.find(part) != text.npos; }

/// The inspection of a folder with these tensors and no config.json, every byte read.
Inspection inspect(const std::vector<TestTensor> &tensors) {
  TestDir dir;
  writeTensors(dir.path, tensors);
  auto source = tools::TensorSource::open(dir.path);
  EXPECT_TRUE(source) << source.error().message;
  Inspection inspection = inspectSource(*source, 0);
  checkValues(*source, inspection, 0);
  return inspection;
}

/// "error missing_scale w.weight is F8_E4M3 and ..." of the problem of that kind, "" when there is none.
std::string problem(const Inspection &inspection, const std::string &kind) {
  auto found = std::ranges::find(inspection.problems, kind, &Problem::kind);
  return found == inspection.problems.end() ? ""
                                            : (found->error ? "error: " : "warning: ") + found->tensor + " " + found->message;
}

/// A 300x200 weight, ragged on both sides, and its scale.
std::vector<TestTensor> weight(const std::string &name = "m.weight") { return castToFp8(name, 300, 200, normal(300 * 200, 1)); }

void randomToy(const TestDir &dir, const std::string &model = "toy_v3.json") {
  auto outcome = runConvert(dir, "random --config " + config(model).string() + " --output " + (dir / "toy").string());
  ASSERT_EQ(outcome.code, 0) << outcome.err;
}

json inspectJson(const TestDir &dir, const std::string &arguments, int code) {
  auto outcome = runConvert(dir, "inspect --json " + arguments);
  EXPECT_EQ(outcome.code, code) << outcome.err;
  return json::parse(outcome.out);
}

TEST(Inspect, SoundWeight) {
  Inspection inspection = inspect(weight());
  EXPECT_EQ(inspection.errors(), 0u);
  EXPECT_TRUE(inspection.problems.empty());
  EXPECT_EQ(inspection.stored, 60'000u);
  EXPECT_EQ(inspection.scales.blocks, 6u);
  EXPECT_EQ(inspection.scales.tensors, 1u);
  EXPECT_EQ(inspection.dtypes[DType::F8E4M3FN].bytes, 60'000u);
  ASSERT_EQ(inspection.kinds.size(), 1u);
  EXPECT_EQ(inspection.kinds[0].scaleShape, (std::vector<int64_t>{3, 2}));
  EXPECT_EQ(inspection.configNote, "no config.json");
}

TEST(Inspect, MissingScale) {
  EXPECT_EQ(problem(inspect({weight()[0]}), "missing_scale"),
            "error: m.weight is F8_E4M3 and has no scale (weight_scale_inv or weight_scale)");
}

TEST(Inspect, OrphanScales) {
  auto tensors = weight();
  EXPECT_EQ(problem(inspect({tensors[1]}), "orphan_scale"),
            "error: m.weight_scale_inv is a scale without its weight 'm.weight'; was the weight renamed?");
  EXPECT_EQ(problem(inspect({floats("m.weight", {1}, {1}), floats("m.weight_scale", {1}, {1})}), "orphan_scale"),
            "error: m.weight_scale is the scale of 'm.weight', which is F32 and needs none; remove it");
  tensors.push_back(floats("m.weight_scale", {3, 2}, std::vector<float>(6, 1)));
  EXPECT_EQ(problem(inspect(tensors), "orphan_scale"), "error: m.weight_scale is a second scale of 'm.weight'; remove one");
}

TEST(Inspect, MisshapedScale) {
  EXPECT_EQ(problem(inspect({weight()[0], floats("m.weight_scale_inv", {2, 2}, {1, 1, 1, 1})}), "misshaped_scale"),
            "error: m.weight has a scale of shape 2x2 does not fit a weight of shape 300x200: blocks of 128x128 need 3x2");
}

/// compressed-tensors' pack-quantized.
TEST(Inspect, PackedInt4) {
  auto packed = [](const std::vector<int64_t> &shape, int64_t groups) {
    return std::vector<TestTensor>{tensorOf("m.weight_packed", DType::I32, {4, 3}, std::vector<int32_t>(12, 0x76543210)),
                                   floats("m.weight_scale", {4, groups}, std::vector<float>(size_t(4 * groups), 1)),
                                   tensorOf("m.weight_shape", DType::I64, {int64_t(shape.size())}, shape)};
  };
  Inspection inspection = inspect(packed({4, 20}, 2));
  EXPECT_TRUE(inspection.problems.empty()) << inspection.problems[0].message;
  EXPECT_EQ(inspection.stored, 80u) << "not the 96 that the words have room for";
  EXPECT_EQ(inspection.scales.blocks, 8u);
  EXPECT_EQ(inspection.schemes["ct-w4a16"].elements, 80u);
  EXPECT_EQ(inspection.schemes["ct-w4a16"].bytes, 48u + 32 + 16) << "codes, scales, weight_shape";
  EXPECT_EQ(problem(inspect(packed({4, 30}, 2)), "wrong_weight_shape"),
            "error: m.weight_shape does not say the shape of 'm.weight_packed', which holds 4x24 codes: it says 4x30");
  EXPECT_EQ(problem(inspect(packed({4}, 2)), "wrong_weight_shape"),
            "error: m.weight_shape does not say the shape of 'm.weight_packed', which holds 4x24 codes");
  EXPECT_EQ(problem(inspect(packed({4, 20}, 25)), "misshaped_scale"),
            "error: m.weight_packed has a scale of shape 4x25 does not fit a weight of shape 4x20: blocks of 1x128 need 4x1");
  EXPECT_EQ(problem(inspect({packed({4, 20}, 2)[0]}), "missing_scale"),
            "error: m.weight_packed is ct-w4a16 and has no scale (weight_scale_inv or weight_scale)");
}

TEST(Inspect, ScaleValues) {
  Inspection inspection = inspect({weight()[0], floats("m.weight_scale_inv", {3, 2}, {kNaN, kInf, 0, -1, 2, 0.5})});
  EXPECT_EQ(inspection.scales.nan, 1u);
  EXPECT_EQ(inspection.scales.inf, 1u);
  EXPECT_EQ(inspection.scales.zero, 1u);
  EXPECT_EQ(inspection.scales.negative, 1u);
  EXPECT_EQ(inspection.scales.min, 0.5);
  EXPECT_EQ(inspection.scales.max, 2);
  EXPECT_EQ(problem(inspection, "nan_scale"), "error: m.weight_scale_inv has NaN: 1 of 6 scales is NaN");
  EXPECT_EQ(problem(inspection, "inf_scale"), "error: m.weight_scale_inv has Inf: 1 of 6 scales is infinite");
  EXPECT_EQ(problem(inspection, "negative_scale"), "error: m.weight_scale_inv is negative: 1 of 6 scales is below zero");
  EXPECT_TRUE(problem(inspection, "zero_scale").starts_with("warning: m.weight_scale_inv has zeros: 1 of 6")) << "only a warning";
  EXPECT_EQ(inspection.values->nan, 0u) << "scales are counted as scales";
}

TEST(Inspect, Values) {
  auto tensors = weight();
  tensors[0].bytes[17] = std::byte{0x7F};
  tensors[0].bytes[18] = std::byte{0xFF};
  for (int64_t row = 128; row < 256; ++row) // block [1, 1], ragged: columns 128 to 199
    for (int64_t column = 128; column < 200; ++column)
      tensors[0].bytes[size_t(row * 200 + column)] = std::byte{uint8_t(column % 2 ? 0x80 : 0)};
  tensors.push_back(floats("f32", {4}, {1, kNaN, -kInf, kInf}));
  tensors.push_back(tensorOf<uint16_t>("bf16", DType::BF16, {3}, {0x7FC0, 0xFF80, 0x3F80}));
  tensors.push_back(tensorOf<uint16_t>("f16", DType::F16, {3}, {0x7E00, 0xFC00, 0x3C00}));
  tensors.push_back(tensorOf<uint16_t>("i16", DType::I16, {1}, {0x7FC0}));
  Inspection inspection = inspect(tensors);
  EXPECT_EQ(inspection.values->fp8NaN, 2u);
  EXPECT_EQ(inspection.values->zeroBlocks, 1u);
  EXPECT_EQ(inspection.values->nan, 3u);
  EXPECT_EQ(inspection.values->inf, 4u);
  EXPECT_EQ(problem(inspection, "fp8_nan"), "error: m.weight has NaN codes: 2 of 60000 values");
  EXPECT_EQ(problem(inspection, "zero_block"), "warning: m.weight has blocks of zeros only: 1 of 6");
  EXPECT_EQ(problem(inspection, "inf"), "error: bf16 has Inf: 1 of 3 values");
}

TEST(Inspect, LargeTensorIsCountedInSlabs) {
  // Three slabs of 16 MiB; the last block is ragged, all zero, and the only one.
  std::vector<uint8_t> codes(size_t(20'000) * 2000, 1);
  std::fill(codes.begin() + 19'968 * 2000, codes.end(), 0);
  std::vector<float> scales(157 * 16, 1);
  Inspection inspection =
      inspect({tensorOf("m.weight", DType::F8E4M3FN, {20'000, 2000}, codes), floats("m.weight_scale", {157, 16}, scales)});
  EXPECT_EQ(problem(inspection, "zero_block"), "warning: m.weight has blocks of zeros only: 16 of 2512");
}

TEST(Inspect, ToyAgainstItsConfig) {
  TestDir dir;
  randomToy(dir);
  auto outcome = runConvert(dir, "inspect --check-values " + (dir / "toy").string());
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  for (const char *line :
       {"model       deepseek_v3, linear layers fp8 in blocks of 128x128, scales f32\n",
        "layers      5: dense 0; MoE 1-3; MTP 4; 16 routed experts\n", "FP8 NaN codes 0, all-zero blocks 0, NaN 0, Inf 0\n",
        "model.layers.*.mlp.experts.*.up_proj.weight            64  F8_E4M3  192x320    2x3  deepseek-fp8  3.93 MB\n",
        "problems    none\n"})
    EXPECT_TRUE(contains(outcome.out, line)) << line << outcome.out;
  json result = inspectJson(dir, (dir / "toy").string(), 0);
  EXPECT_EQ(result["parameters"]["stored"],
            result["parameters"]["total"].get<int64_t>() + result["parameters"]["mtp"].get<int64_t>());
  EXPECT_LT(result["parameters"]["active"], result["parameters"]["total"]);
}

TEST(Inspect, MissingUnknownAndWrongTensors) {
  TestDir dir;
  randomToy(dir);
  std::filesystem::rename(dir / "toy" / "model-00001-of-00001.safetensors", dir / "whole.safetensors");
  std::filesystem::remove(dir / "toy" / "model.safetensors.index.json");
  auto whole = checkpoint::SafetensorsFile::open(dir / "whole.safetensors");
  ASSERT_TRUE(whole);
  std::vector<TestTensor> tensors;
  for (const auto &info : whole->tensors()) {
    auto data = whole->data(info);
    if (info.name != "model.norm.weight")
      tensors.push_back({info.name, info.dtype, info.shape, {data.begin(), data.end()}});
    if (info.name == "lm_head.weight")
      std::swap(tensors.back().shape[0], tensors.back().shape[1]);
  }
  tensors.push_back(floats("model.rotary.inv_freq", {1}, {1}));
  writeTensors(dir / "toy", tensors);
  json result = inspectJson(dir, (dir / "toy").string(), 1);
  EXPECT_EQ(result["ok"], false);
  ASSERT_EQ(result["problems"].size(), 3u) << result["problems"].dump(2);
  std::vector<std::string> found;
  for (const json &problem : result["problems"])
    found.push_back(problem["severity"].get<std::string>() + " " + problem["kind"].get<std::string>() + " " +
                    problem["tensor"].get<std::string>() + " " + problem["message"].get<std::string>());
  EXPECT_EQ(found[0], "error missing_tensor model.norm.weight is missing; config.json needs it as BF16 320");
  EXPECT_EQ(found[1], "error wrong_shape lm_head.weight has shape 320x512; config.json needs 512x320");
  EXPECT_TRUE(found[2].starts_with("warning unknown_tensor model.rotary.inv_freq ")) << found[2];
  auto outcome = runConvert(dir, "inspect " + (dir / "toy").string());
  EXPECT_TRUE(contains(outcome.err, ": the checkpoint is broken: tensor 'model.norm.weight' is missing; config.json needs it as "
                                    "BF16 320; and 1 more\n"))
      << outcome.err;
  EXPECT_TRUE(contains(outcome.out, "problems    2 errors, 1 warning\n")) << outcome.out;
}

TEST(Inspect, SingleFileAndNoConfig) {
  TestDir dir;
  randomToy(dir, "toy_v2.json");
  json file = inspectJson(dir, (dir / "toy" / "model-00001-of-00001.safetensors").string(), 0);
  EXPECT_EQ(file["config"], nullptr);
  std::filesystem::remove(dir / "toy" / "config.json");
  json folder = inspectJson(dir, (dir / "toy").string(), 0);
  EXPECT_EQ(folder["tensors"], file["tensors"]);
  EXPECT_EQ(folder["parameters"]["active"], nullptr);
  EXPECT_EQ(folder["layers"]["routed_experts"], file["layers"]["routed_experts"]);
}

TEST(Inspect, ConfigsThatAreNotOurs) {
  TestDir dir;
  writeTensors(dir.path, weight());
  std::ofstream(dir / "config.json") << R"({"model_type": "llama"})";
  EXPECT_EQ(inspectJson(dir, dir.path.string(), 0)["problems"][0]["severity"], "warning");
  std::ofstream(dir / "config.json") << R"({"model_type": "deepseek_v3"})";
  EXPECT_EQ(inspectJson(dir, dir.path.string(), 1)["problems"][0]["kind"], "config");
  std::ofstream(dir / "config.json") << "{";
  EXPECT_EQ(inspectJson(dir, dir.path.string(), 1)["problems"][0]["kind"], "config");
  std::ofstream(dir / "config.json") << R"({"quantization_config": {"weight_block_size": [64, 128]}})";
  json problems = inspectJson(dir, dir.path.string(), 1)["problems"];
  EXPECT_EQ(problems[1]["message"], "has a scale of shape 3x2 does not fit a weight of shape 300x200: blocks of 64x128 need 5x2");
}

TEST(Inspect, JsonKeysStay) {
  TestDir dir;
  writeTensors(dir.path, weight());
  json result = inspectJson(dir, "--tensors --check-values " + dir.path.string(), 0);
  auto keys = [](const json &object) {
    std::vector<std::string> keys;
    for (const auto &[key, value] : object.items())
      keys.push_back(key);
    return keys;
  };
  using Keys = std::vector<std::string>;
  EXPECT_EQ(keys(result), (Keys{"bytes", "config", "dtypes", "files", "kinds", "layers", "ok", "parameters", "path", "problems",
                                "scales", "schemes", "tensor_list", "tensors", "values"}));
  EXPECT_EQ(keys(result["dtypes"][0]), (Keys{"bytes", "dtype", "elements", "tensors"}));
  EXPECT_EQ(keys(result["kinds"][0]), (Keys{"bytes", "dtype", "elements", "name", "scale_shape", "scheme", "shape", "tensors"}));
  EXPECT_EQ(keys(result["schemes"][0]), (Keys{"bits_per_weight", "bytes", "elements", "scheme", "weights"}));
  EXPECT_EQ(keys(result["layers"]), (Keys{"dense", "moe", "mtp", "routed_experts"}));
  EXPECT_EQ(keys(result["parameters"]), (Keys{"active", "mtp", "stored", "total"}));
  EXPECT_EQ(keys(result["scales"]), (Keys{"blocks", "inf", "max", "min", "nan", "negative", "tensors", "zero"}));
  EXPECT_EQ(keys(result["values"]), (Keys{"bytes", "fp8_nan", "inf", "nan", "seconds", "zero_blocks"}));
  EXPECT_EQ(keys(result["tensor_list"][0]), (Keys{"bytes", "dtype", "file", "name", "scale", "shape"}));
  EXPECT_EQ(result["tensor_list"].size(), 2u);
}

TEST(Inspect, ExitCodes) {
  TestDir dir;
  EXPECT_EQ(runConvert(dir, "inspect").code, 2);
  EXPECT_EQ(runConvert(dir, "inspect --frobnicate x").code, 2);
  EXPECT_EQ(runConvert(dir, "inspect /nowhere").code, 1);
  writeTensors(dir.path, weight(), "model0-mp2.safetensors");
  auto outcome = runConvert(dir, "inspect " + dir.path.string());
  EXPECT_EQ(outcome.code, 1);
  EXPECT_TRUE(contains(outcome.err, "; name one of its .safetensors files instead of the folder")) << outcome.err;
  EXPECT_EQ(runConvert(dir, "inspect " + (dir / "model0-mp2.safetensors").string()).code, 0);
}

} // namespace
