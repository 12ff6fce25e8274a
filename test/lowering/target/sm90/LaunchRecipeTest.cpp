//===- LaunchRecipeTest.cpp - the recipe and its JSON ------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "lowering/target/sm90/Gemm.h"
#include "lowering/target/sm90/simt/Quantize.h"

#include <gtest/gtest.h>

using namespace quant;
using namespace quant::machine;
using namespace quant::nvvm;

namespace {

TEST(SizeExpr, EvaluatesAndPrints) {
  SizeExpr padded = SizeExpr(4) * SizeExpr::ceilDiv(SizeExpr(Dim::M), 4);
  EXPECT_EQ(padded.evaluate({{Dim::M, 0}}), 0);
  EXPECT_EQ(padded.evaluate({{Dim::M, 1}}), 4);
  EXPECT_EQ(padded.evaluate({{Dim::M, 4}}), 4);
  EXPECT_EQ(padded.toJson().dump(), R"(["*",4,["ceildiv","M",4]])");
  EXPECT_EQ(SizeExpr::min(7, Dim::Sms).evaluate({{Dim::Sms, 5}}), 5);
  EXPECT_EQ(SizeExpr(128).toJson().dump(), "128");
}

class GemmRecipe : public testing::Test {
protected:
  GemmRecipe() {
    auto kernel = compileGemm({576, 2000});
    EXPECT_TRUE(kernel) << kernel.error().message;
    if (kernel)
      recipe = kernel->recipe;
  }
  LaunchRecipe recipe;
};

TEST_F(GemmRecipe, GridFollowsM) {
  auto blocks = [&](int64_t m) { return recipe.grid.evaluate({{Dim::M, m}, {Dim::Sms, 132}}); };
  EXPECT_EQ(blocks(0), 0);
  EXPECT_EQ(blocks(1), 5);
  EXPECT_EQ(blocks(128), 5);
  EXPECT_EQ(blocks(129), 10);
  EXPECT_EQ(blocks(100000), 132);
}

TEST_F(GemmRecipe, Json) {
  EXPECT_EQ(recipe.toJson().dump(),
            R"({"format":1,"kernel":"sm90_fp8_gemm_1d2d_n576_k2000_bm128_bn128","arch":"sm_90a",)"
            R"("config":{"block_m":128,"block_n":128,"k":2000,"n":576,"stages":5},)"
            R"("block":[384,1,1],"cluster":[1,1,1],"grid":["min","sms",["*",["ceildiv","M",128],5]],)"
            R"("dynamic_shared_bytes":199248,"limits":{"M":2147483520},)"
            R"("operands":[{"name":"a","dtype":"f8E4M3FN","access":"read","shape":["M",2000]},)"
            R"({"name":"scale_a","dtype":"f32","access":"read","shape":[16,["*",4,["ceildiv","M",4]]]},)"
            R"({"name":"b","dtype":"f8E4M3FN","access":"read","shape":[576,2000],"early":true},)"
            R"({"name":"scale_b","dtype":"f32","access":"read","shape":[5,16],"early":true},)"
            R"({"name":"d","dtype":"bf16","access":"write","shape":["M",576]}],)"
            R"("parameters":[{"kind":"tensor_map","operand":0,"data_type":"UINT8","dim":[2000,"M"],"stride_bytes":[2000],)"
            R"("box":[128,128],"swizzle":"128B","l2_promotion":"256B"},)"
            R"({"kind":"tensor_map","operand":1,"data_type":"FLOAT32","dim":["M",16],)"
            R"("stride_bytes":[["*",16,["ceildiv","M",4]]],"box":[128,1],"swizzle":"none","l2_promotion":"256B"},)"
            R"({"kind":"tensor_map","operand":2,"data_type":"UINT8","dim":[2000,576],"stride_bytes":[2000],)"
            R"("box":[128,128],"swizzle":"128B","l2_promotion":"256B"},)"
            R"({"kind":"tensor_map","operand":4,"data_type":"BFLOAT16","dim":[576,"M"],"stride_bytes":[1152],)"
            R"("box":[64,64],"swizzle":"128B","l2_promotion":"256B"},)"
            R"({"kind":"pointer","operand":3},{"kind":"i32","value":"M"}],"programmatic":true})");
}

TEST_F(GemmRecipe, TensorMapsAreLegal) {
  // What cuTensorMapEncodeTiled demands: 16-byte strides, boxes of at most 256, an inner box of at most the swizzle's bytes.
  for (int64_t m : {1, 3, 128, 4097})
    for (const Parameter &parameter : recipe.parameters)
      if (const auto *map = std::get_if<TensorMapParameter>(&parameter)) {
        int64_t elementBytes = map->dataType == "UINT8" ? 1 : map->dataType == "BFLOAT16" ? 2 : 4;
        quant::abi::Sizes dims = {{Dim::M, m}};
        EXPECT_EQ(*map->strideBytes[0].evaluate(dims) % 16, 0);
        EXPECT_GE(*map->strideBytes[0].evaluate(dims), *map->dim[0].evaluate(dims) * elementBytes);
        EXPECT_LE(map->box[0], 256);
        EXPECT_LE(map->box[1], 256);
        EXPECT_EQ(map->box[0] * elementBytes % 16, 0);
        if (map->swizzleBytes)
          EXPECT_LE(map->box[0] * elementBytes, map->swizzleBytes);
      }
}

/// The recipe alone, without compiling the kernel's PTX twice: its JSON.
nlohmann::ordered_json recipeOf(const GemmConfig &config) {
  auto kernel = compileGemm(config);
  EXPECT_TRUE(kernel) << kernel.error().message;
  return kernel ? kernel->recipe.toJson() : nlohmann::ordered_json();
}

/// Reading gives back what was written.
void expectRoundTrip(const Result<CompiledKernel> &kernel) {
  ASSERT_TRUE(kernel) << kernel.error().message;
  auto json = kernel->recipe.toJson();
  auto read = LaunchRecipe::fromJson(nlohmann::json::parse(json.dump()));
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(read->toJson().dump(), json.dump());
}

TEST(LaunchRecipe, RoundTripOfEveryForm) {
  GemmConfig ragged{136, 1001, 64, 64}, swapped{256, 512, 16, 128}, split{200, 1024, 64, 64}, pair{320, 512, 128, 64};
  swapped.swapAB = true;
  split.splitK = 4;
  split.bias = split.accumulate = true;
  split.outputType = OutputType::f32;
  pair.multicast = Multicast::b;
  GemmConfig groups{136, 256, 64, 64}, masked{136, 256, 16, 64};
  groups.groups = masked.groups = 5;
  groups.topK = 2;
  masked.swapAB = true;
  masked.groupLayout = GroupLayout::masked;
  for (const GemmConfig &config : {ragged, swapped, split, pair, groups, masked})
    expectRoundTrip(compileGemm(config));
  expectRoundTrip(compileQuantize({.k = 1001}));
  expectRoundTrip(compileDequantize({.n = 200, .k = 300}));
}

TEST(GemmRecipeOptions, RowsOfAnyKHaveAPitch) {
  auto json = recipeOf({136, 1001, 64, 64});
  EXPECT_EQ(json["operands"][0].dump(),
            R"({"name":"a","dtype":"f8E4M3FN","access":"read","shape":["M",1001],"pitch_bytes":1008})");
  EXPECT_EQ(json["operands"][2]["pitch_bytes"], 1008);
  EXPECT_EQ(json["parameters"][0]["dim"].dump(), R"([1001,"M"])") << "TMA fills up with zeros from K on";
  EXPECT_EQ(json["parameters"][0]["stride_bytes"].dump(), "[1008]");
}

TEST(GemmRecipeOptions, SplitKNeedsMemory) {
  GemmConfig config = {200, 1024, 64, 64};
  config.splitK = 4;
  config.bias = config.accumulate = true;
  auto json = recipeOf(config);
  EXPECT_EQ(json["operands"][4]["access"], "readwrite");
  EXPECT_EQ(json["operands"][5]["name"], "bias");
  EXPECT_EQ(
      json["operands"][6].dump(),
      R"({"name":"workspace","dtype":"f32","access":"write","shape":[["*",["*",["ceildiv","M",64],4],4],4096],"scratch":true})");
  EXPECT_EQ(json["operands"][7].dump(), R"({"name":"counters","dtype":"i32","access":"write",)"
                                        R"("shape":[["*",["ceildiv","M",64],4]],"scratch":true,"initial":"zero"})");
  EXPECT_EQ(json["grid"].dump(), R"(["min","sms",["*",["ceildiv","M",64],16]])");
}

TEST(GemmRecipeOptions, ClustersComeInPairs) {
  GemmConfig config = {320, 512, 128, 64};
  config.multicast = Multicast::a;
  auto json = recipeOf(config);
  EXPECT_EQ(json["cluster"].dump(), "[2,1,1]");
  EXPECT_EQ(json["grid"].dump(), R"(["*",2,["min",["ceildiv","sms",2],["*",["ceildiv","M",128],3]]])");
  EXPECT_EQ(json["parameters"][0]["box"].dump(), "[128,64]") << "each block brings half of A's rows";
}

TEST(GemmRecipeOptions, GroupsEndInTheirMaps) {
  GemmConfig config = {320, 512, 128, 64};
  config.groups = 8;
  config.topK = 2;
  auto json = recipeOf(config);
  EXPECT_EQ(json["grid"].dump(), R"(["min","sms",["*",["+",["ceildiv",["*",2,"M"],128],["min",8,["*",2,"M"]]],5]])");
  // Two strides of a row each, from as many rows before A on as a box has.
  EXPECT_EQ(json["parameters"][0]["dim"].dump(), R"([512,128,["+",["*",2,"M"],1]])");
  EXPECT_EQ(json["parameters"][0]["stride_bytes"].dump(), "[512,512]");
  EXPECT_EQ(json["parameters"][0]["box"].dump(), "[128,128,1]");
  EXPECT_EQ(json["parameters"][0]["offset_bytes"], -128 * 512);
  EXPECT_EQ(json["parameters"][3]["offset_bytes"], -64 * 640);
  EXPECT_EQ(json["parameters"][2]["dim"].dump(), "[512,320,8]");
  EXPECT_EQ(json["parameters"][2]["stride_bytes"].dump(), "[512,163840]");
  EXPECT_EQ(json["operands"][5].dump(), R"({"name":"offsets","dtype":"i32","access":"read","shape":[9]})");
  EXPECT_EQ(json["parameters"][5].dump(), R"({"kind":"pointer","operand":5,"offset_bytes":4})");
  EXPECT_EQ(json["parameters"][6]["value"].dump(), R"(["*",2,"M"])");
}

TEST(GemmRecipeOptions, MaskedGroupsHavePlaces) {
  GemmConfig config = {320, 512, 16, 64};
  config.swapAB = true;
  config.groups = 8;
  config.groupLayout = GroupLayout::masked;
  auto json = recipeOf(config);
  EXPECT_EQ(json["operands"][0]["shape"].dump(), R"([8,"M",512])");
  EXPECT_EQ(json["operands"][1]["shape"].dump(), R"([8,4,["*",4,["ceildiv","M",4]]])");
  EXPECT_EQ(json["operands"][5]["name"], "counts");
  EXPECT_EQ(json["parameters"][1]["dim"].dump(), R"(["M",4,8])");
  EXPECT_EQ(json["parameters"][1]["stride_bytes"].dump(), R"([["*",16,["ceildiv","M",4]],["*",64,["ceildiv","M",4]]])");
  EXPECT_EQ(json["parameters"][6]["value"], "M");
}

TEST(GemmRecipeOptions, QuantizedResultsHaveScales) {
  auto json = recipeOf({.n = 256, .k = 512, .swiglu = true});
  EXPECT_EQ(json["operands"][2]["shape"].dump(), "[512,512]") << "gate and up";
  EXPECT_EQ(json["operands"][4].dump(), R"({"name":"d","dtype":"f8E4M3FN","access":"write","shape":["M",256]})");
  EXPECT_EQ(json["operands"][5].dump(),
            R"({"name":"scale_d","dtype":"f32","access":"write","shape":[2,["*",4,["ceildiv","M",4]]]})");
  EXPECT_EQ(json["parameters"][3]["data_type"], "UINT8");
  EXPECT_EQ(json["parameters"][5]["operand"], 5);
}

TEST(GemmGroups, AreRefusedWithTheReason) {
  auto why = [](void (*adjust)(GemmConfig &)) {
    GemmConfig config = {320, 512, 128, 64};
    config.groups = 8;
    adjust(config);
    auto checked = checkGemm(config);
    return checked ? std::string() : checked.error().message;
  };
  EXPECT_EQ(why([](GemmConfig &) {}), "");
  EXPECT_NE(why([](GemmConfig &c) { c.splitK = 2; }).find("neither a bias nor a split K"), std::string::npos);
  EXPECT_NE(why([](GemmConfig &c) { c.swiglu = true; }).find("N must be a multiple of 128"), std::string::npos);
  EXPECT_NE(why([](GemmConfig &c) { c.n = 256, c.blockN = 128, c.swiglu = c.swapAB = true; }).find("without swapAB"),
            std::string::npos);
  EXPECT_NE(why([](GemmConfig &c) { c.n = 256, c.blockN = 128, c.swiglu = c.accumulate = true; }).find("nor an output type"),
            std::string::npos);
  EXPECT_NE(why([](GemmConfig &c) { c.powerOfTwoScales = true; }).find("only a quantized D has scales"), std::string::npos);
  EXPECT_NE(why([](GemmConfig &c) { c.groups = 5000; }).find("1 to 1024 groups, not 5000"), std::string::npos);
  EXPECT_NE(why([](GemmConfig &c) { c.groupAlignment = 0; }).find("multiples of 1 to 65536"), std::string::npos);
  EXPECT_NE(why([](GemmConfig &c) { c.groupLayout = GroupLayout::masked, c.topK = 8; }).find("neither an alignment nor"),
            std::string::npos);
}

} // namespace
