//===- isa_memory.cpp - ld, st, prefetch -----------------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

//
// PTX ISA, "Data Movement and Conversion Instructions: ld, ld.global.nc, ldu, st, prefetch".
//
//===----------------------------------------------------------------------===//

#include "tools/quant-sim/isa/lanes.h"

#include <fmt/core.h>

namespace quant::sim {

void decodeStoreAsync(Decoder &d, bool reduce); // isa_store_async.cpp

namespace {

/// Bytes of an element, and the bits of the register that gets it.
int elementBytes(const Instr &instr) { return bitsOf(instr.type) / 8; }

/// Loads `count` elements from op[1] + imm[0] into the list; imm[1]: bits of the registers.
Step load(Warp &warp, const Instr &instr, uint32_t mask) {
  int width = elementBytes(instr), bytes = width * instr.count;
  uint64_t keep = ~uint64_t(0) >> (64 - instr.imm[1]);
  for (; mask && !warp.block.cluster.stopped; mask &= mask - 1) {
    int lane = __builtin_ctz(mask);
    Place from = warp.block.resolve(warp, instr, instr.space, warp.address(instr, lane), bytes, lane, false);
    if (!from)
      return Step::Stop;
    if (from.block)
      from.block->readShared(warp, instr, from.offset, bytes, warp.access(instr), lane);
    for (int i = 0; i < instr.count; ++i) {
      uint64_t value = 0;
      std::memcpy(&value, from.host + i * width, width);
      if (isSigned(instr.type) && width < 8 && value >> (8 * width - 1))
        value |= ~uint64_t(0) << (8 * width);
      warp.row(warp.listed(instr, i))[lane] = value & keep;
    }
  }
  return Step::Next;
}

/// Whether the values that a lane stores are there already.
bool changesNothing(const std::byte *host, Warp &warp, const Instr &instr, int width, int lane) {
  for (int i = 0; i < instr.count; ++i)
    if (std::memcmp(host + i * width, &warp.row(warp.listed(instr, i))[lane], width) != 0)
      return false;
  return true;
}

Step store(Warp &warp, const Instr &instr, uint32_t mask) {
  int width = elementBytes(instr), bytes = width * instr.count;
  warp.block.progress();
  for (; mask && !warp.block.cluster.stopped; mask &= mask - 1) {
    int lane = __builtin_ctz(mask);
    Place to = warp.block.resolve(warp, instr, instr.space, warp.address(instr, lane), bytes, lane, true);
    if (!to)
      return Step::Stop;
    if (to.block)
      to.block->writeShared(warp, instr, to.offset, bytes, warp.access(instr), lane,
                            changesNothing(to.host, warp, instr, width, lane));
    for (int i = 0; i < instr.count; ++i)
      std::memcpy(to.host + i * width, &warp.row(warp.listed(instr, i))[lane], width);
  }
  return Step::Next;
}

} // namespace

/// Takes the state space; for atomics too.
Space takeSpace(Decoder &d) {
  std::string_view space =
      d.takeOne({"global", "shared", "shared::cta", "shared::cluster", "local", "const", "param", "param::entry"});
  if (space == "shared::cluster")
    return Space::SharedCluster;
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
  if (Store && d.take("async"))
    return decodeStoreAsync(d, false);
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
    d.fail(fmt::format("a vector of {} registers where {} must be", elements, d.instr.count));
  bool fits = bitsOf(type) >= 8 && bitsOf(type) <= 64 && bitsOf(type) * d.instr.count <= 128;
  d.exec(fits ? Store ? store : load : nullptr, type);
}

Step nothing(Warp &, const Instr &, uint32_t) { return Step::Next; }

/// prefetch.tensormap needs no more than an address; other prefetches are hints.
Step prefetchMap(Warp &warp, const Instr &instr, uint32_t mask) {
  Step step = Step::Next;
  forLanes(mask, [&](int lane) {
    uint64_t address = warp.address(instr, lane, 0);
    Place at = warp.block.resolve(warp, instr, instr.space, address, TensorMap::kAlign, lane, false);
    if (!at)
      step = Step::Stop;
    else if (auto map = TensorMap::unpack(at.host); !map)
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

} // namespace

static void decodeCacheHint(Decoder &d) {
  d.instr.space = takeSpace(d);
  d.takeOne({"L2::evict_normal", "L2"});
  d.count(2);
  d.address(0, 0);
  d.literal(1);
  d.exec(nothing);
}

/// A cache policy is a number that nothing here looks at.
static void decodePolicy(Decoder &d) {
  d.require({"fractional", "cvt"});
  d.takeOne({"L2::evict_last", "L2::evict_normal", "L2::evict_first", "L2::evict_unchanged", "L2"});
  d.takeOne({"L2::evict_first", "L2::evict_unchanged"});
  d.require({"b64"});
  d.count(1, 3);
  d.write(0, 0, Type::B64);
  d.exec([](Warp &warp, const Instr &instr, uint32_t mask) {
    forLanes(mask, [&](int lane) { warp.row(instr.op[0])[lane] = 0; });
    return Step::Next;
  });
}

void addMemoryInstructions(DecodeTable &table) {
  table["ld"] = decodeAccess<false>;
  table["ldu"] = decodeAccess<false>;
  table["st"] = decodeAccess<true>;
  table["prefetch"] = decodePrefetch;
  table["prefetchu"] = decodePrefetch;
  table["applypriority"] = decodeCacheHint;
  table["discard"] = decodeCacheHint;
  table["createpolicy"] = decodePolicy;
}

} // namespace quant::sim
