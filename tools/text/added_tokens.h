//===- added_tokens.h - tokens that are cut out of the text first  -*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_TOOLS_TEXT_ADDED_TOKENS_H
#define QUANT_TOOLS_TEXT_ADDED_TOKENS_H

#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

namespace quant::text {

/// Finds texts such as `<｜User｜>` in a text: the leftmost, of several the longest. A trie over bytes.
class AddedTokens {
public:
  struct Match {
    size_t begin, bytes;
    int32_t id;
  };

  AddedTokens() { nodes.emplace_back(); }

  /// `text` is not empty.
  void add(std::string_view text, int32_t id);

  /// The first match at or behind `begin`; bytes is 0 where there is none.
  Match find(std::string_view text, size_t begin) const;

private:
  struct Node {
    std::vector<std::pair<char, uint32_t>> next;
    int32_t id = -1; ///< of the token that ends here
  };
  const Node *child(const Node &node, char byte) const;
  Match matchAt(std::string_view text, size_t begin) const;

  std::vector<Node> nodes;
  std::array<bool, 256> first{};
};

} // namespace quant::text

#endif // QUANT_TOOLS_TEXT_ADDED_TOKENS_H
