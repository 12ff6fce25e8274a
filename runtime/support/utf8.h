//===- utf8.h - a character at a time ----------------------------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_RUNTIME_SUPPORT_UTF8_H
#define QUANT_RUNTIME_SUPPORT_UTF8_H

#include <cstdint>
#include <string_view>

namespace quant {

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

} // namespace quant

#endif // QUANT_RUNTIME_SUPPORT_UTF8_H
