//===- latent_cache.cpp - rows of the latent cache in tests ---------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "test/lowering/latent_cache.h"

#include "runtime/support/narrow.h"

#include <algorithm>
#include <cmath>
#include <cstring>

using namespace quant;
using namespace quant::test;

static int64_t roundUp(int64_t value, int64_t multiple) { return (value + multiple - 1) / multiple * multiple; }

template <typename T>
static void put(std::byte *place, T value) {
  std::memcpy(place, &value, sizeof value);
}

template <typename T>
static T get(const std::byte *place) {
  T value;
  std::memcpy(&value, place, sizeof value);
  return value;
}

int64_t LatentCache::firstScale() const { return format == "int4" ? groups() * 16 : roundUp(latent, scaleBytes()); }

int64_t LatentCache::rowBytes() const {
  if (!isOfBytes())
    return (latent + rope) * (format == "f32" ? 4 : 2);
  return roundUp(firstRope() + 2 * rope, scaleBytes());
}

std::string LatentCache::type() const {
  return "memref<?x" + std::to_string(isOfBytes() ? rowBytes() : latent + rope) + "x" + (isOfBytes() ? "i8" : format) + ">";
}

double LatentCache::error() const {
  if (format == "f32")
    return 4e-6;
  return format == "bf16" ? 0x1p-8 : format == "fp8" ? 1 / 27.0 : format == "int8" ? 1 / 250.0 : 1 / 13.0;
}

void LatentCache::storeLatent(const float *values, std::byte *row) const {
  double largest = format == "fp8" ? 448 : format == "int8" ? 127 : 7;
  for (int64_t group = 0; group < groups(); ++group) {
    double amax = 1e-4;
    int64_t first = group * groupColumns(), end = std::min(first + groupColumns(), latent);
    for (int64_t c = first; c < end; ++c)
      amax = std::max(amax, std::abs(double(values[c])));
    double scale = amax / largest;
    std::byte *place = row + firstScale() + group * scaleBytes();
    if (format == "fp8") {
      put(place, static_cast<float>(scale));
    } else {
      auto code = static_cast<uint16_t>(encodeFloat(scale, kF16));
      put(place, code);
      scale = fromF16(code);
    }
    for (int64_t c = first; c < end; ++c) {
      double code = std::clamp(std::nearbyint(values[c] / scale), -largest - 1, largest);
      if (format == "fp8")
        put(row + c, static_cast<uint8_t>(encodeFloat(values[c] / scale, kE4M3FN)));
      else if (format == "int8")
        put(row + c, static_cast<int8_t>(code));
      else {
        std::byte *pair = row + c / 32 * 16 + c % 16;
        int low = c % 32 < 16 ? static_cast<int>(code) + 8 : get<int8_t>(pair) & 15;
        int high = c % 32 < 16 ? 0 : static_cast<int>(code);
        put(pair, static_cast<int8_t>(16 * high + low));
      }
    }
  }
}

void LatentCache::loadLatent(const std::byte *row, float *values) const {
  for (int64_t c = 0; c < latent; ++c) {
    const std::byte *place = row + firstScale() + c / groupColumns() * scaleBytes();
    if (format == "fp8") {
      values[c] = static_cast<float>(decodeFloat(get<uint8_t>(row + c), kE4M3FN)) * get<float>(place);
      continue;
    }
    int code = get<int8_t>(row + c);
    if (format == "int4") {
      int pair = get<int8_t>(row + c / 32 * 16 + c % 16);
      code = c % 32 < 16 ? (pair & 15) - 8 : pair >> 4;
    }
    values[c] = static_cast<float>(code) * fromF16(get<uint16_t>(place));
  }
}

Memory LatentCache::store(std::vector<float> &values) const {
  int64_t columns = latent + rope, rows = static_cast<int64_t>(values.size()) / columns;
  Memory memory = Memory::room<uint8_t>(rows * rowBytes());
  if (format == "f32") {
    memory = Memory::of(values);
  } else {
    for (int64_t r = 0; r < rows; ++r) {
      const float *row = values.data() + r * columns;
      std::byte *to = memory.bytes.data() + r * rowBytes();
      if (isOfBytes())
        storeLatent(row, to);
      for (int64_t c = isOfBytes() ? latent : 0; c < columns; ++c)
        put(to + (isOfBytes() ? firstRope() + 2 * (c - latent) : 2 * c), toBf16(row[c]));
    }
  }
  values = load(memory);
  return memory;
}

std::vector<float> LatentCache::load(const Memory &memory) const {
  if (format == "f32")
    return memory.as<float>();
  int64_t columns = latent + rope, rows = static_cast<int64_t>(memory.bytes.size()) / rowBytes();
  std::vector<float> values(static_cast<size_t>(rows * columns));
  for (int64_t r = 0; r < rows; ++r) {
    float *row = values.data() + r * columns;
    const std::byte *from = memory.bytes.data() + r * rowBytes();
    if (isOfBytes())
      loadLatent(from, row);
    for (int64_t c = isOfBytes() ? latent : 0; c < columns; ++c)
      row[c] = fromBf16(get<uint16_t>(from + (isOfBytes() ? firstRope() + 2 * (c - latent) : 2 * c)));
  }
  return values;
}
