//===- block_scale_test.cpp - scales in the files of checkpoints ------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/support/block_scale.h"

#include "runtime/support/narrow.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <vector>

using namespace quant;

namespace {

/// The value of a code by runtime/support/narrow.h.
double valueOf(DType dtype, uint32_t code) {
  return dtype == DType::F8E8M0FNU ? decodeE8M0(static_cast<uint8_t>(code))
                                   : decodeFloat(code, dtype == DType::F16 ? kF16 : kBF16);
}

/// A scale alone, at an odd address.
std::vector<std::byte> oneScale(DType dtype, uint32_t code) {
  std::vector<std::byte> data(1 + static_cast<size_t>(bitWidth(dtype)) / 8);
  std::memcpy(data.data() + 1, &code, data.size() - 1);
  return data;
}

} // namespace

TEST(BlockScale, EveryCode) {
  for (DType dtype : {DType::F16, DType::BF16, DType::F8E8M0FNU})
    for (uint32_t code = 0; code < 1u << bitWidth(dtype); ++code) {
      std::vector<std::byte> data = oneScale(dtype, code);
      auto bytes = std::span<const std::byte>(data).subspan(1);
      double value = valueOf(dtype, code), read = scaleAt(dtype, bytes, 0);
      EXPECT_TRUE(std::isnan(value) ? std::isnan(read) : read == value) << code;
      EXPECT_EQ(firstBrokenScale(dtype, bytes).has_value(), !(std::isfinite(value) && value >= 0)) << code;
    }
}

TEST(BlockScale, FirstOfMany) {
  std::vector<float> scales(1000, 0.5f);
  EXPECT_EQ(firstBrokenScale(DType::F32, std::as_bytes(std::span(scales))), std::nullopt);
  scales[999] = -INFINITY;
  EXPECT_EQ(firstBrokenScale(DType::F32, std::as_bytes(std::span(scales))), 999u);
  scales[1] = -0.0f;
  scales[77] = NAN;
  EXPECT_EQ(firstBrokenScale(DType::F32, std::as_bytes(std::span(scales))), 77u);
  EXPECT_EQ(firstBrokenScale(DType::F32, {}), std::nullopt);
}

TEST(BlockScale, Types) {
  EXPECT_TRUE(holdsScales(DType::F32) && holdsScales(DType::F8E8M0FNU));
  EXPECT_FALSE(holdsScales(DType::F8E4M3FN) || holdsScales(DType::I8));
}
