//===- block_scale.cpp - scales in the files of checkpoints ---------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/support/block_scale.h"

#include "runtime/support/narrow.h"

#include <bit>
#include <cstring>

namespace quant {

bool holdsScales(DType dtype, bool hasGlobalScale) {
  return dtype == DType::F32 || dtype == DType::F16 || dtype == DType::BF16 || dtype == DType::F8E8M0FNU ||
         (hasGlobalScale && dtype == DType::F8E4M3FN);
}

template <typename Bits>
static Bits bitsAt(std::span<const std::byte> data, size_t index) {
  Bits bits; // in the file at any alignment
  std::memcpy(&bits, data.data() + index * sizeof bits, sizeof bits);
  return bits;
}

float scaleAt(DType dtype, std::span<const std::byte> data, size_t index) {
  switch (dtype) {
  case DType::F32:
    return std::bit_cast<float>(bitsAt<uint32_t>(data, index));
  case DType::F16:
    return fromF16(bitsAt<uint16_t>(data, index));
  case DType::BF16:
    return fromBf16(bitsAt<uint16_t>(data, index));
  case DType::F8E4M3FN:
    return static_cast<float>(decodeFloat(bitsAt<uint8_t>(data, index), kE4M3FN));
  default:
    return e8m0Values()[bitsAt<uint8_t>(data, index)];
  }
}

/// The first element that is not finite and at least 0, -0 included, in a format with the bits of `infinity` and a sign on top.
template <typename Bits>
static std::optional<size_t> firstBroken(std::span<const std::byte> data, Bits infinity) {
  constexpr auto minusZero = static_cast<Bits>(Bits{1} << (8 * sizeof(Bits) - 1));
  auto isBroken = [&](size_t i) {
    auto bits = bitsAt<Bits>(data, i);
    return (bits >= infinity) & (bits != minusZero);
  };
  size_t count = data.size() / sizeof(Bits);
  bool any = false; // without a branch: a vector loop
  for (size_t i = 0; i < count; ++i)
    any |= isBroken(i);
  for (size_t i = 0; any && i < count; ++i)
    if (isBroken(i))
      return i;
  return std::nullopt;
}

std::optional<size_t> firstBrokenScale(DType dtype, std::span<const std::byte> data) {
  switch (dtype) {
  case DType::F32:
    return firstBroken<uint32_t>(data, 0x7f800000);
  case DType::F16:
    return firstBroken<uint16_t>(data, 0x7c00);
  case DType::BF16:
    return firstBroken<uint16_t>(data, 0x7f80);
  case DType::F8E4M3FN:
    return firstBroken<uint8_t>(data, 0x7f);
  default: { // NaN alone
    const void *found = data.empty() ? nullptr : std::memchr(data.data(), 0xff, data.size());
    return found ? std::optional(static_cast<size_t>(static_cast<const std::byte *>(found) - data.data())) : std::nullopt;
  }
  }
}

} // namespace quant
