//===- added_tokens.cpp - tokens that are cut out of the text first -------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/text/added_tokens.h"

namespace quant::text {

const AddedTokens::Node *AddedTokens::child(const Node &node, char byte) const {
  for (auto [key, index] : node.next)
    if (key == byte)
      return &nodes[index];
  return nullptr;
}

void AddedTokens::add(std::string_view text, int32_t id) {
  first[static_cast<unsigned char>(text.front())] = true;
  size_t node = 0;
  for (char byte : text) {
    const Node *known = child(nodes[node], byte);
    if (!known) {
      nodes[node].next.emplace_back(byte, static_cast<uint32_t>(nodes.size()));
      known = &nodes.emplace_back();
    }
    node = static_cast<size_t>(known - nodes.data());
  }
  nodes[node].id = id;
}

AddedTokens::Match AddedTokens::matchAt(std::string_view text, size_t begin) const {
  Match longest{begin, 0, -1};
  const Node *node = nodes.data();
  for (size_t i = begin; i < text.size() && (node = child(*node, text[i])); ++i)
    if (node->id >= 0)
      longest = {begin, i + 1 - begin, node->id};
  return longest;
}

AddedTokens::Match AddedTokens::find(std::string_view text, size_t begin) const {
  for (; begin < text.size(); ++begin) {
    if (!first[static_cast<unsigned char>(text[begin])])
      continue;
    if (Match match = matchAt(text, begin); match.bytes > 0)
      return match;
  }
  return {text.size(), 0, -1};
}

} // namespace quant::text
