//===- isa_memory.cpp - ld, st, prefetch -----------------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

//
// PTX ISA, "Data Movement and Conversion Instructions: ld, ld.global.nc, ldu, st, prefetch, cp.async".
//
//===----------------------------------------------------------------------===//

#include "runtime/device/sim/lanes.h"

namespace quant::sim {

namespace {

/// Bytes of an element, and the bits of the register that gets it.
int elementBytes(const Instr &instr) { return bitsOf(instr.type) / 8; }

/// Loads `count` elements from op[1] + imm[0] into the list; imm[1]: bits of the registers.
Step load(Warp &warp, const Instr &instr, uint32_t mask) {
  int width = elementBytes(instr), bytes = width * instr.count;
  uint64_t keep = ~uint64_t(0) >> (64 - instr.imm[1]);
  for (; mask && !warp.block.stopped; mask &= mask - 1) {
    int lane = __builtin_ctz(mask);
    uint64_t address = warp.address(instr, lane);
    const std::byte *from = warp.block.resolve(warp, instr, instr.space, address, bytes, lane, false);
    if (!from)
      return Step::Stop;
    Space space = instr.space == Space::Generic ? Block::spaceOf(address) : instr.space;
    if (space == Space::Shared)
      warp.block.readShared(warp, instr, address & 0xffffffff, bytes, warp.access(instr), lane);
    for (int i = 0; i < instr.count; ++i) {
      uint64_t value = 0;
      std::memcpy(&value, from + i * width, width);
      if (isSigned(instr.type) && width < 8 && value >> (8 * width - 1))
        value |= ~uint64_t(0) << (8 * width);
      warp.row(warp.listed(instr, i))[lane] = value & keep;
    }
  }
  return Step::Next;
}

Step store(Warp &warp, const Instr &instr, uint32_t mask) {
  int width = elementBytes(instr), bytes = width * instr.count;
  warp.block.progress();
  for (; mask && !warp.block.stopped; mask &= mask - 1) {
    int lane = __builtin_ctz(mask);
    uint64_t address = warp.address(instr, lane);
    std::byte *to = warp.block.resolve(warp, instr, instr.space, address, bytes, lane, true);
    if (!to)
      return Step::Stop;
    Space space = instr.space == Space::Generic ? Block::spaceOf(address) : instr.space;
    if (space == Space::Shared)
      warp.block.writeShared(warp, instr, address & 0xffffffff, bytes, warp.access(instr), lane);
    for (int i = 0; i < instr.count; ++i)
      std::memcpy(to + i * width, &warp.row(warp.listed(instr, i))[lane], width);
  }
  return Step::Next;
}

} // namespace

/// Takes the state space; for atomics too.
Space takeSpace(Decoder &d) {
  std::string_view space =
      d.takeOne({"global", "shared", "shared::cta", "shared::cluster", "local", "const", "param", "param::entry"});
  if (space.starts_with("shared"))
    return Space::Shared;
  if (space.starts_with("param"))
    return Space::Param;
  return space == "local" ? Space::Local : space.empty() ? Space::Generic : Space::Global;
}

namespace {

/// Memory order and scope. Execution here is sequentially consistent, and races are not sought in global memory.
void dropMemoryOrder(Decoder &d) {
  d.takeOne({"weak", "relaxed", "acquire", "release", "acq_rel", "volatile"});
  d.takeOne({"cta", "cluster", "gpu", "sys"});
}

template <bool Store>
void decodeAccess(Decoder &d) {
  dropMemoryOrder(d);
  d.instr.space = takeSpace(d);
  bool hinted = d.take("L2::cache_hint");
  d.dropCacheHints();
  d.instr.count = d.take("v2") ? 2 : d.take("v4") ? 4 : 1;
  Type type = d.takeType();
  d.count(hinted ? 3 : 2);
  size_t data = Store ? 1 : 0;
  d.address(1, 1 - data);
  const Operand &operand = d.operand(data);
  // A register may be wider than what is loaded or stored.
  uint32_t elements = Store ? d.readList(operand, type) : d.writeList(operand, type);
  d.instr.imm[1] = 64;
  for (const Operand &element : operand.kind == Operand::Kind::Vector ? operand.elements : std::vector<Operand>{operand})
    if (int bits = d.registerBits(element))
      d.instr.imm[1] = bits;
  if (elements != static_cast<uint32_t>(d.instr.count))
    d.fail("a vector of " + std::to_string(elements) + " registers where " + std::to_string(d.instr.count) + " must be");
  bool fits = bitsOf(type) >= 8 && bitsOf(type) <= 64 && bitsOf(type) * d.instr.count <= 128;
  d.exec(fits ? Store ? store : load : nullptr, type);
}

Step nothing(Warp &, const Instr &, uint32_t) { return Step::Next; }

/// prefetch.tensormap needs no more than an address; other prefetches are hints.
Step prefetchMap(Warp &warp, const Instr &instr, uint32_t mask) {
  Step step = Step::Next;
  forLanes(mask, [&](int lane) {
    uint64_t address = warp.address(instr, lane, 0);
    const std::byte *at = warp.block.resolve(warp, instr, instr.space, address, TensorMap::kAlign, lane, false);
    if (!at)
      step = Step::Stop;
    else if (auto map = TensorMap::unpack(at); !map)
      warp.report(FindingKind::TmaOutOfBounds, instr, map.error().message, 1u << lane);
  });
  return step;
}

void decodePrefetch(Decoder &d) {
  d.instr.space = takeSpace(d);
  bool map = d.take("tensormap");
  d.takeOne({"L1", "L2", "L2::evict_last", "L2::evict_normal"});
  d.count(1);
  d.address(0, 0);
  d.exec(map ? prefetchMap : nothing);
}

/// cp.async.ca.shared.global [dst], [src], bytes{, srcBytes}: done at once, since what waits for it is checked only by barriers.
Step copyAsync(Warp &warp, const Instr &instr, uint32_t mask) {
  for (; mask; mask &= mask - 1) {
    int lane = __builtin_ctz(mask);
    uint64_t to = warp.row(instr.op[0])[lane] + static_cast<uint64_t>(instr.imm[2]), from = warp.address(instr, lane);
    uint64_t bytes = static_cast<uint64_t>(instr.imm[1]);
    uint64_t taken = instr.op[2] >= 0 ? std::min(bytes, warp.row(instr.op[2])[lane] & 0xffffffff) : bytes;
    std::byte *target = warp.block.resolve(warp, instr, Space::Shared, to, bytes, lane, true);
    const std::byte *source = taken ? warp.block.resolve(warp, instr, Space::Global, from, taken, lane, false) : target;
    if (!target || !source)
      return Step::Stop;
    warp.block.writeShared(warp, instr, to & 0xffffffff, bytes, warp.access(instr), lane);
    std::memmove(target, source, taken);
    std::memset(target + taken, 0, bytes - taken);
  }
  return Step::Next;
}

} // namespace

/// cp.async, without .bulk. Called by the decoder of cp.
void decodeCopyAsync(Decoder &d) {
  if (d.take("commit_group") || d.take("wait_all")) {
    d.count(0);
    return d.exec(nothing);
  }
  if (d.take("wait_group")) {
    d.count(1);
    return d.exec(nothing);
  }
  d.takeOne({"ca", "cg"});
  bool hinted = d.take("L2::cache_hint");
  d.dropCacheHints();
  d.takeOne({"shared", "shared::cta"});
  d.take("global");
  size_t last = d.operandCount() - (hinted ? 1 : 0);
  d.count(3, 5);
  d.address(0, 0);
  d.instr.imm[2] = d.instr.imm[0];
  d.instr.imm[0] = 0;
  d.address(1, 1);
  d.instr.imm[1] = d.literal(2);
  if (d.instr.imm[1] != 4 && d.instr.imm[1] != 8 && d.instr.imm[1] != 16)
    d.fail("copies 4, 8 or 16 bytes");
  if (last > 3)
    d.read(2, 3, Type::B32);
  d.exec(copyAsync);
}

void addMemoryInstructions(DecodeTable &table) {
  table["ld"] = decodeAccess<false>;
  table["ldu"] = decodeAccess<false>;
  table["st"] = decodeAccess<true>;
  table["prefetch"] = decodePrefetch;
  table["prefetchu"] = decodePrefetch;
}

} // namespace quant::sim
