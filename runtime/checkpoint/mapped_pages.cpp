//===- mapped_pages.cpp - which pages of a mapped file are read -----------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/checkpoint/mapped_pages.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>

namespace quant::checkpoint {

/// Linux reads no more than this for a call where read_ahead_kb has its default, and says nothing of the rest.
static constexpr uintptr_t kMostBytesAhead = 128 << 10;

namespace {
/// The addresses of the pages that hold `bytes`.
struct Pages {
  uintptr_t begin, end;

  explicit Pages(std::span<const std::byte> bytes) {
    static const auto page = static_cast<uintptr_t>(::sysconf(_SC_PAGESIZE));
    begin = reinterpret_cast<uintptr_t>(bytes.data()) & ~(page - 1);
    end = bytes.empty() ? begin : (reinterpret_cast<uintptr_t>(bytes.data() + bytes.size()) + page - 1) & ~(page - 1);
  }
};
} // namespace

// Advice only: errors do not matter.

void willRead(std::span<const std::byte> bytes) {
  Pages pages(bytes);
  for (uintptr_t at = pages.begin; at < pages.end; at += kMostBytesAhead)
    ::madvise(reinterpret_cast<void *>(at), std::min(kMostBytesAhead, pages.end - at), MADV_WILLNEED);
}

void doneReading(std::span<const std::byte> bytes) {
  // A page that is shared with a neighbour may be in use by another thread; dropping it costs that one a page fault at most.
  Pages pages(bytes);
  if (pages.begin < pages.end)
    ::madvise(reinterpret_cast<void *>(pages.begin), pages.end - pages.begin, MADV_DONTNEED);
}

} // namespace quant::checkpoint
