//===- text.cpp - names and numbers in error messages ---------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/support/text.h"

#include "runtime/support/utf8.h"

#include <fmt/core.h>

#include <algorithm>

namespace quant {

static constexpr size_t maxPrinted = 200;

/// How many bytes the character at the start of `text` has in UTF-8; 0 if that is not UTF-8, or a control character: U+0080 to
/// U+009F, too, which terminals obey like escape sequences.
static size_t characterBytes(std::string_view text) {
  Utf8Step step = utf8Step(text);
  bool isControl = step.codePoint < 0x20 || (step.codePoint >= 0x7F && step.codePoint < 0xA0);
  return step.valid && !isControl ? step.bytes : 0;
}

std::string printable(std::string_view text) {
  size_t kept = std::min(text.size(), maxPrinted);
  // Do not cut a UTF-8 sequence in two: go back over its continuation bytes.
  while (kept < text.size() && kept > 0 && (static_cast<unsigned char>(text[kept]) & 0xC0) == 0x80)
    --kept;
  std::string out;
  for (size_t i = 0; i < kept;) {
    if (size_t bytes = characterBytes(text.substr(i, kept - i))) {
      out += text.substr(i, bytes);
      i += bytes;
      continue;
    }
    constexpr std::string_view digits = "0123456789ABCDEF";
    auto byte = static_cast<unsigned char>(text[i++]);
    out += "\\x";
    out += digits[byte >> 4];
    out += digits[byte & 15];
  }
  if (kept < text.size())
    out += fmt::format("... ({} bytes)", text.size());
  return out;
}

std::string quote(std::string_view text) { return "'" + printable(text) + "'"; }

std::string lineAndColumn(std::string_view text, size_t offset) {
  std::string_view before = text.substr(0, offset);
  auto line = 1 + std::ranges::count(before, '\n');
  size_t lineStart = before.rfind('\n') + 1; // npos + 1 == 0
  return fmt::format("line {}, column {}", line, before.size() - lineStart + 1);
}

static std::string joined(std::span<const int64_t> numbers, std::string_view separator) {
  std::string text;
  for (int64_t number : numbers)
    text += fmt::format("{}{}", text.empty() ? "" : separator, number);
  return text;
}

std::string shapeText(std::span<const int64_t> shape) { return shape.empty() ? "scalar" : joined(shape, "x"); }

std::string shapeList(std::span<const int64_t> numbers) { return "[" + joined(numbers, ", ") + "]"; }

} // namespace quant
