//===- number_format.cpp - numbers in few bits, and their scales ----------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/quant-convert/quantize/number_format.h"

#include "runtime/support/narrow.h"
#include "tools/quant-convert/schemes/cast_kernels.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>

using namespace quant;
using namespace quant::convert;

static constexpr std::array<float, 16> kE2M1 = {0, 0.5f, 1, 1.5f, 2, 3, 4, 6, -0.0f, -0.5f, -1, -1.5f, -2, -3, -4, -6};
/// Of zeros, as compressed-tensors has it: eps of f32, and of E4M3.
static constexpr float kZeroScale = 0x1p-23f, kZeroE4M3Scale = 0.125f;
/// The largest E4M3 times the largest E2M1.
static constexpr float kNvfp4Range = 448 * 6;

NumberFormat::NumberFormat(const Scheme &scheme, bool zeroPoints)
    : element(scheme.element == DType::U4 ? DType::I4 : scheme.element), scaleType(scheme.scale), zeroPoints(zeroPoints),
      isGptq(scheme.method == "gptq"), isDeepSeek(scheme.method == "fp8"), isLessOne(scheme.zeroPoints == ZeroPoints::LessOne),
      low(element == DType::I4 ? -8 : -128), high(element == DType::I4 ? 7 : 127) {
  bool isInteger = element == DType::I4 || element == DType::I8;
  fullRange = isInteger ? static_cast<float>(high - low) / 2 : element == DType::F4E2M1FN ? 6.0f : 448.0f;
}

float NumberFormat::globalScale(float amax) {
  float scale = (1 / std::max(amax, 0x1p-126f)) * kNvfp4Range; // as torch divides a number by a tensor
  return std::isfinite(scale) ? scale : 1;
}

/// The power of two of an MX group: amax down to a power of two, up from a fraction of 1.75, over the element's largest power
/// (generate_mx_scales: E4M3's group is rounded as E2M1's).
static float mxScale(float amax, DType element) {
  int largestPower = element == DType::F4E2M1FN ? 2 : 8;
  int exponent = static_cast<int>((std::bit_cast<uint32_t>(amax) + (1u << 21)) >> 23);
  return decodeE8M0(static_cast<uint8_t>(std::clamp(exponent - largestPower, 0, 254)));
}

float NumberFormat::storedScale(float scale) const {
  switch (scaleType) {
  case DType::BF16:
    return fromBf16(toBf16(scale));
  case DType::F16:
    return fromF16(static_cast<uint16_t>(encodeFloat(scale, kF16, Rounding::NearestEven, Overflow::Infinity)));
  case DType::F8E4M3FN:
    return static_cast<float>(decodeFloat(encodeFloat(scale, kE4M3FN), kE4M3FN));
  default:
    return scale;
  }
}

float NumberFormat::symmetricScale(float amax, float global) const {
  if (scaleType == DType::F8E8M0FNU)
    return mxScale(amax, element);
  if (amax == 0)
    return isDeepSeek ? 1 : isGptq ? storedScale(2.0f / 15) : hasGlobalScale() ? kZeroE4M3Scale : kZeroScale;
  float scale = storedScale(hasGlobalScale() ? global * (amax / fullRange) : amax / fullRange);
  if (scale > 0)
    return scale;
  // Smaller than the type holds.
  return hasGlobalScale() ? kZeroE4M3Scale : isGptq ? 0x1p-24f : isDeepSeek ? 0x1p-149f : kZeroScale;
}

Parameters NumberFormat::fit(float lowest, float highest, float global) const {
  if (!zeroPoints)
    return {symmetricScale(std::max(std::abs(lowest), std::abs(highest)), global), 0};
  if (lowest == 0 && highest == 0) // of AutoGPTQ between -1 and 1
    return {symmetricScale(0, global), isGptq ? 0 : low};
  float scale = storedScale((highest - lowest) / static_cast<float>(high - low));
  if (scale == 0)
    scale = isGptq ? 0x1p-24f : kZeroScale;
  auto zeroOf = [&](float step) {
    auto least = static_cast<float>(low), most = static_cast<float>(high);
    if (isGptq) // which counts from 0
      return static_cast<int>(std::nearbyint(std::clamp(-lowest / step, 0.0f, most - least))) + low;
    return static_cast<int>(std::nearbyint(std::clamp(least - lowest / step, least, most)));
  };
  Parameters found = {scale, zeroOf(scale)};
  if (isLessOne && found.zero == low)
    found = {storedScale((highest - lowest) / static_cast<float>(high - low - 1)), low + 1};
  return found;
}

//===----------------------------------------------------------------------===//
// Codes
//===----------------------------------------------------------------------===//

/// To the nearest integer, ties to even, by the rounding of an addition. @pre |x| < 2^22
static inline float nearest(float x) {
  constexpr float kShift = 0x1.8p23f;
  return (x + kShift) - kShift;
}

static inline float clip(float x, float low, float high) {
  float atLeast = x > low ? x : low;
  return atLeast < high ? atLeast : high;
}

/// Ties to even: 0.25 to 0, 0.75 to 1, 1.25 to 1, 1.75 to 2, 2.5 to 2, 3.5 to 4, 5 to 4.
static inline uint8_t encodeE2M1(float x) {
  float a = std::fabs(x);
  int code = (a > 0.25f) + (a >= 0.75f) + (a > 1.25f) + (a >= 1.75f) + (a > 2.5f) + (a >= 3.5f) + (a > 5);
  return static_cast<uint8_t>(code | (std::bit_cast<uint32_t>(x) >> 28 & 8));
}

void NumberFormat::encode(std::span<const float> values, const Parameters &parameters, float global, uint8_t *codes) const {
  float scale = hasGlobalScale() ? parameters.scale / global : parameters.scale;
  if (element == DType::F8E4M3FN) {
    auto count = static_cast<int64_t>(values.size());
    return quantizeKernels(DType::F32)
        .quantizeRow(std::as_bytes(values).data(), count, std::max<int64_t>(1, count), &scale, codes);
  }
  if (element == DType::F4E2M1FN) {
    for (size_t i = 0; i < values.size(); ++i)
      codes[i] = encodeE2M1(values[i] / scale);
    return;
  }
  auto zero = static_cast<float>(parameters.zero), lowest = static_cast<float>(low), highest = static_cast<float>(high);
  if (isGptq) // the quotient is rounded, and the zero point added
    for (size_t i = 0; i < values.size(); ++i)
      codes[i] =
          static_cast<uint8_t>(static_cast<int8_t>(nearest(clip(values[i] / scale, lowest - zero, highest - zero)) + zero));
  else
    for (size_t i = 0; i < values.size(); ++i)
      codes[i] = static_cast<uint8_t>(static_cast<int8_t>(nearest(clip(values[i] / scale + zero, lowest, highest))));
}

void NumberFormat::decode(std::span<const uint8_t> codes, const Parameters &parameters, float global, float *values) const {
  float scale = hasGlobalScale() ? parameters.scale / global : parameters.scale;
  static const CodeValues kE4M3 = valuesOf(kE4M3FN);
  if (element == DType::F8E4M3FN)
    for (size_t i = 0; i < codes.size(); ++i)
      values[i] = kE4M3[codes[i]] * scale;
  else if (element == DType::F4E2M1FN)
    for (size_t i = 0; i < codes.size(); ++i)
      values[i] = kE2M1[codes[i] & 0xF] * scale;
  else
    for (size_t i = 0; i < codes.size(); ++i)
      values[i] = static_cast<float>(static_cast<int8_t>(codes[i]) - parameters.zero) * scale;
}

float NumberFormat::round(float value, const Parameters &parameters, float global, uint8_t &code) const {
  encode({&value, 1}, parameters, global, &code);
  float rounded = 0;
  decode({&code, 1}, parameters, global, &rounded);
  return rounded;
}
