//===- decoder.h - from statements to instructions -------------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_TOOLS_QUANT_SIM_ISA_DECODER_H
#define QUANT_TOOLS_QUANT_SIM_ISA_DECODER_H

#include "tools/quant-sim/machine/program.h"

#include <optional>
#include <span>

namespace quant::sim {

/// Decodes one kernel, instruction by instruction. The methods below `decode` are for the instruction families: they take
/// modifiers and operands of the instruction at hand, and remember the first thing that is wrong; what they return then is safe
/// to use and means nothing.
class Decoder {
public:
  Decoder(const PtxModule &module, const Function &function, const std::vector<PlacedVariable> &globals);
  Result<Program> decode();

  /// True, once, if the instruction has that modifier: `take("sync")`.
  bool take(std::string_view modifier);
  /// The first of these modifiers that it has, or "".
  std::string_view takeOne(std::initializer_list<std::string_view> modifiers);
  /// As takeOne, and it is an error to have none.
  std::string_view require(std::initializer_list<std::string_view> modifiers);
  /// The next modifier that is a type.
  Type takeType();
  bool hasModifiers() const { return !modifiers.empty(); }
  /// Cache hints that change nothing here: .L1::evict_last, .L2::128B, .relaxed scopes stay with their families.
  void dropCacheHints();

  /// The number of operands must be within this.
  void count(size_t least, size_t most);
  void count(size_t exactly) { count(exactly, exactly); }
  const Operand &operand(size_t i) const;
  size_t operandCount() const { return statement->operands.size(); }

  // Operand i into instr.op[to].
  void write(size_t to, size_t i, Type type) { instr.op[to] = writeSlot(operand(i), type); }
  void read(size_t to, size_t i, Type type) { instr.op[to] = readSlot(operand(i), type); }
  void writePredicate(size_t to, size_t i) { instr.op[to] = predicateSlot(operand(i), true); }
  void readPredicate(size_t to, size_t i) { instr.op[to] = predicateSlot(operand(i), false); }
  /// `[address]`: op[to] is its base, imm[0] its offset.
  void address(size_t to, size_t i, size_t element = 0);

  int32_t writeSlot(const Operand &operand, Type type);
  int32_t readSlot(const Operand &operand, Type type);
  int32_t predicateSlot(const Operand &operand, bool written);
  int32_t constant(uint64_t value);
  /// Appends the slots of a vector operand (or of a single one) to the instruction's list; returns how many.
  uint32_t readList(const Operand &operand, Type type);
  uint32_t writeList(const Operand &operand, Type type);
  /// The value of an operand that must be an integer literal.
  int64_t literal(size_t i);
  bool isRegister(const Operand &operand);
  /// Bits of the register, 0 if it is none.
  int registerBits(const Operand &operand);

  void fail(const std::string &what);
  /// Sets how it is executed; null: an error that names the type.
  void exec(Exec exec, Type type = Type::None);

  Instr instr;
  std::string_view base;

private:
  struct Register {
    Type type;
    int32_t slot;
  };
  void place(const Variable &variable, uint64_t &next);
  void placeVariables();
  bool decodeStatement(const Statement &statement);
  bool resolveLabel(const std::string &name, uint32_t &target) const;
  const Register *findRegister(const std::string &name);
  const PlacedVariable *findVariable(const std::string &name) const;
  std::optional<int32_t> specialSlot(const std::string &name);
  uint64_t immediate(const Operand &operand, Type type);
  void touch(int32_t slot, bool written);
  void findWgmmaRegisters();

  const PtxModule &module;
  const Function &function;
  const std::vector<PlacedVariable> &globals;
  Program program;
  const Statement *statement = nullptr;
  std::vector<std::string_view> modifiers;
  std::vector<int32_t> written, reads;
  std::string error;
  std::map<std::pair<int, std::string>, Register> registers;
  int32_t nextPredicate = 0;
  std::map<uint64_t, int32_t> constants;
  std::map<std::string, int32_t> specials;
  /// By scope; -1 stands for the module and the parameters.
  std::map<std::pair<int, std::string>, PlacedVariable> variables;
  std::vector<int32_t> wgmmaSlots;
};

using DecodeFunction = void (*)(Decoder &decoder);
using DecodeTable = std::map<std::string_view, DecodeFunction>;

// One per family; each is in a file of its name.
void addIntegerInstructions(DecodeTable &table);
void addLogicInstructions(DecodeTable &table);
void addFloatInstructions(DecodeTable &table);
void addCompareInstructions(DecodeTable &table);
void addConvertInstructions(DecodeTable &table);
void addMoveInstructions(DecodeTable &table);
void addMemoryInstructions(DecodeTable &table);
void addAtomicInstructions(DecodeTable &table);
void addControlInstructions(DecodeTable &table);
void addWarpInstructions(DecodeTable &table);
void addBarrierInstructions(DecodeTable &table);
void addMbarrierInstructions(DecodeTable &table);
void addBulkInstructions(DecodeTable &table);
void addMatrixInstructions(DecodeTable &table);
void addMmaInstructions(DecodeTable &table);
void addWgmmaInstructions(DecodeTable &table);

} // namespace quant::sim

#endif // QUANT_TOOLS_QUANT_SIM_ISA_DECODER_H
