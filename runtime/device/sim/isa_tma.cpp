//===- isa_tma.cpp - bulk asynchronous copies --------------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

//
// PTX ISA, "Data Movement and Conversion Instructions: cp.async.bulk, cp.async.bulk.tensor, cp.async.bulk.commit_group,
// cp.async.bulk.wait_group" and "Tensors". A copy is done when it is issued; the shadow knows it as running until it is waited
// for.
//
//===----------------------------------------------------------------------===//

#include "runtime/device/sim/lanes.h"

#include <optional>

namespace quant::sim {

void decodeCopyAsync(Decoder &d); // isa_memory.cpp

namespace {

constexpr uint64_t kSharedAlign = 128, kChunk = 16;

/// One tensor copy of one thread.
struct TensorCopy {
  Warp &warp;
  const Instr &instr;
  int lane;
  TensorMap map;
  std::array<int32_t, TensorMap::kMaxRank> at = {};
  uint64_t shared = 0;
  Access access;
  bool load;

  uint64_t rowBytes() const { return uint64_t(map.box[0]) * map.elementBytes; }
  bool run();

private:
  bool row(uint64_t index, uint64_t global, int64_t first, int64_t last);
};

/// A row of the box, of which the elements [first, last) lie in the tensor, from `global` on. False: out of bounds.
bool TensorCopy::row(uint64_t index, uint64_t global, int64_t first, int64_t last) {
  Block &block = warp.block;
  uint64_t begin = first * map.elementBytes, end = last * map.elementBytes;
  std::byte *host = nullptr;
  if (begin < end) {
    const Allocation *allocation = block.launch.memory.find(global, end - begin);
    if (!allocation || (!load && !allocation->writable)) {
      warp.report(FindingKind::OutOfBounds, instr,
                  "the tensor map reaches " + std::string(allocation ? "into a read-only buffer" : "beyond its buffer"),
                  1u << lane);
      return false;
    }
    host = allocation->host + (global - allocation->address);
  }
  for (uint64_t chunk = 0; chunk < rowBytes(); chunk += kChunk) {
    uint64_t place = swizzled(shared + index * rowBytes() + chunk, map.swizzleBytes);
    std::byte *to = block.shared.data() + place;
    uint64_t from = std::clamp(begin, chunk, chunk + kChunk), to_ = std::clamp(end, chunk, chunk + kChunk);
    if (load) {
      block.writeShared(warp, instr, place, kChunk, access, lane);
      if (block.launch.check)
        block.layouts[place / kChunk] = static_cast<uint8_t>(map.swizzleBytes);
      std::memset(to, 0, kChunk);
      if (from < to_)
        std::memcpy(to + (from - chunk), host + (from - begin), to_ - from);
    } else if (from < to_) {
      block.readShared(warp, instr, place + (from - chunk), to_ - from, access, lane);
      std::memcpy(host + (from - begin), to + (from - chunk), to_ - from);
    }
  }
  return true;
}

bool TensorCopy::run() {
  if (!warp.block.resolveShared(warp, instr, shared, map.boxBytes(), lane))
    return false;
  uint64_t rows = map.boxBytes() / rowBytes();
  bool touches = false;
  for (uint64_t index = 0; index < rows; ++index) {
    bool inside = true;
    uint64_t global = map.address, rest = index;
    for (uint32_t i = 1; i < map.rank; ++i) {
      int64_t coordinate = int64_t(at[i]) + static_cast<int64_t>(rest % map.box[i]);
      rest /= map.box[i];
      inside &= coordinate >= 0 && coordinate < static_cast<int64_t>(map.dim[i]);
      global += static_cast<uint64_t>(coordinate) * map.stride[i];
    }
    int64_t first = std::clamp<int64_t>(-int64_t(at[0]), 0, map.box[0]);
    int64_t last = std::clamp<int64_t>(static_cast<int64_t>(map.dim[0]) - at[0], 0, map.box[0]);
    if (!inside || first >= last)
      first = last = 0;
    touches |= first < last;
    if (!row(index, global + static_cast<uint64_t>(at[0] + first) * map.elementBytes, first, last))
      return false;
  }
  if (load && !touches && warp.block.launch.check)
    warp.report(FindingKind::TmaOutOfBounds, instr, "the whole box lies outside of the tensor: it brings nothing but zeros",
                1u << lane);
  return true;
}

/// The tensor map that op[2] (plus imm[2]) points at.
std::optional<TensorMap> mapOf(Warp &warp, const Instr &instr, int lane) {
  uint64_t address = warp.row(instr.op[2])[lane] + static_cast<uint64_t>(instr.imm[2]);
  const std::byte *bytes = warp.block.resolve(warp, instr, Space::Generic, address, TensorMap::kAlign, lane, false);
  if (!bytes || !warp.block.resolve(warp, instr, Space::Generic, address + TensorMap::kAlign, TensorMap::kAlign, lane, false))
    return std::nullopt;
  auto map = TensorMap::unpack(bytes);
  if (map && map->rank == static_cast<uint32_t>(instr.count))
    return *map;
  warp.report(FindingKind::TmaOutOfBounds, instr,
              map ? "a tensor map of rank " + std::to_string(map->rank) + " in a copy of rank " + std::to_string(instr.count)
                  : map.error().message,
              1u << lane);
  return std::nullopt;
}

bool isAligned(Warp &warp, const Instr &instr, uint64_t address, uint64_t align, int lane, const char *what) {
  if (address % align == 0)
    return true;
  warp.report(FindingKind::Misaligned, instr,
              std::string(what) + " " + std::to_string(address) + " is not a multiple of " + std::to_string(align), 1u << lane);
  return false;
}

/// The mbarrier at op[3] + imm[3], for the async proxy to count on.
Mbarrier *barrierOf(Warp &warp, const Instr &instr, int lane) {
  uint64_t address = (warp.row(instr.op[3])[lane] + static_cast<uint64_t>(instr.imm[3])) & (kWindowBytes - 1);
  if (!isAligned(warp, instr, address, 8, lane, "the mbarrier's address"))
    return nullptr;
  Mbarrier *barrier = warp.block.mbarrier(warp, instr, address, lane);
  if (barrier && warp.block.launch.check && !barrier->initFenced && warp.known.fenced.get(barrier->initWarp) < barrier->initClock)
    warp.report(FindingKind::MissingProxyFence, instr,
                "the async proxy may not see the initialisation of the mbarrier at " + warp.block.sharedName(address) + " in " +
                    warp.block.siteName(barrier->initPc) + ": neither fence.mbarrier_init nor fence.proxy.async lies between",
                1u << lane);
  return barrier;
}

Access loadAccess(Warp &warp, const Instr &instr, const Mbarrier &barrier) {
  return {.clock = barrier.phase + 1, .pc = warp.pcOf(instr), .channel = barrier.channel, .async = true, .bytes = 0};
}

/// Opens a bulk group for the thread, or joins the open one.
Access storeAccess(Warp &warp, const Instr &instr, int lane) {
  auto [at, isNew] = warp.bulk.try_emplace(lane);
  if (isNew)
    at->second.channel = warp.block.newChannel();
  ++at->second.open;
  at->second.lastPc = warp.pcOf(instr);
  return {.clock = at->second.committed + 1, .pc = warp.pcOf(instr), .channel = at->second.channel, .async = true, .bytes = 0};
}

void trace(const TensorCopy &copy) {
  if (copy.warp.block.launch.traceTma)
    std::fprintf(stderr, "block %u thread %u %s %s at (%d, %d) of the tensor at %llx\n", copy.warp.block.id[0],
                 copy.warp.index * kWarpLanes + copy.lane, copy.load ? "loads" : "stores",
                 copy.warp.block.sharedName(copy.shared).c_str(), copy.at[0], copy.at[1],
                 static_cast<unsigned long long>(copy.map.address));
}

/// op[1] + imm[0]: shared memory; imm[1]: 1 for a load.
Step copyTensor(Warp &warp, const Instr &instr, uint32_t mask) {
  for (; mask; mask &= mask - 1) {
    int lane = __builtin_ctz(mask);
    bool load = instr.imm[1];
    uint64_t shared = warp.address(instr, lane) & (kWindowBytes - 1);
    auto map = mapOf(warp, instr, lane);
    if (!map || !isAligned(warp, instr, shared, kSharedAlign, lane, "the shared address of a tensor copy"))
      return Step::Stop;
    Mbarrier *barrier = load ? barrierOf(warp, instr, lane) : nullptr;
    if (load && !barrier)
      return Step::Stop;
    TensorCopy copy{
        warp, instr, lane, *map, {}, shared, load ? loadAccess(warp, instr, *barrier) : storeAccess(warp, instr, lane), load};
    for (uint32_t i = 0; i < map->rank; ++i)
      copy.at[i] = static_cast<int32_t>(warp.row(warp.listed(instr, i))[lane]);
    trace(copy);
    if (!copy.run())
      return Step::Stop;
    if (load)
      warp.block.receive(warp, instr, *barrier, static_cast<int64_t>(map->boxBytes()), lane);
  }
  return Step::Next;
}

/// cp.async.bulk of plain bytes. op[1] + imm[0]: shared, op[2] + imm[2]: global, op[4]: bytes.
Step copyBytes(Warp &warp, const Instr &instr, uint32_t mask) {
  for (; mask; mask &= mask - 1) {
    int lane = __builtin_ctz(mask);
    bool load = instr.imm[1];
    uint64_t shared = warp.address(instr, lane) & (kWindowBytes - 1), bytes = warp.row(instr.op[4])[lane] & 0xffffffff;
    uint64_t global = warp.row(instr.op[2])[lane] + static_cast<uint64_t>(instr.imm[2]);
    if (!isAligned(warp, instr, shared | global | bytes, kChunk, lane, "an address or the size of a bulk copy"))
      return Step::Stop;
    Mbarrier *barrier = load ? barrierOf(warp, instr, lane) : nullptr;
    std::byte *inShared = warp.block.resolveShared(warp, instr, shared, bytes, lane);
    const Allocation *allocation = warp.block.launch.memory.find(global, bytes);
    if (!allocation || (!load && !allocation->writable))
      warp.report(FindingKind::OutOfBounds, instr, "a bulk copy beyond a buffer of global memory", 1u << lane);
    if (!allocation || !inShared || (load && !barrier))
      return Step::Stop;
    std::byte *inGlobal = allocation->host + (global - allocation->address);
    if (load) {
      warp.block.writeShared(warp, instr, shared, bytes, loadAccess(warp, instr, *barrier), lane);
      std::memcpy(inShared, inGlobal, bytes);
      warp.block.receive(warp, instr, *barrier, static_cast<int64_t>(bytes), lane);
    } else {
      warp.block.readShared(warp, instr, shared, bytes, storeAccess(warp, instr, lane), lane);
      std::memcpy(inGlobal, inShared, bytes);
    }
  }
  return Step::Next;
}

Step commit(Warp &warp, const Instr &, uint32_t mask) {
  forLanes(mask, [&](int lane) {
    auto at = warp.bulk.find(lane);
    if (at == warp.bulk.end())
      return;
    ++at->second.committed;
    at->second.open = 0;
  });
  return Step::Next;
}

/// imm[0]: groups that may still run.
Step waitGroup(Warp &warp, const Instr &instr, uint32_t mask) {
  forLanes(mask, [&](int lane) {
    auto at = warp.bulk.find(lane);
    if (at == warp.bulk.end() || at->second.committed < instr.imm[0])
      return;
    uint32_t over = at->second.committed - static_cast<uint32_t>(instr.imm[0]);
    at->second.readWaited = std::max(at->second.readWaited, over);
    warp.known.seen.raise(at->second.channel, over);
  });
  return Step::Next;
}

//===----------------------------------------------------------------------===//
// Decoding
//===----------------------------------------------------------------------===//

/// `[base+offset]`, element `element` of operand `i`, into op[to] and imm[offset].
void readAddress(Decoder &d, size_t to, size_t i, size_t element, size_t offset) {
  int64_t kept = d.instr.imm[0];
  d.instr.imm[0] = 0;
  d.address(to, i, element);
  int64_t found = d.instr.imm[0];
  d.instr.imm[0] = kept;
  d.instr.imm[offset] = found;
}

void decodeTensor(Decoder &d) {
  std::string_view rank = d.require({"1d", "2d", "3d", "4d", "5d"});
  d.instr.count = rank.empty() ? 1 : rank[0] - '0';
  bool load = !d.take("bulk_group");
  d.take("tile");
  bool hinted = d.take("L2::cache_hint");
  if (load && !d.take("mbarrier::complete_tx::bytes"))
    d.fail("expected .mbarrier::complete_tx::bytes or .bulk_group");
  d.takeOne({"shared::cluster", "shared::cta"});
  d.require({"global"});
  d.count((load ? 3 : 2) + hinted);
  size_t map = load ? 1 : 0;
  readAddress(d, 1, 1 - map, 0, 0);
  readAddress(d, 2, map, 0, 2);
  if (load)
    readAddress(d, 3, 2, 0, 3);
  const auto &elements = d.operand(map).elements;
  if (elements.size() != 2 || d.readList(elements[1], Type::B32) != static_cast<uint32_t>(d.instr.count))
    d.fail("expected [map, {coordinates}]");
  d.instr.imm[1] = load;
  d.exec(copyTensor);
}

void decodePlain(Decoder &d) {
  bool load = !d.take("bulk_group");
  bool hinted = d.take("L2::cache_hint");
  if (load && !d.take("mbarrier::complete_tx::bytes"))
    d.fail("expected .mbarrier::complete_tx::bytes or .bulk_group");
  d.takeOne({"shared::cluster", "shared::cta"});
  d.require({"global"});
  d.count((load ? 4 : 3) + hinted);
  readAddress(d, 1, load ? 0 : 1, 0, 0);
  readAddress(d, 2, load ? 1 : 0, 0, 2);
  d.read(4, 2, Type::B32);
  if (load)
    readAddress(d, 3, 3, 0, 3);
  d.instr.imm[1] = load;
  d.exec(copyBytes);
}

void decodeCopy(Decoder &d) {
  d.require({"async"});
  if (!d.take("bulk"))
    return decodeCopyAsync(d);
  if (d.take("commit_group")) {
    d.count(0);
    return d.exec(commit);
  }
  if (d.take("wait_group")) {
    d.take("read");
    d.count(1);
    d.instr.imm[0] = d.literal(0);
    return d.exec(waitGroup);
  }
  d.take("tensor") ? decodeTensor(d) : decodePlain(d);
}

} // namespace

void addTmaInstructions(DecodeTable &table) { table["cp"] = decodeCopy; }

} // namespace quant::sim
