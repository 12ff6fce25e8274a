//===- scheme_test.cpp - how quantized weights are stored -------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/support/scheme.h"

#include <gtest/gtest.h>

#include <map>
#include <set>

using namespace quant;

namespace {

using Tensors = std::map<std::string, DType>;

FindDType in(const Tensors &tensors) {
  return [&](const std::string &name) {
    auto found = tensors.find(name);
    return found == tensors.end() ? std::nullopt : std::optional(found->second);
  };
}

} // namespace

TEST(Scheme, EachHasANameOfItsOwn) {
  std::set<std::string_view> names;
  for (const Scheme &scheme : schemes()) {
    EXPECT_TRUE(names.insert(scheme.name).second) << scheme.name;
    EXPECT_EQ(findScheme(scheme.name), &scheme);
    EXPECT_FALSE(scheme.method.empty());
  }
  EXPECT_EQ(findScheme("nothing"), nullptr);
  EXPECT_EQ(deepSeekFp8().name, "deepseek-fp8");
  EXPECT_EQ(deepSeekFp8(ScaleFmt::UE8M0).name, "deepseek-fp8-ue8m0");
  EXPECT_EQ(deepSeekFp8(ScaleFmt::UE8M0).scaleFmt, ScaleFmt::UE8M0);
}

TEST(Scheme, AWeightFindsItsScaleAndTheScaleItsWeight) {
  for (const Scheme &scheme : schemes()) {
    std::string data = "model.layers.3.mlp.up_proj" + std::string(scheme.suffixes.data), scale = scaleNameOf(scheme, data);
    DType stored = scheme.packing == Packing::Elements || scheme.packing == Packing::Nibbles ? scheme.element : DType::I32;
    Tensors tensors = {{data, stored}, {scale, scheme.scale}};
    if (scheme.suffixes.data == ".weight" && !holdsCodes(stored))
      continue; // FP4 in DeepSeek-V4's files
    EXPECT_EQ(findScaleName(in(tensors), data), scale) << scheme.name;
    EXPECT_EQ(findWeightName(in(tensors), scale), data) << scheme.name;
    tensors.erase(scale);
    EXPECT_EQ(findScaleName(in(tensors), data), "") << scheme.name;
  }
}

TEST(Scheme, NamesThatOnlyLookLikeScales) {
  Tensors tensors = {{"a.weight", DType::BF16}, {"a.scale", DType::F32}, {"a.k_scale", DType::F32}, {"a.k", DType::BF16}};
  EXPECT_EQ(findWeightName(in(tensors), "a.scale"), "") << "a weight of BF16 needs none by that name";
  EXPECT_EQ(findWeightName(in(tensors), "a.k_scale"), "");
  EXPECT_EQ(findWeightName(in(tensors), "a.weight"), "");
  EXPECT_EQ(findWeightName(in(tensors), "a.weight_scale_inv"), "a.weight") << "an orphan says so";
  EXPECT_EQ(findWeightName(in({}), "b.weight_scale"), "b.weight");
  EXPECT_EQ(findWeightName(in({}), "b.scales"), "");
  EXPECT_EQ(findScaleName(in(tensors), "a.weight"), "");
}

TEST(Scheme, ANameWithoutEnding) {
  EXPECT_EQ(scaleNameOf(deepSeekFp8(), "w"), "w_scale_inv");
  Tensors tensors = {{"w", DType::F8E4M3FN}, {"w_scale_inv", DType::F32}};
  EXPECT_EQ(findScaleName(in(tensors), "w"), "w_scale_inv");
  EXPECT_EQ(findWeightName(in(tensors), "w_scale_inv"), "w");
}

TEST(Scheme, ScaleShapes) {
  using Shape = std::vector<int64_t>;
  EXPECT_EQ(scaleShape({128, 128}, 576, 7168), (Shape{5, 56}));
  EXPECT_EQ(scaleShape({128, 128}, 1, 1), (Shape{1, 1}));
  EXPECT_EQ(scaleShape({1, 32}, 3, 33), (Shape{3, 2}));
  EXPECT_EQ(scaleShape({1, 0}, 576, 7168), (Shape{576, 1}));
  EXPECT_EQ(scaleShape({0, 0}, 576, 7168), (Shape{1, 1}));
}
