//===- word_cache.cpp - tokens of words seen before -----------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/text/word_cache.h"

#include <algorithm>
#include <cstring>

namespace quant::text {

static constexpr size_t kSlots = size_t{1} << 17, kMostWords = kSlots / 2;

/// Eight bytes a round, multiplied and folded as in wyhash (Wang Yi, public domain). Not for use against an adversary: a
/// collision costs a comparison, and the cache is forgotten when it is full.
static uint64_t hashOf(std::string_view word) {
  uint64_t hash = word.size() * 0x9e3779b97f4a7c15;
  for (size_t i = 0; i < word.size(); i += sizeof(uint64_t)) {
    uint64_t part = 0;
    std::memcpy(&part, word.data() + i, std::min(sizeof part, word.size() - i));
    auto product = static_cast<unsigned __int128>(hash ^ part) * 0xa0761d6478bd642f;
    hash = static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64) ^ 0xe7037ed1a0b428db;
  }
  return hash;
}

WordCache::WordCache() : slots(kSlots) {}

size_t WordCache::slotOf(uint64_t hash, std::string_view word) const {
  for (size_t i = hash & (kSlots - 1);; i = (i + 1) & (kSlots - 1)) {
    const Slot &slot = slots[i];
    if (slot.bytes == 0 || (slot.hash == hash && std::string_view(texts).substr(slot.text, slot.bytes) == word))
      return i;
  }
}

std::optional<std::span<const int32_t>> WordCache::find(std::string_view word) const {
  const Slot &slot = slots[slotOf(hashOf(word), word)];
  if (slot.bytes == 0)
    return std::nullopt;
  return std::span(tokens).subspan(slot.tokens, slot.count);
}

void WordCache::add(std::string_view word, std::span<const int32_t> of) {
  if (word.empty() || word.size() > kLongestWord)
    return;
  if (words == kMostWords)
    forget();
  uint64_t hash = hashOf(word);
  slots[slotOf(hash, word)] = {hash, static_cast<uint32_t>(texts.size()), static_cast<uint32_t>(tokens.size()),
                               static_cast<uint16_t>(word.size()), static_cast<uint16_t>(of.size())};
  texts += word;
  tokens.insert(tokens.end(), of.begin(), of.end());
  ++words;
}

void WordCache::forget() {
  slots.assign(kSlots, {});
  texts.clear();
  tokens.clear();
  words = 0;
}

} // namespace quant::text
