//===- page_pool.h - the pages of a KV cache --------------------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_RUNTIME_API_PAGE_POOL_H
#define QUANT_RUNTIME_API_PAGE_POOL_H

#include "runtime/abi/kernel_abi.h"
#include "runtime/support/result.h"

#include <array>
#include <cstdint>
#include <list>
#include <optional>
#include <span>
#include <unordered_map>
#include <vector>

namespace quant::runtime {

/// Who holds which page of abi::kPageRows rows, and where full pages with known contents are (as in vLLM's PagedAttention,
/// arXiv:2309.06180, with pages shared by prefix). A page that nobody holds but whose contents are known stays until its room is
/// needed; the one that was given up first goes first.
class PagePool {
public:
  using Tokens = std::span<const int32_t, abi::kPageRows>;
  /// Names a run of whole pages from a sequence's start on by its contents; 0 is the empty one.
  using Prefix = uint64_t;

  explicit PagePool(int64_t pages);

  int64_t size() const { return static_cast<int64_t>(pages.size()); }
  /// Pages that take() can still give.
  int64_t available() const { return static_cast<int64_t>(unused.size() + idle.size()); }

  /// A page with one holder, of undefined contents. Errors: every page is held.
  Result<int32_t> take();
  /// One holder more, one fewer.
  void hold(int32_t page);
  void release(int32_t page);
  /// Whether a store to it would be seen by more than one holder.
  bool isShared(int32_t page) const { return pages[static_cast<size_t>(page)].holders > 1; }

  /// Makes a held page, which now holds `tokens` behind `before`, known by its contents. Where another page has these already,
  /// that one stays the known one. Returns the prefix with the page.
  Prefix publish(int32_t page, Prefix before, Tokens tokens);
  /// The page is about to be written: it is not known any more.
  void withdraw(int32_t page);

  struct Known {
    int32_t page = 0;
    Prefix prefix = 0;
  };
  /// The known page with `tokens` behind `before`; not held for the caller.
  std::optional<Known> find(Prefix before, Tokens tokens) const;

private:
  struct Key {
    Prefix before = 0;
    std::array<int32_t, abi::kPageRows> tokens = {};
    bool operator==(const Key &) const = default;
  };
  struct Hash {
    size_t operator()(const Key &key) const;
  };
  using Index = std::unordered_map<Key, Known, Hash>;
  struct Page {
    int64_t holders = 0;
    const Key *key = nullptr;               ///< in `known`, where the page is known
    std::list<int32_t>::iterator idle = {}; ///< where it is known and nobody holds it
  };

  static Key keyOf(Prefix before, Tokens tokens);

  std::vector<Page> pages;
  std::vector<int32_t> unused; ///< without holder and unknown
  std::list<int32_t> idle;     ///< without holder, known; the first to go in front
  Index known;
  Prefix lastPrefix = 0;
};

} // namespace quant::runtime

#endif // QUANT_RUNTIME_API_PAGE_POOL_H
