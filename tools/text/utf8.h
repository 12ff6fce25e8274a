//===- utf8.h - well-formed UTF-8 ----------------------------- -*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_TOOLS_TEXT_UTF8_H
#define QUANT_TOOLS_TEXT_UTF8_H

#include <cstdint>
#include <string>
#include <string_view>

namespace quant::text {

/// What stands at the start of some bytes.
struct Utf8Step {
  uint32_t codePoint; ///< U+FFFD where the bytes are ill-formed
  uint32_t bytes;     ///< taken: of a character, or of the longest part of one that ill-formed bytes begin with; at least 1
  bool valid;         ///< a whole character
  bool cut;           ///< not valid, but more bytes could make it so: it ends where `text` ends
};

/// The character that `text`, which is not empty, begins with (RFC 3629; Unicode 15.0, section 3.9: one U+FFFD for each maximal
/// subpart of an ill-formed sequence, as Python's and Rust's decoders have it).
Utf8Step utf8Step(std::string_view text);

/// Offset of the first byte of `text` that belongs to no character; text.size() where there is none.
size_t utf8Valid(std::string_view text);

/// `text` with U+FFFD for each maximal subpart that is no UTF-8.
std::string utf8Replaced(std::string_view text);

void appendUtf8(std::string &out, uint32_t codePoint);

} // namespace quant::text

#endif // QUANT_TOOLS_TEXT_UTF8_H
