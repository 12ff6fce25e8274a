//===- cast_kernels.cpp - rows of weights to FP8 and back -----------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Plain loops without branches, which the compiler vectorises once per instruction set.
//
//===----------------------------------------------------------------------===//

#include "tools/quant-convert/schemes/cast_kernels.h"

#include "runtime/support/narrow.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <type_traits>

using namespace quant;
using namespace quant::convert;

#define QUANT_INLINE [[gnu::always_inline]] static inline

/// Elements of a mapped file: at any address.
typedef uint16_t Bits16 __attribute__((aligned(1), may_alias));
typedef uint32_t Bits32 __attribute__((aligned(1), may_alias));

//===----------------------------------------------------------------------===//
// Elements
//===----------------------------------------------------------------------===//

namespace {

struct BF16 {
  using Bits = Bits16;
  static constexpr uint32_t kMagnitude = 0x7FFF;
  QUANT_INLINE float value(uint32_t bits) { return fromBf16(static_cast<uint16_t>(bits)); }
};

struct F16 {
  using Bits = Bits16;
  static constexpr uint32_t kMagnitude = 0x7FFF;
  QUANT_INLINE float value(uint32_t bits) { return fromF16(static_cast<uint16_t>(bits)); }
};

struct F32 {
  using Bits = Bits32;
  static constexpr uint32_t kMagnitude = 0x7FFFFFFF;
  QUANT_INLINE float value(uint32_t bits) { return std::bit_cast<float>(bits); }
};

} // namespace

/// The e4m3 code nearest to `value`, ties to even, saturated.
QUANT_INLINE uint8_t encode(float value) {
  uint32_t sign = std::bit_cast<uint32_t>(value) >> 24 & 0x80;
  float magnitude = std::fabs(value);
  magnitude = magnitude < 448.0f ? magnitude : 448.0f;
  uint32_t bits = std::bit_cast<uint32_t>(magnitude);
  uint32_t normal = (bits + 0x7FFFF + (bits >> 20 & 1) - (120u << 23)) >> 20;
  // A float at 2^14 has steps of 2^-9, the subnormals' own: the addition rounds.
  uint32_t subnormal = std::bit_cast<uint32_t>(magnitude + 0x1p14f) - std::bit_cast<uint32_t>(0x1p14f);
  return static_cast<uint8_t>(sign | (bits < 121u << 23 ? subnormal : normal));
}

/// The value of an e4m3 code; +-480 for NaN.
QUANT_INLINE float decode(uint32_t code) {
  uint32_t shifted = (code & 0x7F) << 20;
  float normal = std::bit_cast<float>(shifted + (120u << 23));
  float subnormal = std::bit_cast<float>(shifted | (121u << 23)) - 0x1p-6f;
  float magnitude = (code & 0x78) != 0 ? normal : subnormal;
  return std::bit_cast<float>(std::bit_cast<uint32_t>(magnitude) | (code & 0x80) << 24);
}

//===----------------------------------------------------------------------===//
// Rows
//===----------------------------------------------------------------------===//

template <typename Element>
QUANT_INLINE void amaxRow(const std::byte *row, int64_t columns, int64_t blockColumns, uint32_t *magnitudes) {
  const auto *in = reinterpret_cast<const typename Element::Bits *>(row);
  for (int64_t begin = 0; begin < columns; begin += blockColumns, ++magnitudes) {
    int64_t end = std::min(columns, begin + blockColumns);
    typename Element::Bits largest = 0;
    for (int64_t i = begin; i < end; ++i) {
      typename Element::Bits magnitude = in[i] & Element::kMagnitude;
      largest = magnitude > largest ? magnitude : largest;
    }
    *magnitudes = std::max<uint32_t>(*magnitudes, largest);
  }
}

template <typename Element>
QUANT_INLINE void quantizeRow(const std::byte *row, int64_t columns, int64_t blockColumns, const float *divisors,
                              uint8_t *__restrict out) {
  const auto *in = reinterpret_cast<const typename Element::Bits *>(row);
  for (int64_t begin = 0; begin < columns; begin += blockColumns, ++divisors) {
    int64_t end = std::min(columns, begin + blockColumns);
    float divisor = *divisors;
    for (int64_t i = begin; i < end; ++i)
      out[i] = encode(Element::value(in[i]) / divisor);
  }
}

/// Whether the largest code of a block times its scale is finite in the output's type.
QUANT_INLINE bool isFiniteProduct(uint8_t largest, float product, bool isBf16) {
  float stored = isBf16 ? fromBf16(toBf16(product)) : product;
  return largest < 0x7F && std::isfinite(stored);
}

template <typename Element>
QUANT_INLINE bool scaleRow(const std::byte *row, int64_t columns, int64_t blockColumns, const float *scales,
                           std::byte *__restrict outBytes) {
  constexpr bool isBf16 = std::is_same_v<Element, BF16>;
  const auto *in = reinterpret_cast<const uint8_t *>(row);
  auto *out = reinterpret_cast<typename Element::Bits *>(outBytes);
  bool finite = true;
  for (int64_t begin = 0; begin < columns; begin += blockColumns, ++scales) {
    int64_t end = std::min(columns, begin + blockColumns);
    float scale = *scales;
    uint8_t largest = 0;
    for (int64_t i = begin; i < end; ++i) {
      uint8_t magnitude = in[i] & 0x7F;
      largest = magnitude > largest ? magnitude : largest;
    }
    finite &= isFiniteProduct(largest, decode(largest) * scale, isBf16);
    for (int64_t i = begin; i < end; ++i) {
      float value = decode(in[i]) * scale;
      if constexpr (isBf16)
        out[i] = toBf16(value);
      else
        out[i] = std::bit_cast<uint32_t>(value);
    }
  }
  return finite;
}

//===----------------------------------------------------------------------===//
// Instruction sets
//===----------------------------------------------------------------------===//

namespace {

/// run<kernel> is a kernel, inlined into a function of the instruction set and so compiled for it.
struct Baseline {
  template <auto kernel, typename... Args>
  static auto run(Args... args) {
    return kernel(args...);
  }
};

#ifdef __x86_64__
struct Avx2 {
  template <auto kernel, typename... Args>
  [[gnu::target("avx2")]] static auto run(Args... args) {
    return kernel(args...);
  }
};

struct Avx512 {
  template <auto kernel, typename... Args>
  [[gnu::target("avx512f,avx512bw,avx512dq,avx512vl")]] static auto run(Args... args) {
    return kernel(args...);
  }
};
#endif

/// The kernels of an instruction set.
struct Variant {
  Isa isa;
  std::string_view name;
  bool isSupported;
  QuantizeKernels bf16, f16, f32;
  DequantizeRow toBf16, toF32;
};

template <typename Target, typename Element>
constexpr QuantizeKernels kQuantize = {Target::template run<amaxRow<Element>>, Target::template run<quantizeRow<Element>>};

template <typename Target>
Variant variant(Isa isa, std::string_view name, bool isSupported) {
  return {isa,
          name,
          isSupported,
          kQuantize<Target, BF16>,
          kQuantize<Target, F16>,
          kQuantize<Target, F32>,
          Target::template run<scaleRow<BF16>>,
          Target::template run<scaleRow<F32>>};
}

/// In the order of Isa.
const std::vector<Variant> &variants() {
  static const std::vector<Variant> all = {
      variant<Baseline>(Isa::Baseline, "baseline", true),
#ifdef __x86_64__
      variant<Avx2>(Isa::Avx2, "avx2", __builtin_cpu_supports("avx2")),
      variant<Avx512>(Isa::Avx512, "avx512",
                      __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                          __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")),
#endif
  };
  return all;
}

const Variant &variantOf(Isa isa) { return variants()[static_cast<size_t>(isa)]; }

} // namespace

std::string_view convert::name(Isa isa) { return variantOf(isa).name; }

std::vector<Isa> convert::supportedIsas() {
  std::vector<Isa> isas;
  for (const Variant &variant : variants())
    if (variant.isSupported)
      isas.push_back(variant.isa);
  return isas;
}

Isa convert::bestIsa() {
  static const Isa best = supportedIsas().back();
  return best;
}

bool convert::isCastable(DType dtype) { return dtype == DType::BF16 || dtype == DType::F16 || dtype == DType::F32; }

const QuantizeKernels &convert::quantizeKernels(DType dtype, Isa isa) {
  const Variant &variant = variantOf(isa);
  return dtype == DType::BF16 ? variant.bf16 : dtype == DType::F16 ? variant.f16 : variant.f32;
}

float convert::magnitudeValue(DType dtype, uint32_t magnitude) {
  return dtype == DType::BF16 ? BF16::value(magnitude) : dtype == DType::F16 ? F16::value(magnitude) : F32::value(magnitude);
}

DequantizeRow convert::dequantizeRow(DType out, Isa isa) {
  return out == DType::BF16 ? variantOf(isa).toBf16 : variantOf(isa).toF32;
}
