//===- memory.cpp - pages of our own --------------------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/device/common/memory.h"

#include <fmt/core.h>

#include <cerrno>
#include <cstring>
#include <sys/mman.h>

namespace quant::runtime {

Result<Memory> Memory::allocate(int64_t bytes, const char *what) {
  Memory memory;
  if (bytes == 0)
    return memory;
  auto length = static_cast<size_t>(bytes);
  void *base = mmap(nullptr, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (base == MAP_FAILED)
    return fail(fmt::format("cannot reserve {} bytes for the {}: {}", bytes, what, std::strerror(errno)), ErrorKind::OutOfMemory);
  memory.base = static_cast<std::byte *>(base);
  memory.length = length;
  return memory;
}

Memory::~Memory() {
  if (base)
    munmap(base, length);
}

} // namespace quant::runtime
