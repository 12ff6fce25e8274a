//===- schemes_test.cpp - every scheme against the library of its own -----===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// golden/ holds a linear layer of each scheme and what compressed-tensors, AutoGPTQ and AutoAWQ dequantize of it (test/interop/
// make_schemes.py): every bit of ours is the same.
//
//===----------------------------------------------------------------------===//

#include "scheme_golden.h"

#include <algorithm>
#include <functional>
#include <random>
#include <set>

using namespace quant;
using namespace quant::convert;
using namespace quant::test;

namespace {

Weights weightsOf(const Golden &golden, bool withConfig = true) {
  return Weights::of(golden.source, withConfig ? schemesOf(golden.config) : nullptr, 1);
}

class Schemes : public testing::TestWithParam<std::string> {};

TEST_P(Schemes, AreDecodedAsTheirLibraryDoes) {
  Golden golden(GetParam());
  Weights weights = weightsOf(golden);
  ASSERT_EQ(weights.all().size(), 1u) << "everything else is a part of the one weight";
  const Weight &weight = weights.all()[0];
  ASSERT_FALSE(weight.fault) << weight.fault->error().message;
  EXPECT_EQ(weight.name, kGoldenLayer + ".weight");
  EXPECT_TRUE(GetParam().starts_with(weight.linear->scheme().name)) << weight.linear->scheme().name;
  EXPECT_TRUE(weight.linear->checkScales());
  EXPECT_TRUE(weight.linear->checkIndices());
  const auto &shape = golden.want().info->shape;
  ASSERT_EQ((std::vector{weight.linear->rows(), weight.linear->columns()}), shape);
  std::vector<float> values(static_cast<size_t>(shape[0] * shape[1]));
  weight.linear->read(0, values);
  EXPECT_TRUE(rounded(values, golden.want().info->dtype) == bytesOfTensor(golden.want()));
  // Any part of it, too.
  std::mt19937 random(7);
  for (int part = 0; part < 50; ++part) {
    size_t begin = random() % values.size(), count = 1 + random() % (values.size() - begin);
    std::vector<float> some(count);
    weight.linear->read(begin, some);
    ASSERT_TRUE(std::equal(some.begin(), some.end(), values.begin() + static_cast<ptrdiff_t>(begin))) << begin << " " << count;
  }
}

INSTANTIATE_TEST_SUITE_P(All, Schemes, testing::ValuesIn(goldenCases()), [](const auto &info) {
  std::string name = info.param;
  std::ranges::replace(name, '-', '_');
  return name;
});

/// Only config.json tells blocks of rows, and that GPTQ's zero points are v2's; all else the tensors say themselves.
TEST(SchemeGoldens, NeedNoConfiguration) {
  for (const char *name :
       {"ct-fp8-channel", "ct-fp8-tensor", "ct-w8a8", "ct-w8a16", "ct-w8a16-group", "ct-w4a16", "ct-w4a16-short",
        "ct-w4a16-channel", "ct-w4a16-asymmetric", "ct-w4a16-asymmetric-channel", "ct-w4a8", "ct-mxfp4", "ct-mxfp8", "ct-nvfp4",
        "deepseek-v4-mxfp4", "gptq-w4", "gptq-w4-act-order", "gptq-w4-row", "awq-w4"}) {
    Golden golden(name);
    Weights plain = weightsOf(golden, false);
    const Weight &weight = plain.all()[0];
    ASSERT_FALSE(weight.fault) << weight.fault->error().message;
    std::vector<float> values(static_cast<size_t>(weight.linear->rows() * weight.linear->columns()));
    weight.linear->read(0, values);
    EXPECT_TRUE(rounded(values, golden.want().info->dtype) == bytesOfTensor(golden.want())) << name;
  }
}

TEST(SchemeGoldens, HaveEverySchemeOfTheTable) {
  std::set<std::string_view> found;
  for (const std::string &name : goldenCases()) {
    Golden golden(name);
    Weights weights = weightsOf(golden);
    found.insert(weights.all()[0].linear->scheme().name);
  }
  for (const Scheme &scheme : schemes())
    EXPECT_TRUE(found.contains(scheme.name)) << scheme.name;
}

//===----------------------------------------------------------------------===//
// Rules broken
//===----------------------------------------------------------------------===//

using Tensors = std::vector<TestTensor>;

TestTensor &named(Tensors &tensors, const std::string &end) {
  return *std::ranges::find(tensors, kGoldenLayer + end, &TestTensor::name);
}

template <typename T>
void put(TestTensor &tensor, size_t index, T value) {
  std::memcpy(tensor.bytes.data() + index * sizeof(T), &value, sizeof(T));
}

/// Cuts or fills up with zeros.
void reshape(TestTensor &tensor, std::vector<int64_t> shape) {
  tensor.shape = std::move(shape);
  tensor.bytes.resize(*checkpoint::byteSize(tensor.dtype, tensor.shape));
}

void remove(Tensors &tensors, const std::string &end) {
  std::erase_if(tensors, [&](const TestTensor &tensor) { return tensor.name == kGoldenLayer + end; });
}

/// What is said of a golden that was changed: of its layout, its scales, or its indices.
std::string faultOf(const std::string &golden, const std::function<void(Tensors &)> &change) {
  Golden intact(golden);
  Tensors tensors = intact.tensors();
  change(tensors);
  TestDir dir;
  writeTensors(dir.path, tensors);
  tools::TensorSource source = openSource(dir / "model.safetensors");
  Weights weights = Weights::of(source, schemesOf(intact.config), 1);
  for (const Weight &weight : weights.all()) {
    if (weight.fault)
      return weight.fault->error().message;
    if (!weight.linear)
      continue;
    if (auto sound = weight.linear->checkScales(); !sound)
      return sound.error().error().message;
    if (auto sound = weight.linear->checkIndices(); !sound)
      return sound.error().error().message;
  }
  return "";
}

struct Breakage {
  const char *golden;
  std::function<void(Tensors &)> change;
  const char *tensor, *says; ///< whose name is given, and what is said of it
};

const Breakage kBreakages[] = {
    {"ct-w4a16", [](Tensors &t) { reshape(named(t, ".weight_packed"), {20, 23}); }, ".weight_shape",
     "holds 20x184 codes: it says 20x192"},
    {"ct-w4a16", [](Tensors &t) { put<int64_t>(named(t, ".weight_shape"), 1, 184); }, ".weight_shape", "it says 20x184"},
    {"ct-w4a16", [](Tensors &t) { put<int64_t>(named(t, ".weight_shape"), 0, 21); }, ".weight_shape", "it says 21x192"},
    {"ct-w4a16", [](Tensors &t) { put<int64_t>(named(t, ".weight_shape"), 1, -1); }, ".weight_shape", "it says 20x-1"},
    {"ct-w4a16", [](Tensors &t) { put<int64_t>(named(t, ".weight_shape"), 1, INT64_MAX); }, ".weight_shape",
     "it says 20x9223372"},
    {"ct-w4a16", [](Tensors &t) { reshape(named(t, ".weight_scale"), {20, 2}); }, ".weight_packed",
     "has a scale of shape 20x2 does not fit a weight of shape 20x192: blocks of 1x64 need 20x3"},
    {"ct-w4a16", [](Tensors &t) { reshape(named(t, ".weight_scale"), {20, 1}); }, ".weight_packed",
     "has a scale of shape 20x1; its 20x192 in groups of 64 needs 20x3"},
    {"ct-w4a16", [](Tensors &t) { named(t, ".weight_scale").dtype = DType::I16; }, ".weight_packed", "has a scale of type I16"},
    {"ct-w4a16", [](Tensors &t) { remove(t, ".weight_scale"); }, ".weight_packed", "has no scale"},
    {"ct-w4a16", [](Tensors &t) { put<uint16_t>(named(t, ".weight_scale"), 4, 0x7FC0); }, ".weight_scale",
     "block [1, 1] has scale nan"},
    {"ct-w4a16", [](Tensors &t) { put<uint16_t>(named(t, ".weight_scale"), 0, 0xBF80); }, ".weight_scale",
     "block [0, 0] has scale -1"},
    {"ct-w4a16-asymmetric", [](Tensors &t) { reshape(named(t, ".weight_zero_point"), {2, 3}); }, ".weight_zero_point",
     "is I32 2x3; the weight's 20x192 with 3 scales a row needs I32 3x3"},
    {"ct-w4a16-asymmetric", [](Tensors &t) { remove(t, ".weight_zero_point"); }, ".weight_packed", "has no 'weight_zero_point'"},
    {"ct-w4a16",
     [](Tensors &t) { t.push_back(tensorOf(kGoldenLayer + ".weight_zero_point", DType::I32, {3, 3}, std::vector<int32_t>(9))); },
     ".weight_zero_point", "are zero points, and ct-w4a16 (INT4 in groups, weight only) has none"},
    {"ct-nvfp4", [](Tensors &t) { remove(t, ".weight_global_scale"); }, ".weight_packed", "has no 'weight_global_scale'"},
    {"ct-nvfp4", [](Tensors &t) { put<float>(named(t, ".weight_global_scale"), 0, 0); }, ".weight_global_scale",
     "is 0, by which"},
    {"ct-nvfp4", [](Tensors &t) { put<float>(named(t, ".weight_global_scale"), 0, -2); }, ".weight_global_scale",
     "is -2, by which"},
    {"ct-nvfp4", [](Tensors &t) { named(t, ".weight_global_scale").dtype = DType::I32; }, ".weight_global_scale",
     "is I32 1; one F32 is needed"},
    {"ct-nvfp4", [](Tensors &t) { put<uint8_t>(named(t, ".weight_scale"), 7, 0x7F); }, ".weight_scale",
     "block [1, 1] has scale nan"},
    {"ct-nvfp4", [](Tensors &t) { put<uint8_t>(named(t, ".weight_scale"), 6, 0xB8); }, ".weight_scale",
     "block [1, 0] has scale -1"},
    {"ct-mxfp4", [](Tensors &t) { put<uint8_t>(named(t, ".weight_scale"), 1, 0xFF); }, ".weight_scale",
     "block [0, 1] has scale nan"},
    {"ct-mxfp4", [](Tensors &t) { t.push_back(floats(kGoldenLayer + ".weight_global_scale", {1}, {1})); }, ".weight_global_scale",
     "is a global scale, and ct-mxfp4"},
    {"deepseek-v4-mxfp4", [](Tensors &t) { reshape(named(t, ".scale"), {20, 2}); }, ".weight", "blocks of 1x32 need 20x3"},
    {"gptq-w4", [](Tensors &t) { reshape(named(t, ".qzeros"), {3, 3}); }, ".qzeros", "is I32 3x3"},
    {"gptq-w4", [](Tensors &t) { remove(t, ".qzeros"); }, ".qweight", "has no 'qzeros'"},
    {"gptq-w4", [](Tensors &t) { reshape(named(t, ".scales"), {2, 32}); }, ".scales", "in groups of 32 needs 3x32"},
    {"gptq-w4", [](Tensors &t) { reshape(named(t, ".g_idx"), {80}); }, ".g_idx", "has 80 columns"},
    {"gptq-w4", [](Tensors &t) { put<int32_t>(named(t, ".g_idx"), 5, 3); }, ".g_idx",
     "has group 3 for column 5, and there are 3 groups"},
    {"gptq-w4", [](Tensors &t) { put<int32_t>(named(t, ".g_idx"), 95, -1); }, ".g_idx", "has group -1 for column 95"},
    {"awq-w4", [](Tensors &t) { reshape(named(t, ".qzeros"), {3, 5}); }, ".qzeros", "needs I32 3x4"},
    {"awq-w4", [](Tensors &t) { put<uint16_t>(named(t, ".scales"), 33, 0x7C00); }, ".scales", "block [1, 1] has scale inf"},
    {"deepseek-fp8", [](Tensors &t) { reshape(named(t, ".weight_scale_inv"), {2, 3}); }, ".weight", "blocks of 8x32 need 3x3"},
};

TEST(SchemeRules, EachBrokenOneNamesItsTensor) {
  for (const Breakage &breakage : kBreakages) {
    std::string said = faultOf(breakage.golden, breakage.change);
    EXPECT_NE(said.find("model.safetensors: tensor '" + kGoldenLayer + breakage.tensor + "': "), said.npos)
        << breakage.golden << ": " << said;
    EXPECT_NE(said.find(breakage.says), said.npos) << breakage.golden << ": " << said;
  }
}

} // namespace
