//===- bpe.h - byte pair encoding of a word ------------------- -*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_TOOLS_TEXT_BPE_H
#define QUANT_TOOLS_TEXT_BPE_H

#include <array>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace quant::text {

/// A merge of two tokens: the lower its rank, the earlier it is done.
struct Merge {
  uint32_t rank = UINT32_MAX; ///< UINT32_MAX: there is none
  int32_t id = 0;             ///< of the token that both become
};

/// The merges of a vocabulary (Sennrich et al., arXiv 1508.07909), found by both tokens: a hash table with open addressing.
class MergeTable {
public:
  explicit MergeTable(size_t count = 0);
  /// Adds a merge of two ids that are not negative; of several merges of the same two the last one counts.
  void add(int32_t left, int32_t right, Merge merge);
  Merge find(int32_t left, int32_t right) const;

private:
  struct Slot {
    uint64_t key = UINT64_MAX;
    Merge merge;
  };
  size_t slotOf(uint64_t key) const;
  std::vector<Slot> slots; ///< a power of two of them, at most half of them taken
};

/// Merges the bytes of words into tokens. One thread at a time may use it.
class WordMerger {
public:
  /// `bytes` are the ids of single bytes. Both must outlive the merger.
  WordMerger(const std::array<int32_t, 256> &bytes, const MergeTable &merges) : bytes(bytes), merges(merges) {}

  /// The tokens of `word`: the merge of the lowest rank first, of equals the leftmost, until there is none left. Good until the
  /// next call.
  std::span<const int32_t> merge(std::string_view word);

private:
  void mergeShort();
  void mergeLong();

  const std::array<int32_t, 256> &bytes;
  const MergeTable &merges;
  std::vector<int32_t> ids;
  std::vector<Merge> pairs;           ///< of ids[i] and the next
  std::vector<uint32_t> next, before; ///< of mergeLong: links between the ids that are left
};

} // namespace quant::text

#endif // QUANT_TOOLS_TEXT_BPE_H
