//===- syntax.h - a parsed template --------------------------- -*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_TOOLS_TEXT_TEMPLATE_SYNTAX_H
#define QUANT_TOOLS_TEXT_TEMPLATE_SYNTAX_H

#include "runtime/support/result.h"

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace quant::text {

struct Expression;
using ExpressionPtr = std::unique_ptr<Expression>;

enum class ExpressionKind : uint8_t {
  String,      ///< name
  Integer,     ///< integer
  Float,       ///< real
  Boolean,     ///< integer
  None,        //
  Name,        ///< name
  List,        ///< parts
  Dict,        ///< parts: key, value, key, value
  Attribute,   ///< parts[0].name
  Item,        ///< parts[0][parts[1]]
  Slice,       ///< parts[0][parts[1]:parts[2]:parts[3]]; a part may be null
  Call,        ///< parts[0](parts[1], ..., names=...)
  Filter,      ///< parts[0] | name(parts[1], ...)
  Test,        ///< parts[0] is name
  Not,         ///< not parts[0]
  Negative,    ///< -parts[0]
  And,         ///< parts[0] and parts[1]
  Or,          ///< parts[0] or parts[1]
  Binary,      ///< parts[0] name parts[1]: arithmetic, ~, comparisons, in, not in
  Conditional, ///< parts[1] if parts[0] else parts[2], which may be null
};

struct Expression {
  ExpressionKind kind;
  int line;
  std::string name;
  int64_t integer = 0;
  double real = 0;
  std::vector<ExpressionPtr> parts;
  std::vector<std::string> keywords; ///< of a call's last arguments
};

struct Statement;
using Block = std::vector<Statement>;

enum class StatementKind : uint8_t {
  Text,  ///< text
  Print, ///< value
  If,    ///< value, body, otherwise
  For,   ///< names in value if condition: body, otherwise
  Set,   ///< names[0] = value, or names[0].names[1] = value
  Macro, ///< text(names, values[i] being the default of the last ones): body
  Break,
  Continue,
};

struct Statement {
  StatementKind kind;
  int line;
  std::string text;
  std::vector<std::string> names;
  ExpressionPtr value, condition;
  std::vector<ExpressionPtr> defaults; ///< of a macro's parameters, null where there is none
  Block body, otherwise;
};

/// Parses the subset of Jinja2 (3.1) that chat templates use. Errors begin with the line and name what is not read.
Result<Block> parseTemplate(std::string_view source);

} // namespace quant::text

#endif // QUANT_TOOLS_TEXT_TEMPLATE_SYNTAX_H
