//===- text.cpp - names and numbers in error messages ---------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/checkpoint/text.h"

#include <algorithm>

namespace quant::checkpoint {

static constexpr size_t maxPrinted = 200;

std::string printable(std::string_view text) {
  size_t kept = std::min(text.size(), maxPrinted);
  // Do not cut a UTF-8 sequence in two: go back over its continuation bytes.
  while (kept < text.size() && kept > 0 && (static_cast<unsigned char>(text[kept]) & 0xC0) == 0x80)
    --kept;
  std::string out;
  for (char c : text.substr(0, kept)) {
    auto byte = static_cast<unsigned char>(c);
    if (byte >= 0x20 && byte != 0x7F) {
      out += c;
      continue;
    }
    constexpr std::string_view digits = "0123456789ABCDEF";
    out += "\\x";
    out += digits[byte >> 4];
    out += digits[byte & 15];
  }
  if (kept < text.size())
    out += "... (" + std::to_string(text.size()) + " bytes)";
  return out;
}

std::string quote(std::string_view text) { return "'" + printable(text) + "'"; }

std::string lineAndColumn(std::string_view text, size_t offset) {
  std::string_view before = text.substr(0, offset);
  auto line = 1 + std::ranges::count(before, '\n');
  size_t lineStart = before.rfind('\n') + 1; // npos + 1 == 0
  return "line " + std::to_string(line) + ", column " + std::to_string(before.size() - lineStart + 1);
}

} // namespace quant::checkpoint
