//===- memory.h - global memory and tensor maps ----------------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_TOOLS_QUANT_SIM_MACHINE_MEMORY_H
#define QUANT_TOOLS_QUANT_SIM_MACHINE_MEMORY_H

#include "runtime/support/result.h"

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace quant::sim {

/// A range of global memory whose bounds are known.
struct Allocation {
  std::string name;
  uint64_t address = 0, bytes = 0;
  std::byte *host = nullptr;
  bool writable = true;
  /// The kernel in front may still write or read it: only for threads behind griddepcontrol.wait.
  bool dependent = false;
};

/// The global memory of a launch: allocations far apart, so that an access past an end hits nothing.
class GlobalMemory {
public:
  /// Puts a buffer at `address`, or if that is 0 at the next free one, 256-byte aligned as cudaMalloc does; returns where it is.
  uint64_t add(std::string name, std::span<std::byte> bytes, bool writable, uint64_t address = 0, bool dependent = false);
  void addAt(uint64_t address, std::string name, std::span<std::byte> bytes, bool writable, bool dependent = false);
  /// The allocation that holds `address`, or the one before it that ends nearest; null if there is none.
  const Allocation *near(uint64_t address) const;
  /// The allocation that holds all of [address, address + bytes), or null.
  const Allocation *find(uint64_t address, uint64_t bytes) const;

private:
  /// By address.
  std::vector<Allocation> allocations;
  uint64_t next = 0;
};

/// What the elements of a tensor are: reductions go by it, copies do not care.
enum class ElementKind : uint8_t { Unsigned, Signed, Float, BFloat };

/// What cuTensorMapEncodeTiled stores, unpacked. Element strides are 1, no interleave, zero fill.
struct TensorMap {
  static constexpr int kMaxRank = 5;
  /// CUtensorMap's size and alignment.
  static constexpr uint64_t kBytes = 128, kAlign = 64;

  uint32_t rank = 0, elementBytes = 0, swizzleBytes = 0;
  ElementKind kind = ElementKind::Unsigned;
  uint64_t address = 0;
  /// Innermost first; strides in bytes, that of the innermost is elementBytes.
  std::array<uint64_t, kMaxRank> dim = {}, stride = {};
  std::array<uint32_t, kMaxRank> box = {};

  uint64_t boxBytes() const;
  /// Refuses what cuTensorMapEncodeTiled refuses.
  Result<void> check() const;
  /// To and from the 128 opaque bytes of a kernel parameter.
  std::array<std::byte, kBytes> pack() const;
  static Result<TensorMap> unpack(const std::byte *bytes);
};

/// The address that TMA and wgmma use for `address` in a tile with that swizzle: 16-byte chunks are exchanged within 128, 64 or
/// 32 bytes by bits further up (PTX ISA, "Swizzling modes").
inline uint64_t swizzled(uint64_t address, uint32_t swizzleBytes) {
  uint64_t mask = swizzleBytes == 128 ? 0x70 : swizzleBytes == 64 ? 0x30 : swizzleBytes == 32 ? 0x10 : 0;
  return address ^ (address >> 3 & mask);
}

} // namespace quant::sim

#endif // QUANT_TOOLS_QUANT_SIM_MACHINE_MEMORY_H
