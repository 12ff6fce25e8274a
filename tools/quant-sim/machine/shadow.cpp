//===- shadow.cpp - who touched shared memory when -------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/quant-sim/machine/shadow.h"

#include <optional>

namespace quant::sim {

namespace {

/// The bytes of word `index` that the range covers.
uint8_t coveredBytes(uint64_t index, uint64_t begin, uint64_t end) {
  uint64_t first = std::max(begin, index * 4) - index * 4, last = std::min(end, index * 4 + 4) - index * 4;
  return static_cast<uint8_t>((1u << last) - (1u << first));
}

/// How `earlier` is out of order with `access`, if it is. Ordinary writes reach the async proxy only through a proxy fence (PTX
/// ISA, "Async proxy"); that an ordinary read is over before an asynchronous write needs ordering alone.
std::optional<Conflict> conflict(const Access &earlier, bool earlierWrites, const Access &access, const Knowledge &known) {
  if (!(earlier.bytes & access.bytes))
    return std::nullopt;
  bool seen = known.seen.get(earlier.channel) >= earlier.clock || (earlier.channel == access.channel && !earlier.async);
  if (!seen)
    return earlier.async || access.async ? Conflict::AsyncUnordered : Conflict::Unordered;
  bool needsFence = access.throughAsyncProxy() && !earlier.throughAsyncProxy() && earlierWrites;
  return needsFence && known.fenced.get(earlier.channel) < earlier.clock ? std::optional(Conflict::NoFence) : std::nullopt;
}

} // namespace

void Shadow::read(uint64_t address, uint64_t bytes, Access access, const Knowledge &known, const Report &report) {
  uint64_t end = address + bytes;
  for (uint64_t i = address / 4; i < (end + 3) / 4 && i < words.size(); ++i) {
    Word &word = words[i];
    access.bytes = coveredBytes(i, address, end);
    if (auto found = conflict(word.write, true, access, known))
      report(*found, word.write, true, i * 4);
    Access *to = nullptr;
    for (Access &read : word.reads)
      if (read.bytes == 0 || (read.channel == access.channel && read.async == access.async)) {
        to = &read;
        break;
      }
    // With more readers than places the oldest is forgotten: a conflict with it goes unseen, none is made up.
    if (!to)
      to = std::min_element(word.reads, word.reads + kReads, [](const Access &a, const Access &b) { return a.clock < b.clock; });
    bool sameReader = to->bytes && to->channel == access.channel && to->async == access.async;
    Access merged = access;
    if (sameReader) {
      merged.bytes |= to->bytes;
      // The warps of a warpgroup read in any order.
      merged.clock = std::max(access.clock, to->clock);
    }
    *to = merged;
  }
}

void Shadow::write(uint64_t address, uint64_t bytes, Access access, const Knowledge &known, const Report &report) {
  uint64_t end = address + bytes;
  for (uint64_t i = address / 4; i < (end + 3) / 4 && i < words.size(); ++i) {
    Word &word = words[i];
    access.bytes = coveredBytes(i, address, end);
    if (auto found = conflict(word.write, true, access, known))
      report(*found, word.write, true, i * 4);
    for (Access &read : word.reads) {
      if (auto found = conflict(read, false, access, known))
        report(*found, read, false, i * 4);
      if (!(read.bytes & ~access.bytes))
        read = {};
    }
    bool sameWriter = word.write.channel == access.channel && word.write.async == access.async;
    uint8_t kept = sameWriter ? word.write.bytes : 0;
    word.write = access;
    word.write.bytes |= kept;
    written[i] |= access.bytes;
  }
}

uint64_t Shadow::firstUnwritten(uint64_t address, uint64_t bytes) const {
  uint64_t end = address + bytes;
  for (uint64_t i = address / 4; i < (end + 3) / 4 && i < words.size(); ++i) {
    uint8_t missing = coveredBytes(i, address, end) & ~written[i];
    if (missing)
      return i * 4 + __builtin_ctz(missing);
  }
  return end;
}

void Shadow::markWritten(uint64_t address, uint64_t bytes) {
  uint64_t end = address + bytes;
  for (uint64_t i = address / 4; i < (end + 3) / 4 && i < words.size(); ++i)
    written[i] |= coveredBytes(i, address, end);
}

} // namespace quant::sim
