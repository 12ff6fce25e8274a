//===- text.h - names and numbers in error messages -------------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_RUNTIME_SUPPORT_TEXT_H
#define QUANT_RUNTIME_SUPPORT_TEXT_H

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace quant {

/// `text` fit for a terminal and a log: control characters and what is not UTF-8 as \xNN, and all but the first 200 bytes cut
/// off. A name in a hostile file can be 100 MB of escape sequences.
std::string printable(std::string_view text);

/// printable() in single quotes.
std::string quote(std::string_view text);

/// "line 3, column 14" of the byte at `offset`; lines and columns count from 1, columns in bytes.
std::string lineAndColumn(std::string_view text, size_t offset);

/// "576x7168", "scalar" without dimensions.
std::string shapeText(std::span<const int64_t> shape);

/// "[576, 7168]": a shape or a position, as in JSON.
std::string shapeList(std::span<const int64_t> numbers);

} // namespace quant

#endif // QUANT_RUNTIME_SUPPORT_TEXT_H
