//===- utf8.cpp - a character at a time ------------------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/support/utf8.h"

namespace quant {

static constexpr uint32_t kReplacement = 0xFFFD;

/// Bytes of a character by its first byte; 0 where none begins so.
static uint32_t lengthOf(unsigned lead) {
  return lead < 0x80 ? 1 : lead < 0xC2 ? 0 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : lead < 0xF5 ? 4 : 0;
}

Utf8Step utf8Step(std::string_view text) {
  auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  unsigned lead = byte(0);
  if (lead < 0x80)
    return {lead, 1, true, false};
  uint32_t length = lengthOf(lead);
  if (length == 0)
    return {kReplacement, 1, false, false};
  // Of the second byte not all values are legal: no overlong forms, no surrogates, nothing above U+10FFFF.
  unsigned low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
  unsigned high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
  uint32_t codePoint = lead & (0x7Fu >> length);
  for (uint32_t i = 1; i < length; ++i) {
    if (i == text.size())
      return {kReplacement, i, false, true};
    if (byte(i) < low || byte(i) > high)
      return {kReplacement, i, false, false};
    codePoint = codePoint << 6 | (byte(i) & 0x3F);
    low = 0x80, high = 0xBF;
  }
  return {codePoint, length, true, false};
}

} // namespace quant
