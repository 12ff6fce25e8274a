//===- utf8.h - well-formed UTF-8 ----------------------------- -*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_TOOLS_TEXT_UTF8_H
#define QUANT_TOOLS_TEXT_UTF8_H

#include "runtime/support/utf8.h"

#include <cstdint>
#include <string>
#include <string_view>

namespace quant::text {

/// Offset of the first byte of `text` that belongs to no character; text.size() where there is none.
size_t utf8Valid(std::string_view text);

/// `text` with U+FFFD for each maximal subpart that is no UTF-8.
std::string utf8Replaced(std::string_view text);

void appendUtf8(std::string &out, uint32_t codePoint);

} // namespace quant::text

#endif // QUANT_TOOLS_TEXT_UTF8_H
