//===- ptx_parser.cpp - PTX modules, variables and entries ----------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/quant-sim/ptx/ptx_parser.h"

#include <algorithm>

namespace quant::sim {

namespace {
/// More than any GPU has; keeps sizes and sums of sizes far from overflow.
constexpr uint64_t kMaxVariableBytes = uint64_t(1) << 32;
constexpr uint64_t kMaxAlign = 1 << 16;
} // namespace

bool PtxParser::take(std::string_view text) {
  if (!isNext(text))
    return false;
  ++at;
  return true;
}

bool PtxParser::failHere(const std::string &what) {
  if (!error) {
    std::string found = peek().kind == Token::Kind::End ? "the end" : "'" + std::string(peek().text.substr(0, 60)) + "'";
    error = Error{"line " + std::to_string(peek().line) + ": " + what + ", found " + found};
  }
  return false;
}

bool PtxParser::expect(std::string_view text) { return take(text) || failHere("expected '" + std::string(text) + "'"); }

bool PtxParser::integer(uint64_t &value) {
  if (peek().kind != Token::Kind::Integer)
    return failHere("expected an integer");
  value = tokens[at++].value;
  return true;
}

bool PtxParser::word(std::string &text, const char *what) {
  if (peek().kind != Token::Kind::Word)
    return failHere(std::string("expected ") + what);
  text = tokens[at++].text;
  return true;
}

void PtxParser::skipLine(int line) {
  while (peek().kind != Token::Kind::End && peek().line == line)
    ++at;
}

bool PtxParser::skipTo(std::string_view end) {
  while (!isNext(end)) {
    if (peek().kind == Token::Kind::End)
      return failHere("expected '" + std::string(end) + "'");
    ++at;
  }
  ++at;
  return true;
}

bool PtxParser::typeAndAlign(Variable &variable) {
  while (true) {
    if (take(".align")) {
      if (!integer(variable.align))
        return false;
      if (variable.align == 0 || variable.align > kMaxAlign || (variable.align & (variable.align - 1)))
        return failHere("an alignment must be a power of two up to 65536");
    } else {
      break;
    }
  }
  uint64_t vector = take(".v2") ? 2 : take(".v4") ? 4 : 1;
  std::string name;
  if (!word(name, "a type"))
    return false;
  variable.type = name.starts_with(".") ? typeNamed(std::string_view(name).substr(1)) : Type::None;
  if (variable.type == Type::None || variable.type == Type::Pred)
    return failHere("'" + name + "' is no type of a variable");
  variable.bytes = vector * bitsOf(variable.type) / 8;
  variable.align = std::max<uint64_t>(variable.align, variable.bytes);
  return true;
}

/// `[n][m]`, or `[]`: no size.
bool PtxParser::arraySize(Variable &variable) {
  while (take("[")) {
    uint64_t count = 0;
    if (!isNext("]") && !integer(count))
      return false;
    if (count > kMaxVariableBytes || variable.bytes * count > kMaxVariableBytes)
      return failHere("'" + variable.name + "' is larger than 4 GiB");
    variable.bytes *= count;
    if (!expect("]"))
      return false;
  }
  return true;
}

/// `= {1, 2}` or `= 3`.
bool PtxParser::initializer(Variable &variable) {
  bool list = take("{");
  size_t width = bitsOf(variable.type) / 8;
  do {
    Operand value;
    if (!operand(value))
      return false;
    if (value.kind == Operand::Kind::Name || value.elements.size())
      return failHere("an initial value that is not a number is not supported");
    for (size_t i = 0; i < width; ++i)
      variable.initial.push_back(static_cast<uint8_t>(i < 8 ? value.value >> (8 * i) : 0));
  } while (list && take(","));
  if (variable.initial.size() > variable.bytes)
    return failHere("more initial values than '" + variable.name + "' has elements");
  return !list || expect("}");
}

bool PtxParser::variable(Space space, bool isExtern, std::vector<Variable> &to) {
  do {
    Variable variable;
    variable.space = space;
    variable.isExtern = isExtern;
    variable.line = peek().line;
    if (!typeAndAlign(variable) || !word(variable.name, "a variable's name") || !arraySize(variable))
      return false;
    if (variable.bytes == 0 && !(isExtern && space == Space::Shared))
      return failHere("'" + variable.name + "' has no size");
    if (isExtern && space != Space::Shared)
      return failHere("'" + variable.name + "' is extern, and nothing is linked here");
    if (take("=") && !initializer(variable))
      return false;
    to.push_back(std::move(variable));
  } while (take(","));
  return expect(";");
}

bool PtxParser::params(Function &function) {
  if (!take("("))
    return true;
  while (!isNext(")")) {
    Variable param;
    param.space = Space::Param;
    param.line = peek().line;
    if (!expect(".param") || !typeAndAlign(param))
      return false;
    uint64_t ignored = 0;
    while (isNext(".ptr") || isNext(".global") || isNext(".shared") || isNext(".const") || isNext(".local") || isNext(".align")) {
      bool align = isNext(".align");
      ++at;
      if (align && !integer(ignored))
        return false;
    }
    if (!word(param.name, "a parameter's name") || !arraySize(param))
      return false;
    function.params.push_back(std::move(param));
    if (!take(","))
      break;
  }
  return expect(")");
}

bool PtxParser::attribute(Function &function, const std::string &name) {
  uint64_t product = 1, value = 0;
  std::array<uint32_t, 3> each = {1, 1, 1};
  size_t count = 0;
  do {
    if (!integer(value))
      return false;
    if (count < each.size())
      each[count++] = static_cast<uint32_t>(std::min<uint64_t>(value, 1 << 20));
    product = std::min<uint64_t>(product * std::min<uint64_t>(value, 1 << 20), uint64_t(1) << 40);
  } while (take(","));
  if (name == ".maxntid" || name == ".reqntid")
    function.maxThreads = product;
  else if (name == ".minnctapersm")
    function.minBlocksPerMultiprocessor = std::max<uint64_t>(product, 1);
  else if (name == ".maxnreg")
    function.maxRegisters = product;
  else if (name == ".reqnctapercluster")
    function.cluster = each;
  return true;
}

bool PtxParser::attributes(Function &function) {
  while (peek().kind == Token::Kind::Word && peek().text.starts_with(".")) {
    std::string name(tokens[at++].text);
    if (name == ".explicitcluster" || name == ".noreturn")
      continue;
    if (name == ".pragma") {
      if (!skipTo(";"))
        return false;
      continue;
    }
    if (name != ".maxntid" && name != ".reqntid" && name != ".minnctapersm" && name != ".maxnreg" && name != ".maxnctapersm" &&
        name != ".reqnctapercluster" && name != ".maxclusterrank") {
      --at;
      return failHere("not an attribute of a kernel that is known here");
    }
    if (!attribute(function, name))
      return false;
  }
  return true;
}

bool PtxParser::entry() {
  Function function;
  function.line = peek().line;
  if (!word(function.name, "a kernel's name") || !params(function) || !attributes(function))
    return false;
  for (const Function &other : module.functions)
    if (other.name == function.name)
      return failHere("a second kernel '" + function.name + "'");
  file = sourceLine = sourceColumn = 0;
  if (!body(function))
    return false;
  module.functions.push_back(std::move(function));
  return true;
}

/// `.extern .func (...) name (...);`: known by name, an error when it is called.
bool PtxParser::externFunction() {
  if (isNext("(") && !skipTo(")"))
    return false;
  std::string name;
  if (!word(name, "a function's name"))
    return false;
  module.externFunctions.push_back(name);
  while (!isNext(";")) {
    if (isNext("{") || peek().kind == Token::Kind::End)
      return failHere("functions beside kernels are not supported: let the compiler inline '" + name + "'");
    ++at;
  }
  return expect(";");
}

bool PtxParser::directive() {
  bool isExtern = false;
  while (isNext(".visible") || isNext(".extern") || isNext(".weak") || isNext(".common"))
    isExtern |= tokens[at++].text == ".extern";
  if (take(".entry"))
    return entry();
  if (take(".func"))
    return externFunction();
  constexpr struct {
    std::string_view name;
    Space space;
  } kSpaces[] = {{".global", Space::Global}, {".const", Space::Const}, {".shared", Space::Shared}};
  for (const auto &[name, space] : kSpaces)
    if (take(name))
      return variable(space, isExtern, module.variables);
  if (take(".target")) {
    int line = peek().line;
    if (!word(module.target, "a target"))
      return false;
    skipLine(line);
    return true;
  }
  if (take(".file")) {
    uint64_t index = 0;
    int line = peek().line;
    if (!integer(index) || peek().kind != Token::Kind::String)
      return failHere("expected a file's number and name");
    module.files[static_cast<int>(index)] = peek().text.substr(1, peek().text.size() - 2);
    skipLine(line);
    return true;
  }
  if (isNext(".version") || isNext(".address_size") || isNext(".pragma")) {
    skipLine(peek().line);
    return true;
  }
  if (take(".section"))
    return skipTo("{") && skipTo("}");
  return failHere("expected a directive");
}

Result<PtxModule> PtxParser::run() {
  while (peek().kind != Token::Kind::End)
    if (!directive())
      return tl::unexpected(*error);
  if (module.target.empty())
    return fail("line 1: no .target: this is no PTX file");
  return std::move(module);
}

Result<PtxModule> parsePtx(std::string_view text) {
  QUANT_TRY_ASSIGN(auto tokens, tokenize(text));
  auto module = PtxParser(std::move(tokens)).run();
  if (module)
    module->text = text;
  return module;
}

} // namespace quant::sim
