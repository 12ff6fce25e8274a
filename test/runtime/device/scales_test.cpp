//===- scales_test.cpp - which block scales are taken ---------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/device/common/scales.h"

#include "runtime/checkpoint/writer.h"
#include "toy_model.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>

namespace quant::runtime::test {
namespace {

using checkpoint::Checkpoint;

/// Patterns of `bytes` each, written one after another.
std::string patterns(const std::vector<uint32_t> &values, size_t bytes) {
  std::string data;
  for (uint32_t value : values)
    data.append(reinterpret_cast<const char *>(&value), bytes); // little-endian, as the file is
  return data;
}

/// Writes one tensor 2 x n/2 and checks it; "" where it is taken, else what comes after the tensor's file.
std::string check(DType dtype, const std::vector<uint32_t> &values) {
  ToyModel folder; // for its temporary folder
  std::string path = folder.dir() / "model.safetensors";
  auto columns = static_cast<int64_t>(values.size()) / 2;
  auto writer = checkpoint::SafetensorsWriter::create(path, {{"x.scale", dtype, {2, columns}}}).value();
  std::string data = patterns(values, static_cast<size_t>(bitWidth(dtype)) / 8);
  EXPECT_TRUE(writer.append("x.scale", std::as_bytes(std::span(data))));
  EXPECT_TRUE(writer.finish());
  Checkpoint checkpoint = Checkpoint::open(folder.dir()).value();
  std::unique_ptr<ThreadPool> pool = ThreadPool::create(2).value();
  const Checkpoint::Tensor *tensor = checkpoint.find("x.scale");
  Result<void> checked = checkScales({&tensor, 1}, *pool);
  if (checked)
    return "";
  std::string start = "tensor 'x.scale' in " + path + ": the scale of block ";
  EXPECT_TRUE(checked.error().message.starts_with(start)) << checked.error().message;
  return checked.error().message.substr(std::min(start.size(), checked.error().message.size()));
}

const char *const kRest = ", scales are finite and not negative; is the file damaged?";

TEST(Scales, F32) {
  EXPECT_EQ(check(DType::F32, {0, 0x80000000, 1, 0x7f7fffff, 0x3f800000, 0x00800000}), ""); // 0, -0, denormal, largest
  EXPECT_EQ(check(DType::F32, {0, 0, 0, 0x7fc00000}), std::string("[1, 1] is NaN") + kRest);
  EXPECT_EQ(check(DType::F32, {0, 0xffc00001, 0, 0}), std::string("[0, 1] is NaN") + kRest);
  EXPECT_EQ(check(DType::F32, {0x7f800000, 0, 0, 0xff800000}), std::string("[0, 0] is inf") + kRest);
  EXPECT_EQ(check(DType::F32, {0, 0, 0, 0, 0xff800000, 0}), std::string("[1, 1] is -inf") + kRest);
  EXPECT_EQ(check(DType::F32, {0, 0, 0xbe800000, 0}), std::string("[1, 0] is -0.25") + kRest);
  EXPECT_EQ(check(DType::F32, {0, 0, 0x80000001, 0}), std::string("[1, 0] is -1.40129846e-45") + kRest);
}

TEST(Scales, F16) {
  EXPECT_EQ(check(DType::F16, {0, 0x8000, 1, 0x7bff}), "");
  EXPECT_EQ(check(DType::F16, {0, 0, 0, 0x7e00}), std::string("[1, 1] is NaN") + kRest);
  EXPECT_EQ(check(DType::F16, {0, 0, 0x7c00, 0}), std::string("[1, 0] is inf") + kRest);
  EXPECT_EQ(check(DType::F16, {0, 0xb400, 0, 0}), std::string("[0, 1] is -0.25") + kRest);
  EXPECT_EQ(check(DType::F16, {0, 0x8001, 0, 0}), std::string("[0, 1] is -5.96046448e-08") + kRest);
}

TEST(Scales, BF16) {
  EXPECT_EQ(check(DType::BF16, {0, 0x8000, 1, 0x7f7f}), "");
  EXPECT_EQ(check(DType::BF16, {0x7fc0, 0, 0, 0}), std::string("[0, 0] is NaN") + kRest);
  EXPECT_EQ(check(DType::BF16, {0, 0xff80, 0, 0}), std::string("[0, 1] is -inf") + kRest);
  EXPECT_EQ(check(DType::BF16, {0, 0, 0xc040, 0}), std::string("[1, 0] is -3") + kRest);
}

TEST(Scales, UE8M0) {
  EXPECT_EQ(check(DType::F8E8M0FNU, {0, 127, 0x80, 0xfe}), "");
  EXPECT_EQ(check(DType::F8E8M0FNU, {0, 127, 0xff, 0xff}), std::string("[1, 0] is NaN") + kRest);
}

TEST(Scales, UE8M0AsBytes) {
  EXPECT_EQ(check(DType::U8, {0, 127, 0x80, 0xfe}), "");
  EXPECT_EQ(check(DType::U8, {0, 0xff, 127, 127}), std::string("[0, 1] is NaN") + kRest);
}

TEST(Scales, E4M3) {
  EXPECT_EQ(check(DType::F8E4M3FN, {0, 0x80, 1, 0x7e}), ""); // 0, -0, denormal, largest
  EXPECT_EQ(check(DType::F8E4M3FN, {0x38, 0x38, 0x7f, 0x38}), std::string("[1, 0] is NaN") + kRest);
  EXPECT_EQ(check(DType::F8E4M3FN, {0x38, 0xff, 0x38, 0x38}), std::string("[0, 1] is NaN") + kRest);
  EXPECT_EQ(check(DType::F8E4M3FN, {0x38, 0x38, 0x38, 0xb8}), std::string("[1, 1] is -1") + kRest);
}

TEST(Scales, NoTensors) {
  std::unique_ptr<ThreadPool> pool = ThreadPool::create(2).value();
  EXPECT_TRUE(checkScales({}, *pool));
}

/// Whatever the threads, the first bad tensor is the one that is named.
TEST(Scales, TheFirstIsNamed) {
  ToyModel folder;
  constexpr int kTensors = 300;
  std::vector<checkpoint::TensorSpec> specs;
  for (int i = 0; i < kTensors; ++i)
    specs.push_back({"t" + std::to_string(1000 + i), DType::F32, {1}});
  auto writer = checkpoint::SafetensorsWriter::create(folder.dir() / "model.safetensors", specs).value();
  for (int i = 0; i < kTensors; ++i) {
    float value = i >= 100 ? -1.f : 1.f;
    ASSERT_TRUE(writer.append(specs[static_cast<size_t>(i)].name, std::as_bytes(std::span(&value, 1))));
  }
  ASSERT_TRUE(writer.finish());
  Checkpoint checkpoint = Checkpoint::open(folder.dir()).value();
  std::vector<const Checkpoint::Tensor *> tensors;
  for (const Checkpoint::Tensor &tensor : checkpoint.tensors())
    tensors.push_back(&tensor);
  for (int threads : {1, 2, 7}) {
    std::unique_ptr<ThreadPool> pool = ThreadPool::create(threads).value();
    for (int repeat = 0; repeat < 20; ++repeat) {
      Result<void> checked = checkScales(tensors, *pool);
      ASSERT_FALSE(checked);
      EXPECT_TRUE(checked.error().message.starts_with("tensor 't1100' in ")) << checked.error().message;
    }
  }
}

} // namespace
} // namespace quant::runtime::test
