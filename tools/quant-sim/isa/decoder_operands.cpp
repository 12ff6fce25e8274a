//===- decoder_operands.cpp - modifiers and operands -----------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/quant-sim/isa/decoder.h"

#include <fmt/core.h>

#include <algorithm>
#include <bit>
#include <charconv>

namespace quant::sim {

//===----------------------------------------------------------------------===//
// Modifiers
//===----------------------------------------------------------------------===//

bool Decoder::take(std::string_view modifier) {
  auto at = std::find(modifiers.begin(), modifiers.end(), modifier);
  if (at == modifiers.end())
    return false;
  modifiers.erase(at);
  return true;
}

std::string_view Decoder::takeOne(std::initializer_list<std::string_view> names) {
  for (std::string_view name : names)
    if (take(name))
      return name;
  return {};
}

std::string_view Decoder::require(std::initializer_list<std::string_view> names) {
  std::string_view found = takeOne(names);
  if (found.empty())
    fail("expected one of the modifiers ." + [&] {
      std::string list;
      for (std::string_view name : names)
        list += (list.empty() ? "" : ", .") + std::string(name);
      return list;
    }());
  return found;
}

Type Decoder::takeType() {
  for (auto at = modifiers.begin(); at != modifiers.end(); ++at)
    if (Type type = typeNamed(*at); type != Type::None) {
      modifiers.erase(at);
      return type;
    }
  fail("expected a type");
  return Type::B32;
}

void Decoder::dropCacheHints() {
  constexpr std::string_view kHints[] = {"L1::evict_normal",
                                         "L1::evict_unchanged",
                                         "L1::evict_first",
                                         "L1::evict_last",
                                         "L1::no_allocate",
                                         "L2::evict_normal",
                                         "L2::evict_first",
                                         "L2::evict_last",
                                         "L2::64B",
                                         "L2::128B",
                                         "L2::256B",
                                         "ca",
                                         "cg",
                                         "cs",
                                         "lu",
                                         "cv",
                                         "wb",
                                         "wt",
                                         "nc"};
  for (std::string_view hint : kHints)
    take(hint);
}

//===----------------------------------------------------------------------===//
// Operands
//===----------------------------------------------------------------------===//

void Decoder::count(size_t least, size_t most) {
  if (operandCount() < least || operandCount() > most)
    fail(fmt::format("has {} operands, not {}{}", operandCount(), least, least == most ? "" : " to " + std::to_string(most)));
}

const Operand &Decoder::operand(size_t i) const {
  static const Operand kNone;
  return i < statement->operands.size() ? statement->operands[i] : kNone;
}

const Decoder::Register *Decoder::findRegister(const std::string &name) {
  for (int scope = statement->scope; scope >= 0; scope = function.scopes[scope].parent) {
    if (auto at = registers.find({scope, name}); at != registers.end())
      return &at->second;
    const Scope &names = function.scopes[scope];
    Type type = Type::None;
    if (auto at = names.registers.find(name); at != names.registers.end())
      type = at->second;
    size_t digits = name.size();
    while (digits > 0 && name[digits - 1] >= '0' && name[digits - 1] <= '9')
      --digits;
    uint64_t number = 0;
    auto range = names.registerRanges.find(std::string_view(name).substr(0, digits));
    if (type == Type::None && range != names.registerRanges.end() && digits < name.size() &&
        std::from_chars(name.data() + digits, name.data() + name.size(), number).ec == std::errc() &&
        number < range->second.second)
      type = range->second.first;
    if (type == Type::None)
      continue;
    int32_t slot = type == Type::Pred ? nextPredicate++ : static_cast<int32_t>(program.slots.size());
    if (type != Type::Pred)
      program.slots.emplace_back();
    return &registers.emplace(std::pair(scope, name), Register{type, slot}).first->second;
  }
  return nullptr;
}

const PlacedVariable *Decoder::findVariable(const std::string &name) const {
  for (int scope = statement->scope;; scope = function.scopes[scope].parent) {
    if (auto at = variables.find({scope, name}); at != variables.end())
      return &at->second;
    if (scope < 0)
      return nullptr;
  }
}

std::optional<int32_t> Decoder::specialSlot(const std::string &name) {
  constexpr std::string_view kAxes[] = {"%tid",       "%ntid",       "%ctaid",         "%nctaid",
                                        "%clusterid", "%nclusterid", "%cluster_ctaid", "%cluster_nctaid"};
  constexpr std::string_view kPlain[] = {"%laneid",
                                         "%warpid",
                                         "%nwarpid",
                                         "%smid",
                                         "%nsmid",
                                         "%gridid",
                                         "%lanemask_eq",
                                         "%lanemask_lt",
                                         "%lanemask_le",
                                         "%lanemask_gt",
                                         "%lanemask_ge",
                                         "%cluster_ctarank",
                                         "%cluster_nctarank",
                                         "%dynamic_smem_size",
                                         "%total_smem_size"};
  size_t dot = name.find('.');
  std::string_view root = std::string_view(name).substr(0, dot);
  bool axis = dot != std::string::npos && name.size() == dot + 2 && name[dot + 1] >= 'x' && name[dot + 1] <= 'z';
  bool known = axis ? std::find(std::begin(kAxes), std::end(kAxes), root) != std::end(kAxes)
                    : std::find(std::begin(kPlain), std::end(kPlain), std::string_view(name)) != std::end(kPlain);
  if (!known)
    return std::nullopt;
  auto [at, isNew] = specials.try_emplace(name, static_cast<int32_t>(program.slots.size()));
  if (isNew)
    program.slots.push_back({.kind = SlotInit::Kind::Special, .value = 0, .special = name});
  return at->second;
}

bool Decoder::isRegister(const Operand &operand) {
  return operand.kind == Operand::Kind::Name && findRegister(operand.name) != nullptr;
}

int Decoder::registerBits(const Operand &operand) {
  const Register *found = operand.kind == Operand::Kind::Name ? findRegister(operand.name) : nullptr;
  return found ? bitsOf(found->type) : 0;
}

void Decoder::touch(int32_t slot, bool isWritten) { (isWritten ? written : reads).push_back(slot); }

int32_t Decoder::constant(uint64_t value) {
  auto [at, isNew] = constants.try_emplace(value, static_cast<int32_t>(program.slots.size()));
  if (isNew)
    program.slots.push_back({.kind = SlotInit::Kind::Constant, .value = value, .special = {}});
  return at->second;
}

int32_t Decoder::writeSlot(const Operand &operand, Type type) {
  if (operand.kind == Operand::Kind::Sink) {
    program.slots.emplace_back();
    return static_cast<int32_t>(program.slots.size()) - 1;
  }
  const Register *found = operand.kind == Operand::Kind::Name ? findRegister(operand.name) : nullptr;
  if (!found || found->type == Type::Pred || bitsOf(found->type) < bitsOf(type) || operand.offset || operand.negated) {
    fail(fmt::format("'{}' is no register of {} bits to write to", operand.name, bitsOf(type)));
    return constant(0);
  }
  touch(found->slot, true);
  return found->slot;
}

uint64_t Decoder::immediate(const Operand &operand, Type type) {
  if (operand.kind == Operand::Kind::Integer) {
    if (isFloat(type) && bitsOf(type) >= 32 && type != Type::F16x2 && type != Type::BF16x2)
      fail("an integer where a floating-point number must be");
    return operand.value;
  }
  if (operand.kind == Operand::Kind::Float32)
    return type == Type::F64 ? std::bit_cast<uint64_t>(double(std::bit_cast<float>(uint32_t(operand.value)))) : operand.value;
  if (type == Type::F32 || type == Type::B32)
    return std::bit_cast<uint32_t>(float(std::bit_cast<double>(operand.value)));
  if (bitsOf(type) != 64)
    fail(fmt::format("a number of 64 bits where {} must be", bitsOf(type)));
  return operand.value;
}

int32_t Decoder::readSlot(const Operand &operand, Type type) {
  using Kind = Operand::Kind;
  if (operand.kind == Kind::Integer || operand.kind == Kind::Float32 || operand.kind == Kind::Float64)
    return constant(immediate(operand, type) & (~uint64_t(0) >> (64 - std::clamp(bitsOf(type), 1, 64))));
  if (operand.kind != Kind::Name || operand.negated || !operand.elements.empty()) {
    fail("an operand of the wrong kind");
    return constant(0);
  }
  if (const Register *found = findRegister(operand.name)) {
    if (found->type == Type::Pred || bitsOf(found->type) < bitsOf(type) || operand.offset)
      fail(fmt::format("'{}' is no register of {} bits", operand.name, bitsOf(type)));
    if (found->type == Type::Pred)
      return constant(0);
    touch(found->slot, false);
    return found->slot;
  }
  if (auto special = specialSlot(operand.name))
    return *special;
  if (const PlacedVariable *variable = findVariable(operand.name))
    return constant(variable->address + static_cast<uint64_t>(operand.offset));
  fail("'" + operand.name + "' is not declared");
  return constant(0);
}

int32_t Decoder::predicateSlot(const Operand &operand, bool isWritten) {
  if (isWritten && operand.kind == Operand::Kind::Sink)
    return nextPredicate++;
  const Register *found = operand.kind == Operand::Kind::Name ? findRegister(operand.name) : nullptr;
  if (found && found->type == Type::Pred && !operand.offset && (!operand.negated || !isWritten))
    return found->slot;
  fail("'" + operand.name + "' is no predicate");
  return nextPredicate++;
}

void Decoder::address(size_t to, size_t i, size_t element) {
  const Operand &memory = operand(i);
  instr.op[to] = constant(0);
  if (memory.kind != Operand::Kind::Memory || element >= memory.elements.size())
    return fail(fmt::format("operand {} is no address", i + 1));
  const Operand &place = memory.elements[element];
  if (place.kind == Operand::Kind::Integer) {
    instr.imm[0] = static_cast<int64_t>(place.value);
  } else if (isRegister(place)) {
    Operand plain = place;
    plain.offset = 0;
    instr.op[to] = readSlot(plain, Type::B32);
    instr.imm[0] = place.offset;
  } else {
    instr.op[to] = readSlot(place, Type::B64);
    const PlacedVariable *variable = findVariable(place.name);
    if (instr.space == Space::Param && variable && variable->space == Space::Local)
      instr.space = Space::Local;
  }
}

uint32_t Decoder::readList(const Operand &operand, Type type) {
  if (operand.kind != Operand::Kind::Vector) {
    program.lists.push_back(readSlot(operand, type));
    return 1;
  }
  for (const Operand &element : operand.elements)
    program.lists.push_back(readSlot(element, type));
  return static_cast<uint32_t>(operand.elements.size());
}

uint32_t Decoder::writeList(const Operand &operand, Type type) {
  if (operand.kind != Operand::Kind::Vector) {
    program.lists.push_back(writeSlot(operand, type));
    return 1;
  }
  for (const Operand &element : operand.elements)
    program.lists.push_back(writeSlot(element, type));
  return static_cast<uint32_t>(operand.elements.size());
}

int64_t Decoder::literal(size_t i) {
  if (operand(i).kind != Operand::Kind::Integer)
    fail(fmt::format("operand {} must be an integer literal", i + 1));
  return static_cast<int64_t>(operand(i).value);
}

} // namespace quant::sim
