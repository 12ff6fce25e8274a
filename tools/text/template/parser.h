//===- parser.h - the expressions of a Jinja template --------- -*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Private to template/.
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_TOOLS_TEXT_TEMPLATE_PARSER_H
#define QUANT_TOOLS_TEXT_TEMPLATE_PARSER_H

#include "tools/text/template/lexer.h"
#include "tools/text/template/syntax.h"

#include <algorithm>
#include <initializer_list>
#include <memory>
#include <utility>

namespace quant::text {

/// Jinja2's grammar of expressions (jinja2/parser.py), by recursive descent.
class ExpressionParser {
public:
  /// `tokens` end with TokenKind::End.
  explicit ExpressionParser(std::vector<Token> tokens) : tokens(std::move(tokens)) {}

protected:
  /// Counts how deep expressions and blocks stand in each other.
  class Depth {
  public:
    explicit Depth(ExpressionParser &parser) : parser(parser) { ++parser.depth; }
    Depth(const Depth &) = delete;
    ~Depth() { --parser.depth; }
    Result<void> check() const;

  private:
    ExpressionParser &parser;
  };

  const Token &current() const { return tokens[at]; }
  const Token &peek() const { return tokens[std::min(at + 1, tokens.size() - 1)]; }
  void next() { at = std::min(at + 1, tokens.size() - 1); }
  /// Whether an operator is next.
  bool sees(std::string_view op) const;
  /// Takes an operator or a keyword, if it is there.
  bool take(std::string_view op);
  bool takeName(std::string_view name);
  Result<void> expect(TokenKind kind, std::string_view what);
  Result<void> expectOperator(std::string_view op);
  Result<std::string> identifier();
  /// Counts what stands behind each other in one tag, which becomes a tree as deep. Errors: too much.
  Result<void> grow();

  Result<ExpressionPtr> expression();
  /// Up to an `if`.
  Result<ExpressionPtr> withoutConditional() { return disjunction(); }

private:
  using Rule = Result<ExpressionPtr> (ExpressionParser::*)();

  ExpressionPtr make(ExpressionKind kind, std::string name = "") const;
  Result<ExpressionPtr> binary(Rule operand, std::initializer_list<std::string_view> ops);
  Result<ExpressionPtr> disjunction();
  Result<ExpressionPtr> conjunction();
  Result<ExpressionPtr> negation();
  Result<ExpressionPtr> comparison();
  Result<ExpressionPtr> sum();
  Result<ExpressionPtr> concatenation();
  Result<ExpressionPtr> product();
  Result<ExpressionPtr> unary();
  Result<ExpressionPtr> primary();
  Result<ExpressionPtr> name();
  Result<ExpressionPtr> list();
  Result<ExpressionPtr> dict();
  Result<ExpressionPtr> postfix(ExpressionPtr of);
  Result<ExpressionPtr> subscript(ExpressionPtr of);
  Result<ExpressionPtr> filters(ExpressionPtr of);
  Result<ExpressionPtr> test(ExpressionPtr of);
  Result<void> arguments(Expression &call);

  std::vector<Token> tokens;
  size_t at = 0;
  int depth = 0;

protected:
  int links = 0; ///< of the tag, see grow
};

} // namespace quant::text

#endif // QUANT_TOOLS_TEXT_TEMPLATE_PARSER_H
