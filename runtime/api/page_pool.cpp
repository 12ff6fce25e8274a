//===- page_pool.cpp - the pages of a KV cache ----------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/api/page_pool.h"

#include <fmt/core.h>

#include <algorithm>

namespace quant::runtime {

PagePool::PagePool(int64_t count) : pages(static_cast<size_t>(count)) {
  // Low numbers are given first: a host touches the memory of what is used alone.
  for (int64_t page = count; page-- > 0;)
    unused.push_back(static_cast<int32_t>(page));
}

Result<int32_t> PagePool::take() {
  if (unused.empty()) {
    if (idle.empty())
      return fail(fmt::format("all {} pages of {} tokens of the KV cache are in use", size(), abi::kPageRows),
                  ErrorKind::CacheFull);
    withdraw(idle.front());
  }
  int32_t page = unused.back();
  unused.pop_back();
  pages[static_cast<size_t>(page)].holders = 1;
  return page;
}

void PagePool::hold(int32_t number) {
  Page &page = pages[static_cast<size_t>(number)];
  if (page.holders++ == 0)
    idle.erase(page.idle);
}

void PagePool::release(int32_t number) {
  Page &page = pages[static_cast<size_t>(number)];
  if (--page.holders > 0)
    return;
  if (page.key)
    page.idle = idle.insert(idle.end(), number);
  else
    unused.push_back(number);
}

void PagePool::withdraw(int32_t number) {
  Page &page = pages[static_cast<size_t>(number)];
  if (!page.key)
    return;
  known.erase(known.find(*page.key));
  page.key = nullptr;
  if (page.holders == 0) {
    idle.erase(page.idle);
    unused.push_back(number);
  }
}

PagePool::Key PagePool::keyOf(Prefix before, Tokens tokens) {
  Key key{.before = before, .tokens = {}};
  std::ranges::copy(tokens, key.tokens.begin());
  return key;
}

/// FNV-1a.
size_t PagePool::Hash::operator()(const Key &key) const {
  uint64_t hash = 0xcbf29ce484222325u ^ key.before;
  for (int32_t token : key.tokens)
    hash = (hash ^ static_cast<uint32_t>(token)) * 0x100000001b3u;
  return hash;
}

PagePool::Prefix PagePool::publish(int32_t number, Prefix before, Tokens tokens) {
  auto [found, isNew] = known.try_emplace(keyOf(before, tokens));
  if (isNew) {
    found->second = {number, ++lastPrefix};
    pages[static_cast<size_t>(number)].key = &found->first;
  }
  return found->second.prefix;
}

std::optional<PagePool::Known> PagePool::find(Prefix before, Tokens tokens) const {
  auto found = known.find(keyOf(before, tokens));
  return found == known.end() ? std::nullopt : std::optional(found->second);
}

} // namespace quant::runtime
