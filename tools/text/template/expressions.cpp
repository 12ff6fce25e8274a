//===- expressions.cpp - the expressions of a Jinja template --------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/text/template/parser.h"

#include "runtime/support/text.h"

#include <fmt/core.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>

namespace quant::text {

Result<void> ExpressionParser::Depth::check() const {
  constexpr int kDeepest = 200;
  return parser.depth <= kDeepest ? Result<void>() : failAt(parser.current().line, "expressions or blocks are nested too deep");
}

static std::string shown(const Token &token) {
  switch (token.kind) {
  case TokenKind::End:
    return "the end of the template";
  case TokenKind::PrintEnd:
    return "'}}'";
  case TokenKind::BlockEnd:
    return "'%}'";
  case TokenKind::Text:
  case TokenKind::PrintBegin:
  case TokenKind::BlockBegin:
    return "text";
  default:
    return quote(token.text);
  }
}

bool ExpressionParser::sees(std::string_view op) const { return current().kind == TokenKind::Operator && current().text == op; }

bool ExpressionParser::take(std::string_view op) {
  bool there = sees(op);
  if (there)
    next();
  return there;
}

bool ExpressionParser::takeName(std::string_view name) {
  bool there = current().kind == TokenKind::Name && current().text == name;
  if (there)
    next();
  return there;
}

Result<void> ExpressionParser::expect(TokenKind kind, std::string_view what) {
  if (current().kind != kind)
    return failAt(current().line, fmt::format("{} where {} should be", shown(current()), quote(what)));
  next();
  return {};
}

Result<void> ExpressionParser::expectOperator(std::string_view op) {
  if (take(op))
    return {};
  return failAt(current().line, fmt::format("{} where {} should be", shown(current()), quote(op)));
}

Result<std::string> ExpressionParser::identifier() {
  std::string name = current().text;
  QUANT_TRY(expect(TokenKind::Name, "a name"));
  return name;
}

Result<void> ExpressionParser::grow() {
  constexpr int kLongest = 1000;
  return ++links <= kLongest ? Result<void>() : failAt(current().line, "an expression is too long");
}

ExpressionPtr ExpressionParser::make(ExpressionKind kind, std::string name) const {
  auto made = std::make_unique<Expression>();
  made->kind = kind;
  made->line = current().line;
  made->name = std::move(name);
  return made;
}

//===----------------------------------------------------------------------===//
// From the loosest operator to the tightest
//===----------------------------------------------------------------------===//

Result<ExpressionPtr> ExpressionParser::expression() {
  Depth guard(*this);
  QUANT_TRY(guard.check());
  QUANT_TRY_ASSIGN(ExpressionPtr value, disjunction());
  while (takeName("if")) {
    QUANT_TRY(grow());
    ExpressionPtr conditional = make(ExpressionKind::Conditional);
    QUANT_TRY_ASSIGN(ExpressionPtr condition, disjunction());
    ExpressionPtr otherwise;
    if (takeName("else")) {
      QUANT_TRY_ASSIGN(otherwise, expression());
    }
    conditional->parts.push_back(std::move(condition));
    conditional->parts.push_back(std::move(value));
    conditional->parts.push_back(std::move(otherwise));
    value = std::move(conditional);
  }
  return value;
}

Result<ExpressionPtr> ExpressionParser::binary(Rule operand, std::initializer_list<std::string_view> ops) {
  QUANT_TRY_ASSIGN(ExpressionPtr left, (this->*operand)());
  while (true) {
    ExpressionPtr both = make(ExpressionKind::Binary, current().text);
    if (std::ranges::none_of(ops, [&](std::string_view op) { return take(op); }))
      return left;
    QUANT_TRY(grow());
    QUANT_TRY_ASSIGN(ExpressionPtr right, (this->*operand)());
    both->parts.push_back(std::move(left));
    both->parts.push_back(std::move(right));
    left = std::move(both);
  }
}

Result<ExpressionPtr> ExpressionParser::disjunction() {
  QUANT_TRY_ASSIGN(ExpressionPtr left, conjunction());
  while (takeName("or")) {
    ExpressionPtr both = make(ExpressionKind::Or);
    QUANT_TRY(grow());
    QUANT_TRY_ASSIGN(ExpressionPtr right, conjunction());
    both->parts.push_back(std::move(left));
    both->parts.push_back(std::move(right));
    left = std::move(both);
  }
  return left;
}

Result<ExpressionPtr> ExpressionParser::conjunction() {
  QUANT_TRY_ASSIGN(ExpressionPtr left, negation());
  while (takeName("and")) {
    ExpressionPtr both = make(ExpressionKind::And);
    QUANT_TRY(grow());
    QUANT_TRY_ASSIGN(ExpressionPtr right, negation());
    both->parts.push_back(std::move(left));
    both->parts.push_back(std::move(right));
    left = std::move(both);
  }
  return left;
}

Result<ExpressionPtr> ExpressionParser::negation() {
  if (!takeName("not"))
    return comparison();
  Depth guard(*this);
  QUANT_TRY(guard.check());
  ExpressionPtr made = make(ExpressionKind::Not);
  QUANT_TRY_ASSIGN(ExpressionPtr of, negation());
  made->parts.push_back(std::move(of));
  return made;
}

/// One comparison; `a < b < c` is refused.
Result<ExpressionPtr> ExpressionParser::comparison() {
  QUANT_TRY_ASSIGN(ExpressionPtr left, sum());
  for (bool first = true;; first = false) {
    ExpressionPtr both = make(ExpressionKind::Binary, current().text);
    if (current().text == "not" && peek().text == "in" && current().kind == TokenKind::Name) {
      next();
      both->name = "not in";
    }
    if (!takeName("in") && !take("==") && !take("!=") && !take("<=") && !take(">=") && !take("<") && !take(">"))
      return left;
    if (!first)
      return failAt(both->line, "several comparisons in a row are not read; use 'and'");
    QUANT_TRY_ASSIGN(ExpressionPtr right, sum());
    both->parts.push_back(std::move(left));
    both->parts.push_back(std::move(right));
    left = std::move(both);
  }
}

Result<ExpressionPtr> ExpressionParser::sum() { return binary(&ExpressionParser::concatenation, {"+", "-"}); }
Result<ExpressionPtr> ExpressionParser::concatenation() { return binary(&ExpressionParser::product, {"~"}); }
Result<ExpressionPtr> ExpressionParser::product() { return binary(&ExpressionParser::unary, {"*", "/", "//", "%", "**"}); }

Result<ExpressionPtr> ExpressionParser::unary() {
  Depth guard(*this);
  QUANT_TRY(guard.check());
  if (ExpressionPtr made = make(ExpressionKind::Negative); take("-")) {
    // A filter behind it is the whole's.
    ExpressionPtr of;
    if (sees("-"))
      return failAt(made->line, "'- -' is not read");
    QUANT_TRY_ASSIGN(of, primary());
    QUANT_TRY_ASSIGN(of, postfix(std::move(of)));
    made->parts.push_back(std::move(of));
    return filters(std::move(made));
  }
  QUANT_TRY_ASSIGN(ExpressionPtr of, primary());
  QUANT_TRY_ASSIGN(of, postfix(std::move(of)));
  return filters(std::move(of));
}

//===----------------------------------------------------------------------===//
// Values
//===----------------------------------------------------------------------===//

Result<ExpressionPtr> ExpressionParser::primary() {
  Token token = current();
  if (token.kind == TokenKind::Name)
    return name();
  if (token.kind == TokenKind::String) {
    ExpressionPtr made = make(ExpressionKind::String);
    for (; current().kind == TokenKind::String; next())
      made->name += current().text;
    return made;
  }
  if (token.kind == TokenKind::Float || token.kind == TokenKind::Integer) {
    bool real = token.kind == TokenKind::Float;
    ExpressionPtr made = make(real ? ExpressionKind::Float : ExpressionKind::Integer);
    made->real = std::strtod(token.text.c_str(), nullptr);
    const char *end = token.text.data() + token.text.size();
    if (!real && std::from_chars(token.text.data(), end, made->integer).ec != std::errc())
      return failAt(token.line, quote(token.text) + " does not fit 64 bits");
    next();
    return made;
  }
  if (take("(")) {
    QUANT_TRY_ASSIGN(ExpressionPtr inner, expression());
    if (sees(","))
      return failAt(token.line, "tuples are not read");
    QUANT_TRY(expectOperator(")"));
    return inner;
  }
  if (take("["))
    return list();
  if (take("{"))
    return dict();
  return failAt(token.line, shown(token) + " where a value should be");
}

Result<ExpressionPtr> ExpressionParser::name() {
  const std::string text = current().text;
  ExpressionPtr made = make(ExpressionKind::Name, text);
  if (text == "true" || text == "True" || text == "false" || text == "False") {
    made->kind = ExpressionKind::Boolean;
    made->integer = text == "true" || text == "True";
  } else if (text == "none" || text == "None") {
    made->kind = ExpressionKind::None;
  }
  next();
  return made;
}

Result<ExpressionPtr> ExpressionParser::list() {
  ExpressionPtr made = make(ExpressionKind::List);
  while (!take("]")) {
    if (!made->parts.empty())
      QUANT_TRY(expectOperator(","));
    if (take("]"))
      break;
    QUANT_TRY_ASSIGN(ExpressionPtr item, expression());
    made->parts.push_back(std::move(item));
  }
  return made;
}

Result<ExpressionPtr> ExpressionParser::dict() {
  ExpressionPtr made = make(ExpressionKind::Dict);
  while (!take("}")) {
    if (!made->parts.empty())
      QUANT_TRY(expectOperator(","));
    if (take("}"))
      break;
    QUANT_TRY_ASSIGN(ExpressionPtr key, expression());
    QUANT_TRY(expectOperator(":"));
    QUANT_TRY_ASSIGN(ExpressionPtr value, expression());
    made->parts.push_back(std::move(key));
    made->parts.push_back(std::move(value));
  }
  return made;
}

//===----------------------------------------------------------------------===//
// What stands behind a value
//===----------------------------------------------------------------------===//

Result<ExpressionPtr> ExpressionParser::postfix(ExpressionPtr of) {
  while (true) {
    QUANT_TRY(grow());
    if (take(".")) {
      ExpressionPtr made = make(ExpressionKind::Attribute);
      QUANT_TRY_ASSIGN(made->name, identifier());
      made->parts.push_back(std::move(of));
      of = std::move(made);
    } else if (take("[")) {
      QUANT_TRY_ASSIGN(of, subscript(std::move(of)));
    } else if (sees("(")) {
      ExpressionPtr made = make(ExpressionKind::Call);
      made->parts.push_back(std::move(of));
      QUANT_TRY(arguments(*made));
      of = std::move(made);
    } else {
      return of;
    }
  }
}

Result<ExpressionPtr> ExpressionParser::subscript(ExpressionPtr of) {
  ExpressionPtr made = make(ExpressionKind::Item);
  made->parts.push_back(std::move(of));
  for (bool more = true; more;) {
    ExpressionPtr part;
    if (!sees(":") && !sees("]")) {
      QUANT_TRY_ASSIGN(part, expression());
    }
    made->parts.push_back(std::move(part));
    more = take(":");
    if (more)
      made->kind = ExpressionKind::Slice;
  }
  QUANT_TRY(expectOperator("]"));
  if (made->parts.size() > 4 || (made->kind == ExpressionKind::Item && !made->parts[1]))
    return failAt(made->line, "an index is missing, or a slice has too many parts");
  if (made->kind == ExpressionKind::Slice)
    made->parts.resize(4);
  return made;
}

/// `(a, b, key=c)`.
Result<void> ExpressionParser::arguments(Expression &call) {
  QUANT_TRY(expectOperator("("));
  for (bool first = true; !take(")"); first = false) {
    if (!first)
      QUANT_TRY(expectOperator(","));
    if (sees("*") || sees("**"))
      return failAt(current().line, "'*' arguments are not read");
    if (current().kind == TokenKind::Name && peek().kind == TokenKind::Operator && peek().text == "=") {
      call.keywords.push_back(current().text);
      next(), next();
    } else if (!call.keywords.empty()) {
      return failAt(current().line, "an argument without a name stands behind one with a name");
    }
    QUANT_TRY_ASSIGN(ExpressionPtr argument, expression());
    call.parts.push_back(std::move(argument));
  }
  return {};
}

Result<ExpressionPtr> ExpressionParser::filters(ExpressionPtr of) {
  while (true) {
    QUANT_TRY(grow());
    if (take("|")) {
      ExpressionPtr made = make(ExpressionKind::Filter);
      QUANT_TRY_ASSIGN(made->name, identifier());
      made->parts.push_back(std::move(of));
      if (sees("("))
        QUANT_TRY(arguments(*made));
      of = std::move(made);
    } else if (takeName("is")) {
      QUANT_TRY_ASSIGN(of, test(std::move(of)));
    } else {
      return of;
    }
  }
}

Result<ExpressionPtr> ExpressionParser::test(ExpressionPtr of) {
  bool negated = takeName("not");
  ExpressionPtr made = make(ExpressionKind::Test);
  QUANT_TRY_ASSIGN(made->name, identifier());
  made->parts.push_back(std::move(of));
  if (sees("("))
    return failAt(made->line, fmt::format("test {} with arguments is not read", quote(made->name)));
  if (!negated)
    return made;
  ExpressionPtr outer = make(ExpressionKind::Not);
  outer->parts.push_back(std::move(made));
  return outer;
}

} // namespace quant::text
