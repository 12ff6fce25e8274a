//===- utf8.cpp - well-formed UTF-8 ---------------------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/text/utf8.h"

#include <cstring>

namespace quant::text {

static constexpr uint32_t kReplacement = 0xFFFD;

/// How many bytes `text` has from `at` on before one above 0x7F, in steps of eight.
static size_t skipAscii(std::string_view text, size_t at) {
  for (uint64_t word = 0; at + sizeof word <= text.size(); at += sizeof word) {
    std::memcpy(&word, text.data() + at, sizeof word);
    if (word & 0x8080808080808080)
      break;
  }
  return at;
}

size_t utf8Valid(std::string_view text) {
  for (size_t at = 0; (at = skipAscii(text, at)) < text.size();) {
    Utf8Step step = utf8Step(text.substr(at));
    if (!step.valid)
      return at;
    at += step.bytes;
  }
  return text.size();
}

std::string utf8Replaced(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    size_t valid = utf8Valid(text);
    out += text.substr(0, valid);
    text.remove_prefix(valid);
    if (text.empty())
      break;
    appendUtf8(out, kReplacement);
    text.remove_prefix(utf8Step(text).bytes);
  }
  return out;
}

void appendUtf8(std::string &out, uint32_t codePoint) {
  auto put = [&](uint32_t byte) { out += static_cast<char>(byte); };
  auto rest = [&](uint32_t shift) { put(0x80 | (codePoint >> shift & 0x3F)); };
  if (codePoint < 0x80)
    return put(codePoint);
  if (codePoint < 0x800) {
    put(0xC0 | codePoint >> 6);
  } else if (codePoint < 0x10000) {
    put(0xE0 | codePoint >> 12);
    rest(6);
  } else {
    put(0xF0 | codePoint >> 18);
    rest(12);
    rest(6);
  }
  rest(0);
}

} // namespace quant::text
