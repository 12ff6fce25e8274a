//===- ptx.h - PTX text as a tree ------------------------------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_TOOLS_QUANT_SIM_PTX_PTX_H
#define QUANT_TOOLS_QUANT_SIM_PTX_PTX_H

#include "runtime/support/result.h"

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace quant::sim {

/// PTX's types, and the element types of wgmma and cvt.
enum class Type : uint8_t {
  None,
  Pred,
  B8,
  B16,
  B32,
  B64,
  B128,
  U8,
  U16,
  U32,
  U64,
  S8,
  S16,
  S32,
  S64,
  F16,
  F16x2,
  BF16,
  BF16x2,
  F32,
  F64,
  TF32,
  E4M3,
  E5M2,
  E4M3x2,
  E5M2x2,
};

/// The type of that name without its dot, or None.
Type typeNamed(std::string_view name);
std::string_view nameOf(Type type);
/// Bits of a value: 1 for Pred.
int bitsOf(Type type);
bool isSigned(Type type);
bool isFloat(Type type);

/// State spaces. A generic address may point into any of the others.
/// SharedCluster: of any block of the cluster.
enum class Space : uint8_t { Generic, Param, Global, Const, Shared, SharedCluster, Local };

/// A `.shared`, `.global`, `.const`, `.local` or `.param` variable.
struct Variable {
  std::string name;
  Space space = Space::Global;
  Type type = Type::B8;
  uint64_t align = 1;
  /// 0 for an extern array without a size: dynamic shared memory.
  uint64_t bytes = 0;
  bool isExtern = false;
  /// Initial bytes; the rest is zero.
  std::vector<uint8_t> initial;
  int line = 0;
};

/// One operand as written.
struct Operand {
  enum class Kind : uint8_t { Name, Integer, Float32, Float64, Memory, Vector, List, Sink };
  Kind kind = Kind::Sink;
  /// `!p`.
  bool negated = false;
  std::string name;
  /// Integer: the value; Float32, Float64: its bits.
  uint64_t value = 0;
  /// `name + offset`.
  int64_t offset = 0;
  /// Memory: what stands between the brackets. Vector, List: the elements. Name: what follows `|`.
  std::vector<Operand> elements;
};

/// One instruction as written.
struct Statement {
  int line = 0;
  /// Index into Function::scopes.
  int scope = 0;
  /// `.loc` in force: file, line and column of the source, 0 if there is none.
  int file = 0, sourceLine = 0, sourceColumn = 0;
  /// Empty: unconditional.
  std::string guard;
  bool guardNegated = false;
  std::string opcode;
  std::vector<Operand> operands;
};

/// A `{ }` block: registers, variables and labels of its own.
struct Scope {
  int parent = -1;
  std::map<std::string, Type, std::less<>> registers;
  /// `%r<n>`: prefix to (type, n).
  std::map<std::string, std::pair<Type, uint64_t>, std::less<>> registerRanges;
  std::vector<Variable> variables;
  /// Label to the index of the statement after it.
  std::map<std::string, size_t, std::less<>> labels;
};

/// A `.entry`.
struct Function {
  std::string name;
  int line = 0;
  std::vector<Variable> params;
  /// `.maxntid` or `.reqntid`: threads of a block at most, 0 if not given.
  uint64_t maxThreads = 0;
  uint64_t minBlocksPerMultiprocessor = 1;
  uint64_t maxRegisters = 0;
  /// `.reqnctapercluster`: blocks of a cluster in x, y and z; zeros if not given.
  std::array<uint32_t, 3> cluster = {};
  std::vector<Statement> body;
  std::vector<Scope> scopes;
};

/// A PTX file.
struct PtxModule {
  std::string target;
  std::vector<Variable> variables;
  std::vector<Function> functions;
  std::vector<std::string> externFunctions;
  /// `.file`: index to name.
  std::map<int, std::string> files;
  /// The text it was read from, for messages.
  std::string text;
};

struct Token {
  enum class Kind : uint8_t { Word, Integer, Float32, Float64, String, Punctuation, End };
  Kind kind = Kind::End;
  std::string_view text;
  uint64_t value = 0;
  int line = 0;
};

/// The tokens of `text`, which must outlive them, with an End at the end. A word keeps its dots: `mov.b32`, `%tid.x`, `.reg`.
Result<std::vector<Token>> tokenize(std::string_view text);

/// Reads PTX 8.x. Errors begin with the line: "line 12: ...".
Result<PtxModule> parsePtx(std::string_view text);

} // namespace quant::sim

#endif // QUANT_TOOLS_QUANT_SIM_PTX_PTX_H
