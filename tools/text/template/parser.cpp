//===- parser.cpp - the statements of a Jinja template --------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/text/template/parser.h"

#include "runtime/support/text.h"

#include <fmt/core.h>

#include <utility>

namespace quant::text {
namespace {

class StatementParser : ExpressionParser {
public:
  using ExpressionParser::ExpressionParser;

  Result<Block> run() {
    QUANT_TRY_ASSIGN(Block block, until({}));
    return block;
  }

private:
  /// Statements up to a block tag that begins with one of `ends`, which is left for the caller, or to the end of the template.
  Result<Block> until(std::initializer_list<std::string_view> ends) {
    Depth guard(*this);
    QUANT_TRY(guard.check());
    Block block;
    while (true) {
      const Token &token = current();
      links = 0;
      if (token.kind == TokenKind::End) {
        if (ends.size() == 0)
          return block;
        return failAt(token.line, fmt::format("the template ends where {} should be", quote(*ends.begin())));
      }
      if (token.kind == TokenKind::Text) {
        block.push_back(statement(StatementKind::Text, token.text));
        next();
      } else if (token.kind == TokenKind::PrintBegin) {
        block.push_back(statement(StatementKind::Print, ""));
        next();
        QUANT_TRY_ASSIGN(block.back().value, expression());
        QUANT_TRY(expect(TokenKind::PrintEnd, "}}"));
      } else {
        for (std::string_view end : ends)
          if (peek().text == end)
            return block;
        next();
        QUANT_TRY(tag(block));
      }
    }
  }

  Statement statement(StatementKind kind, const std::string &text) const {
    Statement result{};
    result.kind = kind;
    result.line = current().line;
    result.text = text;
    return result;
  }

  Result<void> tag(Block &block) {
    Token name = current();
    block.push_back(statement(StatementKind::If, ""));
    Statement &out = block.back();
    next();
    if (name.text == "if")
      return ifTag(out);
    if (name.text == "for")
      return forTag(out);
    if (name.text == "set")
      return setTag(out);
    if (name.text == "macro")
      return macroTag(out);
    if (name.text == "break" || name.text == "continue") {
      if (loops == 0)
        return failAt(name.line, fmt::format("'{}' stands in no loop", name.text));
      out.kind = name.text == "break" ? StatementKind::Break : StatementKind::Continue;
      return blockEnd();
    }
    return failAt(name.line,
                  fmt::format("tag {} is not read; known are if, for, set, macro, break and continue", quote(name.text)));
  }

  Result<void> blockEnd() { return expect(TokenKind::BlockEnd, "%}"); }

  /// `{% end... %}`, whose name is already known to be there.
  Result<void> closing() {
    next(), next();
    return blockEnd();
  }

  Result<void> ifTag(Statement &out) {
    QUANT_TRY_ASSIGN(out.value, expression());
    QUANT_TRY(blockEnd());
    QUANT_TRY_ASSIGN(out.body, until({"endif", "elif", "else"}));
    if (peek().text == "endif")
      return closing();
    next();
    bool elif = current().text == "elif";
    Statement inner = statement(StatementKind::If, "");
    next();
    if (elif) {
      Depth guard(*this);
      QUANT_TRY(guard.check());
      QUANT_TRY(ifTag(inner));
      out.otherwise.push_back(std::move(inner));
      return {};
    }
    QUANT_TRY(blockEnd());
    QUANT_TRY_ASSIGN(out.otherwise, until({"endif"}));
    return closing();
  }

  Result<void> forTag(Statement &out) {
    out.kind = StatementKind::For;
    do {
      QUANT_TRY_ASSIGN(std::string name, identifier());
      out.names.push_back(std::move(name));
    } while (take(","));
    if (!takeName("in"))
      return failAt(current().line, "'in' is missing in a for");
    QUANT_TRY_ASSIGN(out.value, withoutConditional());
    if (takeName("if")) {
      QUANT_TRY_ASSIGN(out.condition, expression());
    }
    if (current().text == "recursive")
      return failAt(current().line, "'recursive' loops are not read");
    QUANT_TRY(blockEnd());
    ++loops;
    Result<Block> body = until({"endfor", "else"});
    --loops;
    QUANT_TRY_ASSIGN(out.body, std::move(body));
    if (peek().text == "endfor")
      return closing();
    next(), next();
    QUANT_TRY(blockEnd());
    QUANT_TRY_ASSIGN(out.otherwise, until({"endfor"}));
    return closing();
  }

  Result<void> setTag(Statement &out) {
    out.kind = StatementKind::Set;
    QUANT_TRY_ASSIGN(std::string name, identifier());
    out.names.push_back(std::move(name));
    if (take(".")) {
      QUANT_TRY_ASSIGN(std::string attribute, identifier());
      out.names.push_back(std::move(attribute));
    }
    if (!take("="))
      return failAt(current().line, "a set without '=' (a block, or several targets) is not read");
    QUANT_TRY_ASSIGN(out.value, expression());
    return blockEnd();
  }

  Result<void> macroTag(Statement &out) {
    out.kind = StatementKind::Macro;
    QUANT_TRY_ASSIGN(out.text, identifier());
    if (!take("("))
      return failAt(current().line, "'(' is missing in a macro");
    while (!take(")")) {
      if (!out.names.empty() && !take(","))
        return failAt(current().line, "',' or ')' is missing in a macro");
      QUANT_TRY_ASSIGN(std::string name, identifier());
      out.names.push_back(std::move(name));
      out.defaults.emplace_back();
      if (take("=")) {
        QUANT_TRY_ASSIGN(out.defaults.back(), expression());
      }
    }
    QUANT_TRY(blockEnd());
    int outside = std::exchange(loops, 0);
    Result<Block> body = until({"endmacro"});
    loops = outside;
    QUANT_TRY_ASSIGN(out.body, std::move(body));
    return closing();
  }

  int loops = 0;
};

} // namespace

Result<Block> parseTemplate(std::string_view source) {
  QUANT_TRY_ASSIGN(std::vector<Token> tokens, lexTemplate(source));
  return StatementParser(std::move(tokens)).run();
}

} // namespace quant::text
