//===- wgmma.cpp - descriptors and arithmetic of wgmma ---------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/quant-sim/isa/wgmma.h"

#include "tools/quant-sim/isa/float_formats.h"

#include <fmt/core.h>

#include <bit>

// The loops below are as fast as their vectors are wide.
#if defined(__x86_64__) && !defined(__SANITIZE_ADDRESS__) && !__has_feature(address_sanitizer)
#define QUANT_SIM_WIDE __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define QUANT_SIM_WIDE
#endif

namespace quant::sim {

MatrixDescriptor MatrixDescriptor::unpack(uint64_t bits) {
  constexpr uint32_t kSwizzles[] = {0, 128, 64, 32};
  return {.start = (bits & 0x3fff) << 4,
          .leadingBytes = (bits >> 16 & 0x3fff) << 4,
          .strideBytes = (bits >> 32 & 0x3fff) << 4,
          .swizzleBytes = kSwizzles[bits >> 62],
          .baseOffset = static_cast<uint32_t>(bits >> 49 & 7)};
}

std::string MatrixDescriptor::check() const {
  if (baseOffset)
    return fmt::format("a base offset of {} is not supported", baseOffset);
  uint64_t pattern = swizzleBytes * 8, line = swizzleBytes;
  if (swizzleBytes && (start & (pattern - 1)) / 128 && (start & (pattern - 1)) >= std::max<uint64_t>(line, 128))
    return fmt::format(
        "the start {} is not where the pattern of the {}-byte swizzle begins, a multiple of {}, and the base offset is 0", start,
        swizzleBytes, pattern);
  if (swizzleBytes && strideBytes % pattern)
    return fmt::format("a stride of {} bytes between groups of 8 rows cuts the pattern of {} bytes of its swizzle", strideBytes,
                       pattern);
  return {};
}

uint64_t MatrixDescriptor::kMajor(uint64_t row, uint64_t k) const {
  if (swizzleBytes == 0)
    return start + row / 8 * strideBytes + k / 16 * leadingBytes + row % 8 * 16;
  return swizzled(start + row / 8 * strideBytes + row % 8 * swizzleBytes + k, swizzleBytes);
}

/// The canonical layouts of PTX ISA, "Shared Memory Matrix Layout", for 16-bit elements; T = 8 of them are 16 bytes.
uint64_t MatrixDescriptor::mnMajor(uint64_t row, uint64_t k) const {
  uint64_t perLine = swizzleBytes ? swizzleBytes / 2 : 8;
  uint64_t line = row / perLine, groups = k / 8;
  uint64_t outer = swizzleBytes ? line * leadingBytes + groups * strideBytes : line * strideBytes + groups * leadingBytes;
  return swizzled(start + outer + k % 8 * perLine * 2 + row % perLine * 2, swizzleBytes);
}

QUANT_SIM_WIDE
void multiplyAdd(const WgmmaShape &shape, const float *a, const float *b, float *d) {
  int k = shape.k(), n = shape.n;
  for (int row = 0; row < kWarpRows; ++row)
    for (int i = 0; i < k; ++i) {
      float factor = a[row * k + i];
      for (int column = 0; column < n; ++column)
        d[row * n + column] += factor * b[i * n + column];
    }
}

QUANT_SIM_WIDE
void multiplyAddInteger(const WgmmaShape &shape, const int32_t *a, const int32_t *b, int32_t *d) {
  int k = shape.k(), n = shape.n;
  for (int row = 0; row < kWarpRows; ++row)
    for (int i = 0; i < k; ++i)
      for (int column = 0; column < n; ++column)
        d[row * n + column] += a[row * k + i] * b[i * n + column];
}

float elementValue(Type type, uint32_t bits) {
  switch (type) {
  case Type::E4M3:
  case Type::E5M2:
    return fp8Table(type)[bits];
  case Type::BF16:
    return std::bit_cast<float>(bits << 16);
  case Type::F16:
    return static_cast<float>(decodeFloat(bits, kF16));
  case Type::TF32:
    return std::bit_cast<float>(bits & 0xffffe000);
  case Type::S8:
    return static_cast<int8_t>(bits);
  default:
    return static_cast<float>(bits);
  }
}

} // namespace quant::sim
