//===- decoder.cpp - from statements to instructions -----------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/quant-sim/isa/decoder.h"

#include <fmt/core.h>

#include <algorithm>
#include <cstring>

namespace quant::sim {

static const DecodeTable &decodeTable() {
  static const DecodeTable table = [] {
    DecodeTable table;
    for (auto add : {addIntegerInstructions, addLogicInstructions, addFloatInstructions, addCompareInstructions,
                     addConvertInstructions, addMoveInstructions, addMemoryInstructions, addAtomicInstructions,
                     addControlInstructions, addWarpInstructions, addBarrierInstructions, addMbarrierInstructions,
                     addBulkInstructions, addMatrixInstructions, addMmaInstructions, addWgmmaInstructions})
      add(table);
    return table;
  }();
  return table;
}

Decoder::Decoder(const PtxModule &module, const Function &function, const std::vector<PlacedVariable> &globals)
    : module(module), function(function), globals(globals) {
  program.module = &module;
  program.function = &function;
  placeVariables();
}

void Decoder::place(const Variable &variable, uint64_t &next) {
  next = (next + variable.align - 1) / variable.align * variable.align;
  PlacedVariable placed{variable.name, variable.space, next, variable.bytes};
  next += variable.bytes;
  program.variables.push_back(placed);
}

/// Parameters, then shared and local variables; dynamic shared memory, all of whose names are one address, comes last.
void Decoder::placeVariables() {
  for (const PlacedVariable &global : globals)
    variables[{-1, global.name}] = global;
  for (const Variable &param : function.params) {
    place(param, program.paramBytes);
    variables[{-1, param.name}] = program.variables.back();
  }
  uint64_t shared = kSharedBegin, dynamicAlign = 16;
  std::vector<const Variable *> dynamic;
  auto placeOne = [&](int scope, const Variable &variable) {
    if (variable.space == Space::Shared && variable.bytes == 0) {
      dynamic.push_back(&variable);
      dynamicAlign = std::max(dynamicAlign, variable.align);
    } else if (variable.space == Space::Shared || variable.space == Space::Local || variable.space == Space::Param) {
      // Parameters of calls are local.
      place(variable, variable.space == Space::Shared ? shared : program.localBytes);
      if (variable.space == Space::Param)
        program.variables.back().space = Space::Local;
      variables[{scope, variable.name}] = program.variables.back();
    }
  };
  for (const Variable &variable : module.variables)
    placeOne(-1, variable);
  for (size_t scope = 0; scope < function.scopes.size(); ++scope)
    for (const Variable &variable : function.scopes[scope].variables)
      placeOne(static_cast<int>(scope), variable);
  program.dynamicShared = (shared + dynamicAlign - 1) / dynamicAlign * dynamicAlign;
  program.hasDynamicShared = !dynamic.empty();
  for (const Variable *variable : dynamic) {
    program.variables.push_back({variable->name, Space::Shared, program.dynamicShared, 0});
    variables[{-1, variable->name}] = program.variables.back();
  }
  program.localBytes = (program.localBytes + 15) / 16 * 16;
}

bool Decoder::resolveLabel(const std::string &name, uint32_t &target) const {
  for (int scope = statement->scope; scope >= 0; scope = function.scopes[scope].parent) {
    const auto &labels = function.scopes[scope].labels;
    if (auto at = labels.find(name); at != labels.end()) {
      target = static_cast<uint32_t>(at->second);
      return true;
    }
  }
  return false;
}

void Decoder::fail(const std::string &what) {
  if (error.empty())
    error = fmt::format("line {}: {}: {}", statement->line, statement->opcode, what);
}

void Decoder::exec(Exec exec, Type type) {
  instr.exec = exec;
  instr.type = type;
  if (!exec)
    fail(type == Type::None ? "this type or form is not supported" : "." + std::string(nameOf(type)) + " is not supported");
}

bool Decoder::decodeStatement(const Statement &from) {
  statement = &from;
  instr = {};
  instr.statement = static_cast<uint32_t>(program.code.size());
  instr.list = static_cast<uint32_t>(program.lists.size());
  written.clear();
  reads.clear();
  modifiers.clear();
  std::string_view rest = from.opcode;
  base = rest.substr(0, rest.find('.'));
  while (rest.find('.') != std::string_view::npos) {
    rest.remove_prefix(rest.find('.') + 1);
    modifiers.push_back(rest.substr(0, rest.find('.')));
  }
  auto family = decodeTable().find(base);
  if (family == decodeTable().end()) {
    fail("the simulator does not know this instruction");
    return false;
  }
  if (!from.guard.empty()) {
    instr.guard = predicateSlot({.kind = Operand::Kind::Name, .name = from.guard, .elements = {}}, false);
    instr.guardNegated = from.guardNegated;
  }
  family->second(*this);
  if (!modifiers.empty())
    fail("the simulator does not know ." + std::string(modifiers.front()) + " here");
  if (error.empty() && instr.isBranch && operandCount() > 0 && !resolveLabel(operand(0).name, instr.target))
    fail("there is no label '" + operand(0).name + "'");
  instr.listSize = static_cast<uint32_t>(program.lists.size()) - instr.list;
  instr.touched = static_cast<uint32_t>(program.touched.size());
  instr.touchedWrites = static_cast<uint32_t>(written.size());
  if (base != "wgmma") {
    program.touched.insert(program.touched.end(), written.begin(), written.end());
    program.touched.insert(program.touched.end(), reads.begin(), reads.end());
  } else {
    wgmmaSlots.insert(wgmmaSlots.end(), written.begin(), written.end());
    wgmmaSlots.insert(wgmmaSlots.end(), reads.begin(), reads.end());
  }
  instr.touchedSize = static_cast<uint32_t>(program.touched.size()) - instr.touched;
  program.code.push_back(instr);
  return error.empty();
}

/// Marks the instructions that write what a wgmma uses.
void Decoder::findWgmmaRegisters() {
  std::vector<bool> used(program.slots.size());
  for (int32_t slot : wgmmaSlots)
    used[slot] = program.slots[slot].kind == SlotInit::Kind::Register;
  for (Instr &instr : program.code)
    for (uint32_t i = 0; i < std::min(instr.touchedWrites, instr.touchedSize); ++i)
      instr.writesWgmmaRegister |= used[program.touched[instr.touched + i]];
}

Result<Program> Decoder::decode() {
  for (const Statement &from : function.body)
    if (!decodeStatement(from))
      return quant::fail(error);
  program.predicates = nextPredicate;
  findWgmmaRegisters();
  findReconvergence(program);
  return std::move(program);
}

Result<Program> decode(const PtxModule &module, const Function &function, const std::vector<PlacedVariable> &globals) {
  return Decoder(module, function, globals).decode();
}

} // namespace quant::sim
