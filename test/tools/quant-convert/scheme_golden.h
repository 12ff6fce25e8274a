//===- scheme_golden.h - a linear layer in each scheme -------------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_TEST_TOOLS_QUANT_CONVERT_SCHEME_GOLDEN_H
#define QUANT_TEST_TOOLS_QUANT_CONVERT_SCHEME_GOLDEN_H

#include "runtime/support/narrow.h"
#include "test_tensors.h"
#include "tools/common/tensor_source.h"
#include "tools/quant-convert/schemes/weights.h"

#include <algorithm>

namespace quant::test {

inline const std::string kGoldenLayer = "model.layers.0.mlp.up_proj";

inline std::vector<std::string> goldenCases() {
  std::vector<std::string> names;
  for (const auto &entry : std::filesystem::directory_iterator(QUANT_SCHEME_GOLDENS))
    if (entry.is_directory())
      names.push_back(entry.path().filename());
  std::ranges::sort(names);
  return names;
}

inline tools::TensorSource openSource(const std::filesystem::path &path) {
  auto source = tools::TensorSource::open(path);
  EXPECT_TRUE(source) << source.error().message;
  return std::move(*source);
}

/// A folder of golden/: the layer as the library packs it, and what it dequantizes.
struct Golden {
  explicit Golden(const std::string &name) : dir(std::filesystem::path(QUANT_SCHEME_GOLDENS) / name) {}

  std::filesystem::path dir;
  nlohmann::json config = nlohmann::json::parse(readAll(dir / "config.json"));
  tools::TensorSource source = openSource(dir / "model.safetensors"), expected = openSource(dir / "expected.safetensors");

  const convert::Tensor &want() const { return *expected.find("weight"); }

  /// To change and to write again.
  std::vector<TestTensor> tensors() const {
    std::vector<TestTensor> list;
    for (const auto &tensor : source.tensors())
      list.push_back({tensor.info->name, tensor.info->dtype, tensor.info->shape, {tensor.data.begin(), tensor.data.end()}});
    return list;
  }
};

/// Values rounded to BF16, F16 or F32, as bytes.
inline std::string rounded(const std::vector<float> &values, DType dtype) {
  std::vector<uint16_t> halves;
  for (float value : values)
    halves.push_back(dtype == DType::BF16
                         ? toBf16(value)
                         : static_cast<uint16_t>(encodeFloat(value, kF16, Rounding::NearestEven, Overflow::Infinity)));
  return dtype == DType::F32 ? bytesOf(values) : bytesOf(halves);
}

inline std::string bytesOfTensor(const convert::Tensor &tensor) {
  return {reinterpret_cast<const char *>(tensor.data.data()), tensor.data.size()};
}

} // namespace quant::test

#endif // QUANT_TEST_TOOLS_QUANT_CONVERT_SCHEME_GOLDEN_H
