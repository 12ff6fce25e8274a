//===- long_runs.cpp - where a long text is cut ---------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/text/long_runs.h"

#include "tools/text/utf8.h"

namespace quant::text {

/// Python's str.isspace.
static bool isSpace(uint32_t c) {
  return (c >= 0x09 && c <= 0x0D) || (c >= 0x1C && c <= 0x20) || c == 0x85 || c == 0xA0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

std::vector<size_t> endsOfParts(std::string_view text) {
  constexpr size_t kLongestPart = 400'000, kLongestRun = 25'000; // characters
  std::vector<size_t> ends;
  size_t part = 0, run = 0;
  bool space = false;
  for (size_t at = 0; text.size() > kLongestRun && at < text.size();) {
    Utf8Step step = utf8Step(text.substr(at));
    bool startsPart = part == kLongestPart, spaceNow = isSpace(step.codePoint);
    run = startsPart || spaceNow != space ? 1 : run + 1;
    part = startsPart ? 1 : part + 1;
    space = spaceNow;
    if (startsPart || run > kLongestRun) {
      ends.push_back(at);
      run = 1;
    }
    at += step.bytes;
  }
  if (!text.empty())
    ends.push_back(text.size());
  return ends;
}

} // namespace quant::text
