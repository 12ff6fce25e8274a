//===- word_cache.h - tokens of words seen before ------------- -*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_TOOLS_TEXT_WORD_CACHE_H
#define QUANT_TOOLS_TEXT_WORD_CACHE_H

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace quant::text {

/// Remembers the tokens of short words. Forgets all of them when it is full; takes about 6 MB then.
class WordCache {
public:
  static constexpr size_t kLongestWord = 64; ///< bytes; longer ones hardly come twice

  WordCache();

  /// The tokens of `word`; good until the next call of add.
  std::optional<std::span<const int32_t>> find(std::string_view word) const;
  /// Remembers a word that find does not know.
  void add(std::string_view word, std::span<const int32_t> tokens);

private:
  struct Slot {
    uint64_t hash = 0;
    uint32_t text = 0, tokens = 0; ///< offsets of the word and of its tokens
    uint16_t bytes = 0, count = 0; ///< of the word, 0 where the slot is empty; of its tokens
  };
  size_t slotOf(uint64_t hash, std::string_view word) const;
  void forget();

  std::vector<Slot> slots;
  std::string texts;
  std::vector<int32_t> tokens;
  size_t words = 0;
};

} // namespace quant::text

#endif // QUANT_TOOLS_TEXT_WORD_CACHE_H
