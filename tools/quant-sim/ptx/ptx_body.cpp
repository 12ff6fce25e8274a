//===- ptx_body.cpp - PTX function bodies ---------------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/quant-sim/ptx/ptx_parser.h"

#include <algorithm>
#include <bit>

namespace quant::sim {

namespace {
/// Branches by index count as several; real kernels have some 10,000.
constexpr size_t kMaxStatements = 1 << 20;
constexpr int kMaxDepth = 4;
constexpr size_t kMaxScopes = 1 << 16;
constexpr uint64_t kMaxRegisters = 1 << 16;
} // namespace

bool PtxParser::number(Operand &operand) {
  bool minus = take("-");
  const Token &token = peek();
  if (token.kind == Token::Kind::Integer) {
    operand.kind = Operand::Kind::Integer;
    operand.value = minus ? -token.value : token.value;
  } else if (token.kind == Token::Kind::Float32) {
    operand.kind = Operand::Kind::Float32;
    operand.value = token.value ^ (minus ? uint64_t(1) << 31 : 0);
  } else if (token.kind == Token::Kind::Float64) {
    operand.kind = Operand::Kind::Float64;
    operand.value = token.value ^ (minus ? uint64_t(1) << 63 : 0);
  } else {
    return failHere("expected an operand");
  }
  ++at;
  return true;
}

/// `_`, `%r1`, `%r1+8`, `%r1|%p2`.
bool PtxParser::named(Operand &operand, int depth) {
  std::string name(tokens[at++].text);
  if (name == "_") {
    operand.kind = Operand::Kind::Sink;
    if (!isNext("|"))
      return true;
  } else {
    operand.kind = Operand::Kind::Name;
    operand.name = std::move(name);
  }
  if (take("|"))
    return this->operand(operand.elements.emplace_back(), depth + 1);
  if (isNext("+") || (isNext("-") && peek(1).kind == Token::Kind::Integer)) {
    take("+"); // A minus is the number's.
    Operand offset;
    if (!number(offset))
      return false;
    if (offset.kind != Operand::Kind::Integer)
      return failHere("an offset must be an integer");
    operand.offset = static_cast<int64_t>(offset.value);
  }
  return true;
}

bool PtxParser::operandList(Operand &operand, std::string_view end, int depth) {
  if (take(end))
    return true;
  do {
    if (!this->operand(operand.elements.emplace_back(), depth + 1))
      return false;
  } while (take(","));
  return expect(end);
}

bool PtxParser::operand(Operand &operand, int depth) {
  if (depth > kMaxDepth)
    return failHere("operands nested too deeply");
  if (take("{")) {
    operand.kind = Operand::Kind::Vector;
    return operandList(operand, "}", depth);
  }
  if (take("[")) {
    operand.kind = Operand::Kind::Memory;
    return operandList(operand, "]", depth);
  }
  if (take("(")) {
    operand.kind = Operand::Kind::List;
    return operandList(operand, ")", depth);
  }
  operand.negated = take("!");
  return peek().kind == Token::Kind::Word ? named(operand, depth) : number(operand);
}

bool PtxParser::instruction(Function &function) {
  Statement statement;
  statement.line = peek().line;
  statement.scope = scope;
  statement.file = file;
  statement.sourceLine = sourceLine;
  statement.sourceColumn = sourceColumn;
  if (take("@")) {
    statement.guardNegated = take("!");
    if (!word(statement.guard, "a predicate"))
      return false;
  }
  statement.line = peek().line;
  if (!word(statement.opcode, "an instruction"))
    return false;
  while (!isNext(";")) {
    if (!operand(statement.operands.emplace_back()))
      return false;
    // `call (ret), name, (args)` and friends separate with commas as well.
    if (!take(",") && !isNext(";"))
      return failHere("expected ',' or ';'");
  }
  if (statement.opcode.starts_with("brx."))
    return expect(";") && branchByIndex(function, statement);
  function.body.push_back(std::move(statement));
  return expect(";");
}

/// `brx.idx %r, targets` as a chain of branches; an index beyond the last traps.
bool PtxParser::branchByIndex(Function &function, const Statement &statement) {
  constexpr const char *kMatches = "%brx_matches";
  bool isKnown = statement.opcode == "brx.idx" || statement.opcode == "brx.idx.uni";
  if (!isKnown || statement.operands.size() != 2 || !statement.guard.empty())
    return failHere("this form of brx is not supported");
  auto targets = branchTargets.find({scope, statement.operands[1].name});
  if (targets == branchTargets.end())
    return failHere("there are no .branchtargets '" + statement.operands[1].name + "' before");
  if (function.body.size() + targets->second.size() > kMaxStatements)
    return failHere("a kernel of more than " + std::to_string(kMaxStatements) + " instructions");
  function.scopes[scope].registers[kMatches] = Type::Pred;
  Statement one = statement;
  for (size_t i = 0; i < targets->second.size(); ++i) {
    one.opcode = "setp.eq.u32";
    one.guard.clear();
    one.operands = {{.kind = Operand::Kind::Name, .name = kMatches, .elements = {}},
                    statement.operands[0],
                    {.kind = Operand::Kind::Integer, .name = {}, .value = i, .elements = {}}};
    function.body.push_back(one);
    one.opcode = "bra";
    one.guard = kMatches;
    one.operands = {{.kind = Operand::Kind::Name, .name = targets->second[i], .elements = {}}};
    function.body.push_back(one);
  }
  one.opcode = "trap";
  one.guard.clear();
  one.operands.clear();
  function.body.push_back(std::move(one));
  return true;
}

/// `name: .branchtargets A, B;`
bool PtxParser::branchTargetList() {
  auto &names = branchTargets[{scope, lastLabel}];
  do {
    if (!word(names.emplace_back(), "a label"))
      return false;
  } while (take(","));
  return expect(";");
}

/// `.reg .b32 %r<10>, a, b;`
bool PtxParser::registers(Scope &scope) {
  std::string typeName;
  if (!word(typeName, "a type"))
    return false;
  Type type = typeName.starts_with(".") ? typeNamed(std::string_view(typeName).substr(1)) : Type::None;
  if (type == Type::None)
    return failHere("'" + typeName + "' is no type of a register");
  do {
    std::string name;
    if (!word(name, "a register's name"))
      return false;
    if (take("<")) {
      uint64_t count = 0;
      if (!integer(count) || count > kMaxRegisters)
        return failHere("expected a number of registers up to 65536");
      scope.registerRanges[name] = {type, count};
      if (!expect(">"))
        return false;
    } else {
      scope.registers[name] = type;
    }
  } while (take(","));
  return expect(";");
}

/// `.loc file line column`, and what follows on that line.
bool PtxParser::location() {
  uint64_t values[3] = {};
  int line = peek().line;
  for (uint64_t &value : values)
    if (!integer(value))
      return false;
  file = static_cast<int>(values[0]), sourceLine = static_cast<int>(values[1]), sourceColumn = static_cast<int>(values[2]);
  while (peek().kind != Token::Kind::End && peek().line == line)
    ++at;
  return true;
}

bool PtxParser::bodyDirective(Function &function) {
  std::string name(tokens[at++].text);
  Scope &current = function.scopes[scope];
  if (name == ".reg")
    return registers(current);
  if (name == ".loc")
    return location();
  if (name == ".shared" || name == ".local" || name == ".param")
    return variable(name == ".shared" ? Space::Shared : name == ".local" ? Space::Local : Space::Param, false, current.variables);
  if (name == ".pragma")
    return skipTo(";");
  if (name == ".branchtargets")
    return branchTargetList();
  --at;
  return failHere("not a directive of a kernel's body that is known here");
}

bool PtxParser::body(Function &function) {
  if (!expect("{"))
    return false;
  function.scopes.emplace_back();
  scope = 0;
  branchTargets.clear();
  while (true) {
    if (take("{")) {
      if (function.scopes.size() >= kMaxScopes)
        return failHere("too many blocks");
      function.scopes.emplace_back().parent = scope;
      scope = static_cast<int>(function.scopes.size()) - 1;
    } else if (take("}")) {
      if (scope == 0)
        return true;
      scope = function.scopes[scope].parent;
    } else if (take(";")) {
      continue;
    } else if (peek().kind == Token::Kind::Word && peek(1).text == ":") {
      std::string label(peek().text);
      if (!function.scopes[scope].labels.emplace(label, function.body.size()).second)
        return failHere("a second label of that name");
      lastLabel = std::move(label);
      at += 2;
    } else if (peek().kind == Token::Kind::Word && peek().text.starts_with(".")) {
      if (!bodyDirective(function))
        return false;
    } else if (!instruction(function)) {
      return false;
    }
  }
}

} // namespace quant::sim
