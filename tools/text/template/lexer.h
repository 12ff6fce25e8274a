//===- lexer.h - a Jinja template as tokens ------------------- -*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_TOOLS_TEXT_TEMPLATE_LEXER_H
#define QUANT_TOOLS_TEXT_TEMPLATE_LEXER_H

#include "runtime/support/result.h"

#include <string>
#include <string_view>
#include <vector>

namespace quant::text {

enum class TokenKind : uint8_t {
  Text,       ///< between tags, as it is printed
  PrintBegin, ///< {{
  PrintEnd,
  BlockBegin, ///< {%
  BlockEnd,
  Name,
  String, ///< escapes resolved
  Integer,
  Float,
  Operator, ///< or punctuation
  End
};

struct Token {
  TokenKind kind;
  std::string text;
  int line; ///< from 1
};

/// The tokens of a template, as Jinja2's lexer with trim_blocks and lstrip_blocks has them, the settings of chat templates;
/// comments are left out, and so is a newline at the end. Errors name the line.
Result<std::vector<Token>> lexTemplate(std::string_view source);

/// "line 3: message".
tl::unexpected<Error> failAt(int line, const std::string &message);

/// Whether Python's str.strip() takes the character away.
bool isPythonSpace(uint32_t codePoint);
/// `text` without such characters at its start or end, or without those of `characters` (UTF-8) where it is not null.
std::string_view strip(std::string_view text, bool start, bool end, const std::string *characters = nullptr);

} // namespace quant::text

#endif // QUANT_TOOLS_TEXT_TEMPLATE_LEXER_H
