//===- isa_atomic.cpp - atom, red --------------------------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

//
// PTX ISA, "Parallel Synchronization and Communication Instructions: atom, red".
//
//===----------------------------------------------------------------------===//

#include "tools/quant-sim/isa/atomic_ops.h"
#include "tools/quant-sim/isa/float_formats.h"
#include "tools/quant-sim/isa/lanes.h"

#include <cmath>

namespace quant::sim {

Space takeSpace(Decoder &d);                    // isa_memory.cpp
void decodeStoreAsync(Decoder &d, bool reduce); // isa_store_async.cpp

namespace {

constexpr std::string_view kOps[] = {"add", "min", "max", "and", "or", "xor", "inc", "dec", "exch", "cas"};

template <typename T>
T applyAs(AtomicOp op, T old, T value) {
  if (op == kAdd) {
    if constexpr (std::is_floating_point_v<T>)
      return old + value;
    else
      return static_cast<T>(static_cast<std::make_unsigned_t<T>>(old) + static_cast<std::make_unsigned_t<T>>(value));
  }
  return op == kMin ? std::min(old, value) : std::max(old, value);
}

/// Formats of 16 bits: computed in f64, which holds every sum of two, and rounded once. A NaN gives way to a number in min and
/// max.
uint64_t applyHalf(AtomicOp op, const FloatFormat &format, uint64_t old, uint64_t value) {
  double a = decodeFloat(static_cast<uint32_t>(old), format), b = decodeFloat(static_cast<uint32_t>(value), format);
  double result = op == kAdd ? a + b : op == kMin ? std::fmin(a, b) : std::fmax(a, b);
  return encode(result, format, Rounding::NearestEven, false);
}

bool isPair(Type type) { return type == Type::F16x2 || type == Type::BF16x2; }

} // namespace

AtomicOp takeAtomicOp(Decoder &d) {
  std::string_view op = d.require({"add", "min", "max", "and", "or", "xor", "inc", "dec", "exch", "cas"});
  auto at = std::find(std::begin(kOps), std::end(kOps), op);
  return static_cast<AtomicOp>(at == std::end(kOps) ? 0 : at - std::begin(kOps));
}

bool hasAtomic(AtomicOp op, Type type) {
  int bits = bitsOf(type);
  if (op == kExch || op == kCas)
    return bits == 32 || bits == 64 || (op == kCas && type == Type::B16);
  if (op == kAnd || op == kOr || op == kXor)
    return type == Type::B32 || type == Type::B64 || type == Type::U32 || type == Type::S32;
  if (op == kInc || op == kDec)
    return type == Type::U32;
  if (isFloat(type))
    return bits == 16 || isPair(type) || (op == kAdd && (type == Type::F32 || type == Type::F64));
  return bits == 32 || bits == 64;
}

uint64_t applyAtomic(AtomicOp op, Type type, uint64_t old, uint64_t value, uint64_t swap) {
  switch (op) {
  case kAnd:
    return old & value;
  case kOr:
    return old | value;
  case kXor:
    return old ^ value;
  case kInc:
    return old >= value ? 0 : old + 1;
  case kDec:
    return old == 0 || old > value ? value : old - 1;
  case kExch:
    return value;
  case kCas:
    return old == value ? swap : old;
  default:
    break;
  }
  switch (type) {
  case Type::F16:
  case Type::BF16:
    return applyHalf(op, formatOf(type), old, value);
  case Type::F16x2:
  case Type::BF16x2:
    return applyHalf(op, formatOf(type), old & 0xffff, value & 0xffff) |
           applyHalf(op, formatOf(type), old >> 16, value >> 16 & 0xffff) << 16;
  case Type::S32:
    return toBits(applyAs(op, fromBits<int32_t>(old), fromBits<int32_t>(value)));
  case Type::S64:
    return toBits(applyAs(op, fromBits<int64_t>(old), fromBits<int64_t>(value)));
  case Type::F32:
    return toBits(applyAs(op, fromBits<float>(old), fromBits<float>(value)));
  case Type::F64:
    return toBits(applyAs(op, fromBits<double>(old), fromBits<double>(value)));
  case Type::U32:
  case Type::B32:
    return toBits(applyAs(op, fromBits<uint32_t>(old), fromBits<uint32_t>(value)));
  default:
    return applyAs(op, old, value);
  }
}

namespace {

/// One element in one lane; returns what was there.
uint64_t atomicOnce(Warp &warp, const Instr &instr, std::byte *at, int lane, uint32_t element) {
  uint64_t bytes = bitsOf(instr.type) / 8, keep = ~uint64_t(0) >> (64 - 8 * bytes), old = 0;
  auto operand = [&](int32_t slot) { return slot >= 0 ? warp.row(slot)[lane] & keep : 0; };
  std::memcpy(&old, at, bytes);
  uint64_t value = warp.row(warp.listed(instr, element))[lane] & keep;
  uint64_t result = applyAtomic(static_cast<AtomicOp>(instr.imm[1]), instr.type, old, value, operand(instr.op[3]));
  std::memcpy(at, &result, bytes);
  return old;
}

/// The list: the operand, or the elements of a vector; behind them, with imm[2], the registers that get the old values.
/// op[3]: what cas swaps in. imm[1]: an AtomicOp.
Step atomic(Warp &warp, const Instr &instr, uint32_t mask) {
  uint64_t width = bitsOf(instr.type) / 8, bytes = width * static_cast<uint64_t>(instr.count);
  Block &block = warp.block;
  block.progress();
  for (; mask; mask &= mask - 1) {
    int lane = __builtin_ctz(mask);
    Place at = block.resolve(warp, instr, instr.space, warp.address(instr, lane), bytes, lane, true);
    if (!at)
      return Step::Stop;
    // Atomics order themselves; that shared memory has been written before is theirs to care for.
    if (at.block && block.launch.check && at.block->shadow.firstUnwritten(at.offset, bytes) != at.offset + bytes)
      warp.report(FindingKind::UninitializedShared, instr,
                  "reads " + at.block->sharedName(at.offset) + ", which nothing has written", 1u << lane);
    std::lock_guard lock(block.launch.atomics);
    for (int i = 0; i < instr.count; ++i) {
      uint64_t old = atomicOnce(warp, instr, at.host + i * width, lane, i);
      if (instr.imm[2])
        warp.row(warp.listed(instr, instr.count + i))[lane] = old;
    }
  }
  return Step::Next;
}

template <bool Returns>
void decodeAtomic(Decoder &d) {
  if (!Returns && d.take("async"))
    return decodeStoreAsync(d, true);
  d.takeOne({"relaxed", "acquire", "release", "acq_rel"});
  d.takeOne({"cta", "cluster", "gpu", "sys"});
  d.instr.space = takeSpace(d);
  bool hinted = d.take("L2::cache_hint");
  AtomicOp op = takeAtomicOp(d);
  d.take("noftz");
  int count = d.take("v2") ? 2 : d.take("v4") ? 4 : d.take("v8") ? 8 : 1;
  Type type = d.takeType();
  size_t memory = Returns ? 1 : 0;
  d.count(memory + (op == kCas ? 3 : 2) + hinted);
  d.address(1, memory);
  d.instr.count = count;
  d.instr.imm[1] = op;
  d.instr.imm[2] = Returns && d.operand(0).kind != Operand::Kind::Sink;
  if (d.readList(d.operand(memory + 1), type) != static_cast<uint32_t>(count) ||
      (d.instr.imm[2] && d.writeList(d.operand(0), type) != static_cast<uint32_t>(count)))
    d.fail("a vector of another size than the instruction's");
  if (op == kCas)
    d.read(3, memory + 2, type);
  bool isVector = count > 1 && (!isFloat(type) || d.instr.space != Space::Global || bitsOf(type) * count > 128);
  d.exec(hasAtomic(op, type) && !isVector ? atomic : nullptr, type);
}

} // namespace

void addAtomicInstructions(DecodeTable &table) {
  table["atom"] = decodeAtomic<true>;
  table["red"] = decodeAtomic<false>;
}

} // namespace quant::sim
