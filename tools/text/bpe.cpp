//===- bpe.cpp - byte pair encoding of a word -----------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/text/bpe.h"

#include <algorithm>
#include <bit>
#include <queue>
#include <utility>

namespace quant::text {

static uint64_t keyOf(int32_t left, int32_t right) {
  return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
}

MergeTable::MergeTable(size_t count) : slots(std::bit_ceil(2 * count + 2)) {}

size_t MergeTable::slotOf(uint64_t key) const {
  size_t mask = slots.size() - 1;
  uint64_t mixed = key * 0x9e3779b97f4a7c15;
  for (size_t i = static_cast<size_t>(mixed ^ mixed >> 32) & mask;; i = (i + 1) & mask)
    if (slots[i].key == key || slots[i].key == UINT64_MAX)
      return i;
}

void MergeTable::add(int32_t left, int32_t right, Merge merge) {
  uint64_t key = keyOf(left, right);
  slots[slotOf(key)] = {key, merge};
}

Merge MergeTable::find(int32_t left, int32_t right) const { return slots[slotOf(keyOf(left, right))].merge; }

std::span<const int32_t> WordMerger::merge(std::string_view word) {
  // Up to here looking at every pair for each merge is faster than a heap.
  constexpr size_t kShort = 40;
  ids.resize(word.size());
  for (size_t i = 0; i < word.size(); ++i)
    ids[i] = bytes[static_cast<unsigned char>(word[i])];
  if (word.size() > 1) {
    pairs.resize(word.size());
    for (size_t i = 0; i + 1 < ids.size(); ++i)
      pairs[i] = merges.find(ids[i], ids[i + 1]);
    pairs.back() = {};
    word.size() <= kShort ? mergeShort() : mergeLong();
  }
  return ids;
}

void WordMerger::mergeShort() {
  size_t count = ids.size();
  while (count > 1) {
    size_t best = 0;
    for (size_t i = 1; i + 1 < count; ++i)
      if (pairs[i].rank < pairs[best].rank)
        best = i;
    if (pairs[best].rank == UINT32_MAX)
      break;
    ids[best] = pairs[best].id;
    std::move(ids.begin() + static_cast<ptrdiff_t>(best) + 2, ids.begin() + static_cast<ptrdiff_t>(count),
              ids.begin() + static_cast<ptrdiff_t>(best) + 1);
    std::move(pairs.begin() + static_cast<ptrdiff_t>(best) + 2, pairs.begin() + static_cast<ptrdiff_t>(count),
              pairs.begin() + static_cast<ptrdiff_t>(best) + 1);
    --count;
    pairs[best] = best + 1 < count ? merges.find(ids[best], ids[best + 1]) : Merge{};
    if (best > 0)
      pairs[best - 1] = merges.find(ids[best - 1], ids[best]);
  }
  ids.resize(count);
}

void WordMerger::mergeLong() {
  constexpr uint32_t kNone = UINT32_MAX;
  auto count = static_cast<uint32_t>(ids.size());
  // Rank, place: the smallest first. An entry whose rank is no longer that of its place is stale.
  using Entry = std::pair<uint32_t, uint32_t>;
  std::vector<Entry> entries;
  next.resize(count), before.resize(count);
  for (uint32_t i = 0; i < count; ++i) {
    next[i] = i + 1 < count ? i + 1 : kNone;
    before[i] = i > 0 ? i - 1 : kNone;
    if (pairs[i].rank != UINT32_MAX)
      entries.emplace_back(pairs[i].rank, i);
  }
  std::priority_queue<Entry, std::vector<Entry>, std::greater<>> queue(std::greater<>(), std::move(entries));
  auto look = [&](uint32_t i) {
    pairs[i] = next[i] == kNone ? Merge{} : merges.find(ids[i], ids[next[i]]);
    if (pairs[i].rank != UINT32_MAX)
      queue.emplace(pairs[i].rank, i);
  };
  while (!queue.empty()) {
    auto [rank, i] = queue.top();
    queue.pop();
    if (pairs[i].rank != rank)
      continue;
    uint32_t gone = next[i];
    ids[i] = pairs[i].id;
    pairs[gone] = {};
    next[i] = next[gone];
    if (next[i] != kNone)
      before[next[i]] = i;
    look(i);
    if (before[i] != kNone)
      look(before[i]);
  }
  uint32_t kept = 0;
  for (uint32_t i = 0; i != kNone; i = next[i])
    ids[kept++] = ids[i];
  ids.resize(kept);
}

} // namespace quant::text
