//===- random_values.cpp - random weights that make a well-behaved model --===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/quant-convert/schemes/random_values.h"

#include "runtime/support/narrow.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <memory>
#include <numbers>
#include <string_view>

using namespace quant;
using namespace quant::convert;
using models::TensorRole;

//===----------------------------------------------------------------------===//
// Tables: 16 random bits -> a standard normal value
//===----------------------------------------------------------------------===//

static constexpr size_t kQuantiles = 1 << 16;
static constexpr size_t kInner = 16, kFine = 1 << 12;
/// The largest e4m3 value; the outermost quantile, 4.3 deviations, becomes it.
static constexpr float kMaxFp8 = 448;

namespace {
struct NormalTables {
  std::array<float, kQuantiles> value; ///< quantile (i + 1/2) / 65536, ascending
  std::array<uint8_t, kQuantiles> fp8; ///< the e4m3 code of value * fp8Deviation
  float fp8Deviation;                  ///< of what the codes mean
  /// Around zero a quantile spans two codes: the codes of the 2 * kInner quantiles in the middle, in finer steps.
  std::array<uint8_t, kFine> inner;
};
} // namespace

static uint8_t toFp8(float value) { return static_cast<uint8_t>(encodeFloat(value, kE4M3FN)); }

/// The upper half of the quantiles by Newton's method, each from the one before it: the normal's tail is convex there, so
/// the steps approach from one side.
static void fillQuantiles(std::array<float, kQuantiles> &value) {
  double z = 0;
  for (size_t i = kQuantiles / 2; i < kQuantiles; ++i) {
    double tail = 1 - (static_cast<double>(i) + 0.5) / kQuantiles;
    for (int step = 0; step < 8; ++step) {
      double density = std::exp(-z * z / 2) / std::sqrt(2 * std::numbers::pi);
      z += (std::erfc(z / std::numbers::sqrt2) / 2 - tail) / density;
    }
    value[i] = static_cast<float>(z);
    value[kQuantiles - 1 - i] = static_cast<float>(-z);
  }
}

static const NormalTables &normalTables() {
  static const auto tables = [] {
    auto result = std::make_unique<NormalTables>();
    fillQuantiles(result->value);
    result->fp8Deviation = kMaxFp8 / result->value.back();
    for (size_t i = 0; i < kQuantiles; ++i)
      result->fp8[i] = toFp8(result->value[i] * result->fp8Deviation);
    // The density is flat there, so equal shares are equal steps.
    float innerEnd = result->value[kQuantiles / 2] * 2 * kInner * result->fp8Deviation;
    for (size_t i = 0; i < kFine; ++i)
      result->inner[i] = toFp8(((static_cast<float>(i) + 0.5f) * 2 / kFine - 1) * innerEnd);
    return result;
  }();
  return *tables;
}

//===----------------------------------------------------------------------===//
// The generator
//===----------------------------------------------------------------------===//

static constexpr uint64_t kGolden = 0x9E3779B97F4A7C15;

static uint64_t mix(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EB;
  return x ^ (x >> 31);
}

static uint64_t fnv1a(std::string_view text) {
  uint64_t hash = 0xCBF29CE484222325;
  for (char c : text)
    hash = (hash ^ static_cast<uint8_t>(c)) * 0x100000001B3;
  return hash;
}

static float meanOf(TensorRole role) { return role == TensorRole::Norm ? 1.0f : 0.0f; }

static float deviationOf(TensorRole role, int64_t in) {
  switch (role) {
  case TensorRole::Embedding:
    return 1.0f;
  case TensorRole::Norm:
    return 0.1f;
  case TensorRole::GateBias:
    return 0.05f;
  case TensorRole::Linear:
  case TensorRole::Scale:
  case TensorRole::ZeroPoint:
    break;
  }
  return 1.0f / std::sqrt(static_cast<float>(in));
}

RandomValues::RandomValues(const models::TensorSpec &tensor, int64_t in, const Scheme &scheme, uint64_t seed)
    : role(tensor.role), dtype(tensor.dtype), codes(scheme.element), scaleFmt(scheme.scaleFmt),
      stream(mix(mix(seed + kGolden) ^ fnv1a(tensor.name))), mean(meanOf(tensor.role)), deviation(deviationOf(tensor.role, in)) {}

uint64_t RandomValues::word(uint64_t index) const { return mix(stream + (index + 1) * kGolden); }

/// The largest code of the type; the outermost quantile becomes it.
static float largestCode(DType codes) { return codes == DType::I8 ? 127.0f : codes == DType::F8E5M2 ? 57344.0f : kMaxFp8; }

/// Of what the codes mean.
static float codeDeviation(DType codes) { return largestCode(codes) / normalTables().value.back(); }

static uint8_t toCode(DType codes, float value) {
  if (codes == DType::I8)
    return static_cast<uint8_t>(static_cast<int8_t>(std::lrint(value)));
  return static_cast<uint8_t>(encodeFloat(value, kE5M2));
}

/// Writes a scale in its type.
static void putScale(DType dtype, float value, std::byte *out) {
  uint16_t half = dtype == DType::F16 ? static_cast<uint16_t>(encodeFloat(value, kF16)) : toBf16(value);
  uint8_t exponent = encodeE8M0Up(value);
  const void *from = &exponent;
  if (bitWidth(dtype) == 16)
    from = &half;
  else if (dtype == DType::F32)
    from = &value;
  std::memcpy(out, from, static_cast<size_t>(bitWidth(dtype)) / 8);
}

/// A block's scale.
float RandomValues::scale(uint64_t index) const {
  uint64_t bits = word(index);
  float exponent = std::log2(deviation / codeDeviation(codes)) + static_cast<float>(bits >> 40) * 0x1p-24f - 0.5f;
  if ((bits & 63) == 0)
    exponent -= 20;
  return std::exp2(scaleFmt == ScaleFmt::UE8M0 ? std::nearbyint(exponent) : exponent);
}

/// Sets each T of `out` to element(16 random bits, its position); `word(i)` has the bits of four elements.
template <typename T, typename Word, typename Element>
static void fillGroups(std::span<std::byte> out, uint64_t firstWord, Word word, Element element) {
  size_t count = out.size() / sizeof(T);
  for (size_t i = 0; i < count; i += kValueGroup) {
    uint64_t index = firstWord + i / kValueGroup, bits = word(index);
    T group[kValueGroup];
    for (size_t lane = 0; lane < kValueGroup; ++lane, bits >>= 16)
      group[lane] = element(static_cast<uint16_t>(bits), index * kValueGroup + lane);
    std::memcpy(out.data() + i * sizeof(T), group, sizeof(T) * std::min<size_t>(kValueGroup, count - i));
  }
}

void RandomValues::fill(int64_t begin, std::span<std::byte> out) const {
  const NormalTables &tables = normalTables();
  auto bits = [this](uint64_t index) { return word(index); };
  uint64_t first = static_cast<uint64_t>(begin / kValueGroup);
  if (role == TensorRole::Scale) {
    size_t size = static_cast<size_t>(bitWidth(dtype)) / 8;
    for (size_t i = 0; i < out.size() / size; ++i)
      putScale(dtype, scale(static_cast<uint64_t>(begin) + i), out.data() + i * size);
  } else if (dtype == DType::F8E4M3FN) {
    fillGroups<uint8_t>(out, first, bits, [&](uint16_t random, uint64_t position) {
      bool inner = static_cast<size_t>(random) - (kQuantiles / 2 - kInner) < 2 * kInner;
      return inner ? tables.inner[mix(~stream + position * kGolden) % kFine] : tables.fp8[random];
    });
  } else if (holdsCodes(dtype)) {
    float factor = codeDeviation(dtype);
    fillGroups<uint8_t>(out, first, bits,
                        [&](uint16_t random, uint64_t) { return toCode(dtype, factor * tables.value[random]); });
  } else if (dtype == DType::F16) {
    fillGroups<uint16_t>(out, first, bits, [&](uint16_t random, uint64_t) {
      return static_cast<uint16_t>(encodeFloat(mean + deviation * tables.value[random], kF16));
    });
  } else if (dtype == DType::BF16) {
    fillGroups<uint16_t>(out, first, bits,
                         [&](uint16_t random, uint64_t) { return toBf16(mean + deviation * tables.value[random]); });
  } else {
    fillGroups<float>(out, first, bits, [&](uint16_t random, uint64_t) { return mean + deviation * tables.value[random]; });
  }
}
