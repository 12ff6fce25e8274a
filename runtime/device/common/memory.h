//===- memory.h - pages of our own ------------------------------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_RUNTIME_DEVICE_COMMON_MEMORY_H
#define QUANT_RUNTIME_DEVICE_COMMON_MEMORY_H

#include "runtime/support/result.h"

#include <cstddef>
#include <cstdint>
#include <utility>

namespace quant::runtime {

/// Zeroed anonymous pages, unmapped at the end. Pages nobody touches cost no memory. Move-only.
class Memory {
public:
  /// `what` names the memory in errors. 0 bytes is an empty Memory.
  static Result<Memory> allocate(int64_t bytes, const char *what);

  Memory() = default;
  Memory(Memory &&other) noexcept : base(std::exchange(other.base, nullptr)), length(std::exchange(other.length, 0)) {}
  Memory &operator=(Memory &&other) noexcept {
    std::swap(base, other.base);
    std::swap(length, other.length);
    return *this;
  }
  ~Memory();

  /// Aligned to a page; null if empty.
  std::byte *data() const { return base; }
  size_t size() const { return length; }

private:
  std::byte *base = nullptr;
  size_t length = 0;
};

} // namespace quant::runtime

#endif // QUANT_RUNTIME_DEVICE_COMMON_MEMORY_H
