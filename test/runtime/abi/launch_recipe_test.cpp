//===- launch_recipe_test.cpp - launch recipes -------------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/abi/launch_recipe.h"

#include <nlohmann/json.hpp>

#include <gtest/gtest.h>

namespace quant::abi {
namespace {

using Json = nlohmann::json;

std::string messageOf(const auto &result) { return result ? "" : result.error().message; }

/// Every key that a recipe can have.
constexpr const char *kEverything =
    R"({"format":1,"kernel":"k","arch":"sm_90a","config":{"n":576,"split_k":-1},"block":[384,1,1],"cluster":[2,1,1],)"
    R"("grid":["*",2,["min",["ceildiv","sms",2],["+","M",1]]],"dynamic_shared_bytes":199248,"limits":{"M":2147483520},)"
    R"("operands":[{"name":"a","dtype":"f8E4M3FN","access":"read","shape":["M",1001],"pitch_bytes":1008,"from":[0]},)"
    R"({"name":"b","dtype":"f8E4M3FN","access":"read","shape":[576,1001],"early":true,"from":[2,4],"stacked":true},)"
    R"({"name":"d","dtype":"bf16","access":"readwrite","shape":["M",576],"from":[5]},)"
    R"({"name":"workspace","dtype":"f32","access":"write","shape":[4,64],"scratch":true},)"
    R"({"name":"counters","dtype":"i32","access":"write","shape":[4],"scratch":true,"initial":"zero"}],)"
    R"("parameters":[{"kind":"tensor_map","operand":0,"data_type":"UINT8","dim":[1001,"M"],"stride_bytes":[1008],)"
    R"("box":[128,64],"swizzle":"128B","l2_promotion":"256B"},)"
    R"({"kind":"tensor_map","operand":2,"data_type":"FLOAT32","dim":[576,"M",1],"stride_bytes":[1152,["*",1152,"M"]],)"
    R"("box":[64,1,1],"swizzle":"none","l2_promotion":"none","offset_bytes":-1152},)"
    R"({"kind":"pointer","operand":3,"offset_bytes":4},{"kind":"i32","value":"M"},{"kind":"i64","value":0}],"rows":"tokens","programmatic":true})";

/// The error of a recipe with another value at a place, empty: none.
std::string errorWith(const char *place, const char *value) {
  Json json = Json::parse(kEverything);
  json[Json::json_pointer(place)] = Json::parse(value);
  return messageOf(LaunchRecipe::fromJson(json));
}

TEST(LaunchRecipe, RoundTrip) {
  auto recipe = LaunchRecipe::fromJson(Json::parse(kEverything));
  ASSERT_TRUE(recipe) << recipe.error().message;
  EXPECT_EQ(recipe->toJson().dump(), kEverything);
  EXPECT_TRUE(recipe->programmatic);
  EXPECT_FALSE(recipe->operands[0].early);
  EXPECT_TRUE(recipe->operands[1].early);
  EXPECT_FALSE(recipe->operands[0].stacked);
  EXPECT_TRUE(recipe->operands[1].stacked);
  EXPECT_EQ(recipe->operands[1].from, (std::vector<int>{2, 4}));
  EXPECT_TRUE(recipe->operands[2].accumulated && recipe->operands[2].written);
  EXPECT_TRUE(recipe->operands[4].zeroed && recipe->operands[4].scratch);
  EXPECT_EQ(std::get<TensorMapParameter>(recipe->parameters[0]).swizzleBytes, 128);
  EXPECT_EQ(std::get<TensorMapParameter>(recipe->parameters[1]).strideBytes.size(), 2u);
  EXPECT_EQ(std::get<TensorMapParameter>(recipe->parameters[0]).offsetBytes, 0);
  EXPECT_EQ(std::get<TensorMapParameter>(recipe->parameters[1]).offsetBytes, -1152);
  EXPECT_EQ(std::get<PointerParameter>(recipe->parameters[2]).offsetBytes, 4);
}

TEST(LaunchRecipe, WhatMayBeMissing) {
  Json json = Json::parse(kEverything);
  for (const char *key : {"format", "arch", "config", "rows", "programmatic"})
    json.erase(key);
  for (Json &operand : json["operands"])
    for (const char *key : {"pitch_bytes", "scratch", "initial", "early", "from", "stacked"})
      operand.erase(key);
  json["parameters"][0].erase("l2_promotion");
  json["comment"] = "passed over";
  auto recipe = LaunchRecipe::fromJson(json);
  ASSERT_TRUE(recipe) << recipe.error().message;
  EXPECT_FALSE(recipe->programmatic);
  EXPECT_FALSE(recipe->toJson().contains("programmatic"));
}

TEST(LaunchRecipe, WhatMustBeThere) {
  for (const char *key : {"kernel", "block", "cluster", "grid", "dynamic_shared_bytes", "limits", "operands", "parameters"}) {
    Json json = Json::parse(kEverything);
    json.erase(key);
    std::string error = messageOf(LaunchRecipe::fromJson(json));
    EXPECT_TRUE(error.starts_with("the recipe is malformed: ")) << error;
    EXPECT_NE(error.find(key), std::string::npos) << error;
  }
}

TEST(LaunchRecipe, Malformed) {
  EXPECT_EQ(errorWith("/grid", R"(["*", 2])"), "the recipe has a malformed size: operator '*' has 1 operands, not 2 to 8");
  EXPECT_EQ(errorWith("/operands/0/shape/0", "true"),
            "the recipe has a malformed size: found true, not an integer, a dim or [operator, operands...]");
  EXPECT_EQ(errorWith("/limits", R"({"N": 1})"), "the recipe names the unknown dim 'N'");
  EXPECT_EQ(errorWith("/rows", "\"N\""), "the recipe names the unknown dim 'N'");
  EXPECT_TRUE(errorWith("/block/0", "1.5").starts_with("the recipe is malformed: "));
  EXPECT_TRUE(errorWith("/block", "[1, 1]").starts_with("the recipe is malformed: "));
  EXPECT_EQ(errorWith("/parameters/2/operand", "5"), "the recipe has a parameter of operand 5, but 5 operands");
  EXPECT_EQ(errorWith("/operands/0/access", "\"append\""),
            "operand 'a' has access 'append', which is none of read, write, readwrite");
  EXPECT_EQ(errorWith("/parameters/0/swizzle", "\"96B\""),
            "the recipe has a swizzle or l2_promotion '96B': none, 32B, 64B, 128B or 256B can stand there");
  EXPECT_EQ(errorWith("/parameters/0/box", "[128]"), "the recipe has a tensor map whose dim, box and stride_bytes do not fit");
  EXPECT_EQ(errorWith("/parameters/0/dim", "[1, 1, 1, 1, 1, 1]"),
            "the recipe has a tensor map whose dim, box and stride_bytes do not fit");
  EXPECT_EQ(errorWith("/parameters/2/kind", "\"f32\""), "the recipe has an unknown parameter kind 'f32'");
  EXPECT_EQ(errorWith("/format", "2"), "the recipe has format 2; this program reads 1");
  EXPECT_TRUE(errorWith("/programmatic", "1").starts_with("the recipe is malformed: "));
  std::string deep = "1";
  for (int i = 0; i < 100; ++i)
    deep = "[\"+\", 1, " + deep + "]";
  EXPECT_EQ(errorWith("/grid", deep.c_str()), "the recipe has a malformed size: nests deeper than 8");
}

/// Any value at any place gives a recipe or an error.
TEST(LaunchRecipe, NothingCrashes) {
  Json places = Json::parse(kEverything).flatten();
  for (const auto &[place, old] : places.items())
    for (const char *value : {"null", "-1", "1e300", "18446744073709551615", "\"\"", "\"M\"", "[]", "{}", "[[]]", "true"}) {
      Json json = Json::parse(kEverything);
      json[Json::json_pointer(place)] = Json::parse(value);
      auto recipe = LaunchRecipe::fromJson(json);
      if (!recipe)
        continue;
      Sizes sizes = {{Dim::M, 100}, {Dim::Sms, 4}};
      (void)recipe->blocks(sizes);
      for (const Operand &operand : recipe->operands)
        (void)operand.extent(sizes);
    }
}

//===----------------------------------------------------------------------===//
// For given sizes
//===----------------------------------------------------------------------===//

TEST(LaunchRecipe, I32Parameter) {
  EXPECT_EQ(I32Parameter{SizeExpr(Dim::M) * 2}.evaluate({{Dim::M, 5}}), 10);
  EXPECT_EQ(messageOf(I32Parameter{SizeExpr(Dim::M) * 2}.evaluate({{Dim::M, int64_t(1) << 30}})),
            "the kernel takes (M * 2) as 32 bits, and it is 2147483648");
  EXPECT_EQ(I64Parameter{SizeExpr(Dim::M) * 2}.evaluate({{Dim::M, int64_t(1) << 30}}), int64_t(1) << 31);
}

TEST(LaunchRecipe, Extent) {
  SizeExpr m = Dim::M;
  Operand operand{"a", "bf16", false, {m, 20}};
  EXPECT_EQ(operand.extent({{Dim::M, 3}})->bytes, 120u);
  EXPECT_EQ(operand.extent({{Dim::M, 3}})->shape, (std::vector<int64_t>{3, 20}));
  EXPECT_EQ(messageOf(operand.extent({})), "the size 'M' is not known here");
  operand.pitchBytes = 48;
  EXPECT_EQ(operand.extent({{Dim::M, 3}})->bytes, 144u);
  operand.pitchBytes = 32;
  EXPECT_EQ(messageOf(operand.extent({{Dim::M, 3}})), "operand 'a' has a pitch of 32 bytes for rows of 40");
  EXPECT_EQ(messageOf(Operand{"a", "f64x", false, {m}}.extent({{Dim::M, 3}})),
            "operand 'a' has dtype f64x, which the runtime does not know");
  EXPECT_EQ((Operand{"a", "ui4", false, {m, 20}}.extent({{Dim::M, 3}})->bytes), 30u) << "two codes in a byte";
  EXPECT_EQ(messageOf(Operand{"a", "ui4", false, {m, 7}}.extent({{Dim::M, 3}})), "operand 'a' has rows of half bytes, in ui4");
  EXPECT_EQ(messageOf(Operand{"a", "i8", false, {m, m}}.extent({{Dim::M, 1 << 30}})), "operand 'a' is larger than 1 TiB");
  EXPECT_EQ(messageOf(Operand{"a", "i8", false, {m}}.extent({{Dim::M, -1}})), "operand 'a' is larger than 1 TiB");
}

TEST(LaunchRecipe, Blocks) {
  LaunchRecipe recipe;
  recipe.grid = SizeExpr::ceilDiv(Dim::M, 128);
  recipe.limits = {{Dim::M, 1000}};
  EXPECT_EQ(recipe.blocks({{Dim::M, 0}}), 0);
  EXPECT_EQ(recipe.blocks({{Dim::M, 1000}}), 8);
  EXPECT_EQ(messageOf(recipe.blocks({{Dim::M, 1001}})), "the kernel is for M up to 1000");
  recipe.grid = -1;
  EXPECT_EQ(messageOf(recipe.blocks({})), "a grid of -1 blocks");
}

} // namespace
} // namespace quant::abi
