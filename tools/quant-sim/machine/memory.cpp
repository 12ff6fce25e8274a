//===- memory.cpp - global memory and tensor maps --------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/quant-sim/machine/memory.h"

#include "tools/quant-sim/machine/program.h"

#include <fmt/core.h>

#include <algorithm>
#include <cstring>

namespace quant::sim {

namespace {
constexpr uint64_t kBufferAlign = 256, kGuardBytes = uint64_t(1) << 32;
constexpr uint64_t kMapMagic = 0x70616d2d6d697371; // "qsim-map"

/// What pack() writes; the rest of the 128 bytes is zero. Strides are multiples of 16, kept in units of it like the hardware
/// does.
struct PackedMap {
  uint64_t magic, address;
  uint8_t rank, elementBytes, swizzleBytes, kind;
  uint32_t dim[TensorMap::kMaxRank];
  uint64_t stride[TensorMap::kMaxRank - 1];
  uint16_t box[TensorMap::kMaxRank];
};
static_assert(sizeof(PackedMap) <= TensorMap::kBytes);
} // namespace

void GlobalMemory::addAt(uint64_t address, std::string name, std::span<std::byte> bytes, bool writable, bool dependent) {
  auto after = std::upper_bound(allocations.begin(), allocations.end(), address,
                                [](uint64_t address, const Allocation &other) { return address < other.address; });
  allocations.insert(after, {std::move(name), address, bytes.size(), bytes.data(), writable, dependent});
}

uint64_t GlobalMemory::add(std::string name, std::span<std::byte> bytes, bool writable, uint64_t address, bool dependent) {
  if (address) {
    addAt(address, std::move(name), bytes, writable, dependent);
    return address;
  }
  address = std::max(next, kBuffers);
  next = (address + bytes.size() + kGuardBytes + kBufferAlign - 1) / kBufferAlign * kBufferAlign;
  addAt(address, std::move(name), bytes, writable, dependent);
  return address;
}

const Allocation *GlobalMemory::near(uint64_t address) const {
  auto after = std::upper_bound(allocations.begin(), allocations.end(), address,
                                [](uint64_t address, const Allocation &other) { return address < other.address; });
  return after == allocations.begin() ? nullptr : &*std::prev(after);
}

const Allocation *GlobalMemory::find(uint64_t address, uint64_t bytes) const {
  const Allocation *at = near(address);
  return at && address - at->address <= at->bytes && bytes <= at->bytes - (address - at->address) ? at : nullptr;
}

uint64_t TensorMap::boxBytes() const {
  uint64_t bytes = elementBytes;
  for (uint32_t i = 0; i < rank; ++i)
    bytes *= box[i];
  return bytes;
}

Result<void> TensorMap::check() const {
  constexpr uint64_t kMaxDim = uint64_t(1) << 32, kMaxStride = uint64_t(1) << 40;
  if (rank < 1 || rank > kMaxRank)
    return fail(fmt::format("a tensor map of rank {} (1 to 5)", rank));
  if (elementBytes != 1 && elementBytes != 2 && elementBytes != 4 && elementBytes != 8)
    return fail(fmt::format("a tensor map of elements of {} bytes", elementBytes));
  if (swizzleBytes != 0 && swizzleBytes != 32 && swizzleBytes != 64 && swizzleBytes != 128)
    return fail(fmt::format("a tensor map with a swizzle of {} bytes", swizzleBytes));
  if (address % 16)
    return fail("a tensor that is not 16-byte aligned");
  for (uint32_t i = 0; i < rank; ++i) {
    if (dim[i] < 1 || dim[i] > kMaxDim)
      return fail(fmt::format("a tensor of size {} in dimension {} (1 to 2^32)", dim[i], i));
    if (box[i] < 1 || box[i] > machine::kSm90a.tmaBoxSide)
      return fail(fmt::format("a box of size {} in dimension {} (1 to {})", box[i], i, machine::kSm90a.tmaBoxSide));
    if (i > 0 && (stride[i] % 16 || stride[i] >= kMaxStride))
      return fail(fmt::format("a stride of {} bytes (a multiple of 16 below 2^40)", stride[i]));
  }
  uint64_t inner = uint64_t(box[0]) * elementBytes;
  if (inner % 16)
    return fail(fmt::format("a box of {} bytes in dimension 0 (a multiple of 16)", inner));
  if (swizzleBytes && inner > swizzleBytes)
    return fail(fmt::format("a box of {} bytes in dimension 0, beyond its swizzle of {}", inner, swizzleBytes));
  return {};
}

std::array<std::byte, TensorMap::kBytes> TensorMap::pack() const {
  PackedMap packed = {};
  packed.magic = kMapMagic;
  packed.address = address;
  packed.rank = static_cast<uint8_t>(rank);
  packed.elementBytes = static_cast<uint8_t>(elementBytes);
  packed.swizzleBytes = static_cast<uint8_t>(swizzleBytes);
  packed.kind = static_cast<uint8_t>(kind);
  for (uint32_t i = 0; i < rank; ++i) {
    packed.dim[i] = static_cast<uint32_t>(dim[i] - 1);
    packed.box[i] = static_cast<uint16_t>(box[i]);
    if (i > 0)
      packed.stride[i - 1] = stride[i];
  }
  std::array<std::byte, kBytes> bytes = {};
  std::memcpy(bytes.data(), &packed, sizeof packed);
  return bytes;
}

Result<TensorMap> TensorMap::unpack(const std::byte *bytes) {
  PackedMap packed;
  std::memcpy(&packed, bytes, sizeof packed);
  if (packed.magic != kMapMagic)
    return fail("there is no tensor map at that address");
  TensorMap map;
  map.rank = std::min<uint32_t>(packed.rank, kMaxRank + 1);
  map.elementBytes = packed.elementBytes;
  map.swizzleBytes = packed.swizzleBytes;
  map.kind = static_cast<ElementKind>(packed.kind & 3);
  map.address = packed.address;
  for (uint32_t i = 0; i < std::min<uint32_t>(map.rank, kMaxRank); ++i) {
    map.dim[i] = uint64_t(packed.dim[i]) + 1;
    map.box[i] = packed.box[i];
    map.stride[i] = i == 0 ? packed.elementBytes : packed.stride[i - 1];
  }
  QUANT_TRY(map.check());
  return map;
}

} // namespace quant::sim
