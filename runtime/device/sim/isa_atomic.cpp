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

#include "runtime/device/sim/lanes.h"

namespace quant::sim {

Space takeSpace(Decoder &d); // isa_memory.cpp

namespace {

enum AtomicOp : int64_t { kAdd, kMin, kMax, kAnd, kOr, kXor, kInc, kDec, kExch, kCas };
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

uint64_t apply(AtomicOp op, Type type, uint64_t old, uint64_t value, uint64_t swap) {
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
  case Type::S32:
    return toBits(applyAs(op, fromBits<int32_t>(old), fromBits<int32_t>(value)));
  case Type::S64:
    return toBits(applyAs(op, fromBits<int64_t>(old), fromBits<int64_t>(value)));
  case Type::F32:
    return toBits(applyAs(op, fromBits<float>(old), fromBits<float>(value)));
  case Type::F64:
    return toBits(applyAs(op, fromBits<double>(old), fromBits<double>(value)));
  case Type::U32:
    return toBits(applyAs(op, fromBits<uint32_t>(old), fromBits<uint32_t>(value)));
  default:
    return applyAs(op, old, value);
  }
}

/// op[0]: the old value (-1 for red), op[2], op[3]: operands; imm[1]: an AtomicOp.
Step atomic(Warp &warp, const Instr &instr, uint32_t mask) {
  uint64_t bytes = bitsOf(instr.type) / 8, keep = ~uint64_t(0) >> (64 - 8 * bytes);
  Block &block = warp.block;
  block.progress();
  for (; mask; mask &= mask - 1) {
    int lane = __builtin_ctz(mask);
    uint64_t address = warp.address(instr, lane);
    std::byte *at = block.resolve(warp, instr, instr.space, address, bytes, lane, true);
    if (!at)
      return Step::Stop;
    Space space = instr.space == Space::Generic ? Block::spaceOf(address) : instr.space;
    // Atomics order themselves; that shared memory has been written before is theirs to care for.
    if (space == Space::Shared && block.launch.check) {
      uint64_t offset = address & (kWindowBytes - 1);
      if (block.shadow.firstUnwritten(offset, bytes) != offset + bytes)
        warp.report(FindingKind::UninitializedShared, instr, "reads " + block.sharedName(offset) + ", which nothing has written",
                    1u << lane);
    }
    std::lock_guard lock(block.launch.atomics);
    uint64_t old = 0;
    std::memcpy(&old, at, bytes);
    uint64_t swap = instr.op[3] >= 0 ? warp.row(instr.op[3])[lane] & keep : 0;
    uint64_t result = apply(static_cast<AtomicOp>(instr.imm[1]), instr.type, old, warp.row(instr.op[2])[lane] & keep, swap);
    std::memcpy(at, &result, bytes);
    if (instr.op[0] >= 0)
      warp.row(instr.op[0])[lane] = old;
  }
  return Step::Next;
}

template <bool Returns>
void decodeAtomic(Decoder &d) {
  d.takeOne({"relaxed", "acquire", "release", "acq_rel"});
  d.takeOne({"cta", "cluster", "gpu", "sys"});
  d.instr.space = takeSpace(d);
  bool hinted = d.take("L2::cache_hint");
  std::string_view op = d.require({"add", "min", "max", "and", "or", "xor", "inc", "dec", "exch", "cas"});
  d.instr.imm[1] = std::find(std::begin(kOps), std::end(kOps), op) - std::begin(kOps);
  Type type = d.takeType();
  size_t memory = Returns ? 1 : 0;
  d.count(memory + (op == "cas" ? 3 : 2) + hinted);
  if (Returns)
    d.write(0, 0, type);
  d.address(1, memory);
  d.read(2, memory + 1, type);
  if (op == "cas")
    d.read(3, memory + 2, type);
  bool wide = (bitsOf(type) == 32 || bitsOf(type) == 64) && type != Type::F16x2 && type != Type::BF16x2;
  d.exec(wide ? atomic : nullptr, type);
}

} // namespace

void addAtomicInstructions(DecodeTable &table) {
  table["atom"] = decodeAtomic<true>;
  table["red"] = decodeAtomic<false>;
}

} // namespace quant::sim
