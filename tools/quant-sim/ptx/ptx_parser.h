//===- ptx_parser.h - reads PTX tokens -------------------------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_TOOLS_QUANT_SIM_PTX_PTX_PARSER_H
#define QUANT_TOOLS_QUANT_SIM_PTX_PTX_PARSER_H

#include "tools/quant-sim/ptx/ptx.h"

#include <optional>

namespace quant::sim {

/// Recursive descent over tokens. A method that returns false has set `error`.
class PtxParser {
public:
  explicit PtxParser(std::vector<Token> tokens) : tokens(std::move(tokens)) {}
  Result<PtxModule> run();

private:
  // Tokens.
  const Token &peek(size_t ahead = 0) const { return tokens[std::min(at + ahead, tokens.size() - 1)]; }
  bool isNext(std::string_view text) const { return peek().text == text && peek().kind != Token::Kind::String; }
  bool take(std::string_view text);
  bool expect(std::string_view text);
  bool integer(uint64_t &value);
  bool word(std::string &text, const char *what);
  bool failHere(const std::string &what);
  /// Skips what is left on line `line`.
  void skipLine(int line);
  bool skipTo(std::string_view end);

  // ptx_parser.cpp: the module.
  bool directive();
  bool externFunction();
  bool variable(Space space, bool isExtern, std::vector<Variable> &to);
  bool typeAndAlign(Variable &variable);
  bool arraySize(Variable &variable);
  bool initializer(Variable &variable);
  bool entry();
  bool params(Function &function);
  bool attributes(Function &function);
  bool attribute(Function &function, const std::string &name);

  // ptx_body.cpp: a function's body.
  bool body(Function &function);
  bool bodyDirective(Function &function);
  bool registers(Scope &scope);
  bool location();
  bool instruction(Function &function);
  bool branchByIndex(Function &function, const Statement &statement);
  bool branchTargetList();
  bool operand(Operand &operand, int depth = 0);
  bool operandList(Operand &operand, std::string_view end, int depth);
  bool named(Operand &operand, int depth);
  bool number(Operand &operand);

  std::vector<Token> tokens;
  size_t at = 0;
  PtxModule module;
  std::optional<Error> error;
  int scope = 0;
  /// `.branchtargets` of the function at hand, by scope and label.
  std::map<std::pair<int, std::string>, std::vector<std::string>> branchTargets;
  std::string lastLabel;
  int file = 0, sourceLine = 0, sourceColumn = 0;
};

} // namespace quant::sim

#endif // QUANT_TOOLS_QUANT_SIM_PTX_PTX_PARSER_H
