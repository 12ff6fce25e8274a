//===- shadow.h - who touched shared memory when ---------------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

//
// Happens-before by vector clocks (Mattern 1989; FastTrack, Flanagan and Freund 2009), with two additions for Hopper: what runs
// asynchronously has a clock component of its own, and a second clock knows what a proxy fence has made visible to the async
// proxy.
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_TOOLS_QUANT_SIM_MACHINE_SHADOW_H
#define QUANT_TOOLS_QUANT_SIM_MACHINE_SHADOW_H

#include <algorithm>
#include <cstdint>
#include <functional>
#include <vector>

namespace quant::sim {

/// A vector clock; a cluster's blocks share its components. Components ("channels"): a warp; the wgmmas of a warpgroup, by group;
/// the bulk stores of a thread and the cp.asyncs of a warp, by group; the TMA loads of an mbarrier, by phase.
class Clock {
public:
  uint32_t get(uint32_t channel) const { return channel < at.size() ? at[channel] : 0; }
  void raise(uint32_t channel, uint32_t value) {
    if (channel >= at.size())
      at.resize(channel + 1);
    at[channel] = std::max(at[channel], value);
  }
  void merge(const Clock &other) {
    if (other.at.size() > at.size())
      at.resize(other.at.size());
    for (size_t i = 0; i < other.at.size(); ++i)
      at[i] = std::max(at[i], other.at[i]);
  }

private:
  std::vector<uint32_t> at;
};

/// What a thread knows has happened, and which of that a proxy fence stands behind.
struct Knowledge {
  Clock seen, fenced;
  /// mbarrier.inits that have become visible by fence.mbarrier_init and a relaxed arrival alone.
  Clock inits;
  /// A thread has executed griddepcontrol.wait.
  bool gridWaited = false;
  void merge(const Knowledge &other) {
    gridWaited |= other.gridWaited;
    seen.merge(other.seen);
    fenced.merge(other.fenced);
    inits.merge(other.inits);
  }
};

/// One access to shared memory, in the name of `channel` at `clock`.
struct Access {
  bool throughAsyncProxy() const { return async && !generic; }

  uint32_t clock = 0;
  uint32_t pc = 0;
  uint16_t channel = 0;
  /// It runs asynchronously; if `generic` (cp.async), through the same proxy as ordinary accesses.
  bool async : 1 = false;
  bool generic : 1 = false;
  /// Which bytes of the word; 0: no access.
  uint8_t bytes = 0;
};

/// How two accesses are out of order.
enum class Conflict : uint8_t {
  NoFence,        ///< ordered, but between the proxies without a proxy fence
  Unordered,      ///< two ordinary accesses
  AsyncUnordered, ///< at least one of them runs asynchronously
};

/// The accesses of a block to its shared memory, word by word.
class Shadow {
public:
  /// Called with an earlier access that is not ordered before the one at hand.
  using Report = std::function<void(Conflict conflict, const Access &earlier, bool earlierWrites, uint64_t address)>;

  explicit Shadow(uint64_t bytes) : words((bytes + 3) / 4), written((bytes + 3) / 4) {}

  /// `access` reads or writes [address, address + bytes); the issuing thread knows `known`. Offsets count from the memory's
  /// start.
  void read(uint64_t address, uint64_t bytes, Access access, const Knowledge &known, const Report &report);
  void write(uint64_t address, uint64_t bytes, Access access, const Knowledge &known, const Report &report);
  /// First address in the range that nothing has written, or the range's end.
  uint64_t firstUnwritten(uint64_t address, uint64_t bytes) const;
  void markWritten(uint64_t address, uint64_t bytes);

private:
  static constexpr int kReads = 3;
  struct Word {
    Access write;
    Access reads[kReads];
  };

  std::vector<Word> words;
  /// A bit per byte.
  std::vector<uint8_t> written;
};

} // namespace quant::sim

#endif // QUANT_TOOLS_QUANT_SIM_MACHINE_SHADOW_H
