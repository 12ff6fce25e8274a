//===- test_tensors.h - makes inputs of inspect and compare --------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_TEST_TOOLS_QUANT_CONVERT_TEST_TENSORS_H
#define QUANT_TEST_TOOLS_QUANT_CONVERT_TEST_TENSORS_H

#include "runtime/checkpoint/writer.h"
#include "run_convert.h"

#include <cmath>
#include <cstdio>
#include <cstring>
#include <numbers>
#include <random>

namespace quant::test {

/// A tensor with its bytes.
struct TestTensor {
  std::string name;
  DType dtype;
  std::vector<int64_t> shape;
  std::vector<std::byte> bytes;
};

template <typename T>
TestTensor tensorOf(std::string name, DType dtype, std::vector<int64_t> shape, const std::vector<T> &values) {
  auto bytes = std::as_bytes(std::span(values));
  return {std::move(name), dtype, std::move(shape), {bytes.begin(), bytes.end()}};
}

inline TestTensor floats(std::string name, std::vector<int64_t> shape, const std::vector<float> &values) {
  return tensorOf(std::move(name), DType::F32, std::move(shape), values);
}

/// Writes model.safetensors, or `file`, into `dir`.
inline void writeTensors(const std::filesystem::path &dir, const std::vector<TestTensor> &tensors,
                         const std::string &file = "model.safetensors") {
  std::filesystem::create_directories(dir);
  std::vector<checkpoint::TensorSpec> specs;
  for (const TestTensor &tensor : tensors)
    specs.push_back({tensor.name, tensor.dtype, tensor.shape});
  auto writer = checkpoint::SafetensorsWriter::create(dir / file, specs);
  ASSERT_TRUE(writer) << writer.error().message;
  for (const TestTensor &tensor : tensors)
    ASSERT_TRUE(writer->append(tensor.name, tensor.bytes)) << tensor.name;
  ASSERT_TRUE(writer->finish());
}

inline std::vector<float> normal(size_t count, uint32_t seed, float deviation = 1) {
  std::mt19937 random(seed);
  std::vector<float> values(count);
  for (float &value : values) {
    // Box and Muller: std::normal_distribution differs between libraries.
    double u = (random() + 0.5) / 4294967296.0, v = random() / 4294967296.0;
    value = deviation * float(std::sqrt(-2 * std::log(u)) * std::cos(2 * std::numbers::pi * v));
  }
  return values;
}

/// The e4m3 code next to `value`, by looking at all.
inline uint8_t nearestFp8(float value) {
  uint8_t best = 0;
  float distance = std::abs(value);
  for (int code = 1; code < 0x7F; ++code) {
    int exponent = code >> 3, fraction = code & 7;
    float magnitude = exponent ? std::ldexp(8.0f + float(fraction), exponent - 10) : std::ldexp(float(fraction), -9);
    if (std::abs(std::abs(value) - magnitude) < distance) {
      distance = std::abs(std::abs(value) - magnitude);
      best = uint8_t(code);
    }
  }
  return best | (value < 0 ? 0x80 : 0);
}

/// `name` as FP8 codes and `name`_scale_inv, in blocks of 128x128 as DeepSeek casts.
inline std::vector<TestTensor> castToFp8(const std::string &name, int64_t rows, int64_t cols, const std::vector<float> &values) {
  int64_t blockCols = (cols + 127) / 128, blockRows = (rows + 127) / 128;
  std::vector<float> scales(size_t(blockRows * blockCols));
  auto scaleOf = [&](int64_t i) -> float & { return scales[size_t(i / cols / 128 * blockCols + i % cols / 128)]; };
  for (int64_t i = 0; i < rows * cols; ++i)
    scaleOf(i) = std::max(scaleOf(i), std::abs(values[size_t(i)]) / 448);
  std::vector<uint8_t> codes;
  for (int64_t i = 0; i < rows * cols; ++i)
    codes.push_back(nearestFp8(values[size_t(i)] / scaleOf(i)));
  return {tensorOf(name, DType::F8E4M3FN, {rows, cols}, codes),
          floats(name + "_scale_inv", {blockRows, blockCols}, scales)};
}

} // namespace quant::test

#endif // QUANT_TEST_TOOLS_QUANT_CONVERT_TEST_TENSORS_H
