//===- scales.cpp - are block scales numbers to scale by? -----------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/device/common/scales.h"

#include "runtime/support/narrow.h"
#include "runtime/support/text.h"

#include <atomic>
#include <bit>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <sys/mman.h>
#include <unistd.h>

namespace quant::runtime {

using checkpoint::Checkpoint;

static constexpr size_t kNone = SIZE_MAX;

template <typename Bits>
static Bits bitsAt(std::span<const std::byte> data, size_t index) {
  Bits bits; // in the file at any alignment
  std::memcpy(&bits, data.data() + index * sizeof bits, sizeof bits);
  return bits;
}

/// The first element that is not finite and at least 0, -0 included, in a format with the bits of `infinity` and a sign on top.
template <typename Bits>
static size_t firstBad(std::span<const std::byte> data, Bits infinity) {
  constexpr auto minusZero = static_cast<Bits>(Bits{1} << (8 * sizeof(Bits) - 1));
  auto isBad = [&](size_t i) {
    auto bits = bitsAt<Bits>(data, i);
    return (bits >= infinity) & (bits != minusZero);
  };
  size_t count = data.size() / sizeof(Bits);
  bool any = false; // without a branch: a vector loop
  for (size_t i = 0; i < count; ++i)
    any |= isBad(i);
  for (size_t i = 0; any && i < count; ++i)
    if (isBad(i))
      return i;
  return kNone;
}

static size_t firstBad(const Checkpoint::Tensor &tensor) {
  switch (tensor.info->dtype) {
  case checkpoint::DType::F32:
    return firstBad<uint32_t>(tensor.data, 0x7f800000);
  case checkpoint::DType::F16:
    return firstBad<uint16_t>(tensor.data, 0x7c00);
  case checkpoint::DType::BF16:
    return firstBad<uint16_t>(tensor.data, 0x7f80);
  case checkpoint::DType::F8E8M0FNU: {
    const void *found = tensor.data.empty() ? nullptr : std::memchr(tensor.data.data(), 0xff, tensor.data.size());
    return found ? static_cast<size_t>(static_cast<const std::byte *>(found) - tensor.data.data()) : kNone;
  }
  default: // refused with the module
    return kNone;
  }
}

static double valueAt(const Checkpoint::Tensor &tensor, size_t index) {
  switch (tensor.info->dtype) {
  case checkpoint::DType::F32:
    return std::bit_cast<float>(bitsAt<uint32_t>(tensor.data, index));
  case checkpoint::DType::F16:
    return fromF16(bitsAt<uint16_t>(tensor.data, index));
  case checkpoint::DType::BF16:
    return fromBf16(bitsAt<uint16_t>(tensor.data, index));
  default: // F8_E8M0, whose 0xFF alone is bad
    return NAN;
  }
}

/// "[3, 5]": where the element stands in a row-major tensor.
static std::string blockText(const std::vector<int64_t> &shape, size_t index) {
  std::string text;
  for (auto extent = shape.rbegin(); extent != shape.rend(); ++extent) {
    text = std::to_string(index % static_cast<size_t>(*extent)) + (text.empty() ? "" : ", ") + text;
    index /= static_cast<size_t>(*extent);
  }
  return "[" + text + "]";
}

static Error badScale(const Checkpoint::Tensor &tensor) {
  size_t index = firstBad(tensor);
  if (index == kNone)
    return {printable(tensor.file->path().native()) + ": was written to while its scales were checked"};
  double value = valueAt(tensor, index);
  char text[32];
  std::snprintf(text, sizeof text, "%.9g", value);
  return {"tensor " + quote(tensor.info->name) + " in " + printable(tensor.file->path().native()) + ": the scale of block " +
          blockText(tensor.info->shape, index) + " is " + (std::isnan(value) ? "NaN" : text) +
          ", scales are finite and not negative; is the file damaged?"};
}

/// Has the system read the tensor's pages and no others; does not wait. A page fault alone would read a hundred KB of the weights
/// around it, and one fault of a thread would wait for the other.
static void readAhead(const Checkpoint::Tensor &tensor) {
  static const auto pageBytes = static_cast<uintptr_t>(::sysconf(_SC_PAGESIZE));
  auto begin = reinterpret_cast<uintptr_t>(tensor.data.data()) / pageBytes * pageBytes;
  auto end = reinterpret_cast<uintptr_t>(tensor.data.data() + tensor.data.size());
  ::madvise(reinterpret_cast<void *>(begin), end - begin, MADV_WILLNEED); // advice only: errors do not matter
}

Result<void> checkScales(std::span<const Checkpoint::Tensor *const> tensors, ThreadPool &pool) {
  pool.run(static_cast<int64_t>(tensors.size()), [&](int /*worker*/, int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i)
      readAhead(*tensors[static_cast<size_t>(i)]);
  });
  std::atomic<size_t> worst = kNone;
  pool.run(static_cast<int64_t>(tensors.size()), [&](int /*worker*/, int64_t begin, int64_t end) {
    for (auto i = static_cast<size_t>(begin); i < static_cast<size_t>(end); ++i)
      if (firstBad(*tensors[i]) != kNone) {
        size_t known = worst.load();
        while (i < known && !worst.compare_exchange_weak(known, i)) {
        }
      }
  });
  if (worst.load() != kNone)
    return tl::unexpected(badScale(*tensors[worst.load()]));
  return {};
}

} // namespace quant::runtime
