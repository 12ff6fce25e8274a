//===- isa_tma.cpp - tensor copies -------------------------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

//
// PTX ISA, "Data Movement and Conversion Instructions: Tensor copy" (cp.async.bulk.tensor, cp.reduce.async.bulk.tensor,
// cp.async.bulk.prefetch.tensor) and "Tensors". A copy is done when it is issued; the shadow knows it as running until it is
// waited for.
//
//===----------------------------------------------------------------------===//

#include "tools/quant-sim/isa/atomic_ops.h"
#include "tools/quant-sim/isa/bulk.h"

#include <algorithm>
#include <optional>

namespace quant::sim {

namespace {

constexpr uint64_t kSharedAlign = machine::kSm90a.tmaTileAlignment, kChunk = 16;
constexpr int32_t kPlainStore = -1;

/// The elements' type as reductions take it.
Type typeOf(const TensorMap &map) {
  constexpr Type kTypes[][2] = {{Type::U32, Type::U64}, {Type::S32, Type::S64}, {Type::F32, Type::F64}};
  if (map.elementBytes == 2)
    return map.kind == ElementKind::BFloat ? Type::BF16 : map.kind == ElementKind::Float ? Type::F16 : Type::U16;
  if (map.elementBytes < 4)
    return Type::U8;
  return kTypes[map.kind == ElementKind::Unsigned ? 0 : map.kind == ElementKind::Signed ? 1 : 2][map.elementBytes == 8];
}

/// One tensor copy of one thread.
struct TensorCopy {
  Warp &warp;
  const Instr &instr;
  int lane;
  TensorMap map;
  std::array<int32_t, TensorMap::kMaxRank> at = {};
  /// The block whose shared memory takes part, and where in that.
  Block *block = nullptr;
  uint64_t shared = 0;
  Access access = {};
  bool load = false;

  uint64_t rowBytes() const { return uint64_t(map.box[0]) * map.elementBytes; }
  bool run();

private:
  bool row(uint64_t index, uint64_t global, int64_t first, int64_t last);
  void deliver(std::byte *to, const std::byte *from, uint64_t bytes);
};

/// A piece of a row to global memory. op[4]: the AtomicOp of a reduction.
void TensorCopy::deliver(std::byte *to, const std::byte *from, uint64_t bytes) {
  if (instr.op[4] == kPlainStore)
    std::memcpy(to, from, bytes);
  else
    reduceBytes(warp, static_cast<AtomicOp>(instr.op[4]), typeOf(map), to, from, bytes);
}

/// A row of the box, of which the elements [first, last) lie in the tensor, from `global` on. False: out of bounds.
bool TensorCopy::row(uint64_t index, uint64_t global, int64_t first, int64_t last) {
  uint64_t begin = first * map.elementBytes, end = last * map.elementBytes;
  std::byte *host = nullptr;
  if (begin < end) {
    const Allocation *allocation = block->launch.memory.find(global, end - begin);
    if (!allocation || (!load && !allocation->writable)) {
      warp.report(FindingKind::OutOfBounds, instr,
                  "the tensor map reaches " + std::string(allocation ? "into a read-only buffer" : "beyond its buffer"),
                  1u << lane);
      return false;
    }
    warp.checkDependence(instr, *allocation, lane);
    host = allocation->host + (global - allocation->address);
  }
  for (uint64_t chunk = 0; chunk < rowBytes(); chunk += kChunk) {
    uint64_t place = swizzled(shared + index * rowBytes() + chunk, map.swizzleBytes);
    std::byte *to = block->shared.data() + place;
    uint64_t from = std::clamp(begin, chunk, chunk + kChunk), to_ = std::clamp(end, chunk, chunk + kChunk);
    if (load) {
      block->writeShared(warp, instr, place, kChunk, access, lane);
      if (block->launch.check)
        block->layouts[place / kChunk] = static_cast<uint8_t>(map.swizzleBytes);
      std::memset(to, 0, kChunk);
      if (from < to_)
        std::memcpy(to + (from - chunk), host + (from - begin), to_ - from);
    } else if (from < to_) {
      block->readShared(warp, instr, place + (from - chunk), to_ - from, access, lane);
      deliver(host + (from - begin), to + (from - chunk), to_ - from);
    }
  }
  return true;
}

bool TensorCopy::run() {
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
  if (load && !touches && warp.block.launch.strict)
    warp.report(FindingKind::TmaOutOfBounds, instr, "the whole box lies outside of the tensor: it brings nothing but zeros",
                1u << lane);
  return true;
}

/// The tensor map that op[2] (plus imm[2]) points at.
std::optional<TensorMap> mapOf(Warp &warp, const Instr &instr, int lane) {
  uint64_t address = warp.row(instr.op[2])[lane] + static_cast<uint64_t>(instr.imm[2]);
  Place bytes = warp.block.resolve(warp, instr, Space::Generic, address, TensorMap::kAlign, lane, false);
  if (!bytes || !warp.block.resolve(warp, instr, Space::Generic, address + TensorMap::kAlign, TensorMap::kAlign, lane, false))
    return std::nullopt;
  auto map = TensorMap::unpack(bytes.host);
  if (map && map->rank == static_cast<uint32_t>(instr.count))
    return *map;
  warp.report(FindingKind::TmaOutOfBounds, instr,
              map ? "a tensor map of rank " + std::to_string(map->rank) + " in a copy of rank " + std::to_string(instr.count)
                  : map.error().message,
              1u << lane);
  return std::nullopt;
}

void trace(const TensorCopy &copy) {
  if (copy.warp.block.launch.traceTma)
    std::fprintf(stderr, "block %u thread %u %s %s at (%d, %d) of the tensor at %llx\n", copy.warp.block.id[0],
                 copy.warp.index * kWarpLanes + copy.lane, copy.load ? "loads" : "stores",
                 copy.block->sharedName(copy.shared).c_str(), copy.at[0], copy.at[1],
                 static_cast<unsigned long long>(copy.map.address));
}

/// op[1] + imm[0]: shared memory; imm[1]: 1 for a load; op[4]: the AtomicOp of a reduction; op[5]: the mask of a multicast.
Step copyTensor(Warp &warp, const Instr &instr, uint32_t mask) {
  for (; mask; mask &= mask - 1) {
    int lane = __builtin_ctz(mask);
    bool load = instr.imm[1];
    auto map = mapOf(warp, instr, lane);
    if (!map)
      return Step::Stop;
    if (instr.op[4] != kPlainStore && !hasAtomic(static_cast<AtomicOp>(instr.op[4]), typeOf(*map))) {
      warp.report(FindingKind::TmaOutOfBounds, instr, "a reduction that the tensor map's element type does not have", 1u << lane);
      return Step::Stop;
    }
    Place place = warp.block.resolveShared(warp, instr, load ? Space::SharedCluster : Space::Shared, warp.address(instr, lane),
                                           map->boxBytes(), lane);
    if (!place || !isAligned(warp, instr, place.offset, kSharedAlign, lane, "the shared address of a tensor copy"))
      return Step::Stop;
    TensorCopy copy{warp, instr, lane, *map, {}, place.block, place.offset, {}, load};
    for (uint32_t i = 0; i < map->rank; ++i)
      copy.at[i] = static_cast<int32_t>(warp.row(warp.listed(instr, i))[lane]);
    auto deliver = [&](Block &block, Mbarrier &barrier) {
      copy.block = &block;
      copy.access = loadAccess(warp, instr, barrier);
      trace(copy);
      if (!copy.run())
        return false;
      block.receive(warp, instr, barrier, static_cast<int64_t>(map->boxBytes()), lane);
      return true;
    };
    if (load && !forDestinations(warp, instr, place, lane, deliver))
      return Step::Stop;
    if (load)
      continue;
    if (std::any_of(copy.at.begin(), copy.at.begin() + map->rank, [](int32_t at) { return at < 0; }))
      warp.report(FindingKind::TmaOutOfBounds, instr, "a store whose box begins before the tensor", 1u << lane);
    copy.access = storeAccess(warp, instr, lane);
    trace(copy);
    if (!copy.run())
      return Step::Stop;
  }
  return Step::Next;
}

//===----------------------------------------------------------------------===//
// Decoding
//===----------------------------------------------------------------------===//

/// The map is only looked at.
Step prefetchTensor(Warp &warp, const Instr &instr, uint32_t mask) {
  for (; mask; mask &= mask - 1)
    if (!mapOf(warp, instr, __builtin_ctz(mask)))
      return Step::Stop;
  return Step::Next;
}

/// Operand `i`: [map, {coordinates}], the map into op[2] and imm[2].
void readMap(Decoder &d, size_t i) {
  readAddress(d, 2, i, 0, 2);
  const auto &elements = d.operand(i).elements;
  if (elements.size() != 2 || d.readList(elements[1], Type::B32) != static_cast<uint32_t>(d.instr.count))
    d.fail("expected [map, {coordinates}]");
}

} // namespace

void decodeTensorCopy(Decoder &d, bool prefetch, bool reduce) {
  std::string_view rank = d.require({"1d", "2d", "3d", "4d", "5d"});
  d.instr.count = rank.empty() ? 1 : rank[0] - '0';
  d.take("tile");
  bool hinted = d.take("L2::cache_hint");
  if (prefetch) {
    d.require({"L2"});
    d.require({"global"});
    d.count(1 + hinted);
    readMap(d, 0);
    return d.exec(prefetchTensor);
  }
  bool load = !d.take("bulk_group");
  if (load && (reduce || !d.take("mbarrier::complete_tx::bytes")))
    d.fail(reduce ? "expected .bulk_group" : "expected .mbarrier::complete_tx::bytes or .bulk_group");
  d.takeOne({"shared::cluster", "shared::cta"});
  d.require({"global"});
  d.instr.op[4] = reduce ? static_cast<int32_t>(takeAtomicOp(d)) : kPlainStore;
  bool multicast = takeMask(d, load, 3);
  d.count((load ? 3 : 2) + multicast + hinted);
  size_t map = load ? 1 : 0;
  readAddress(d, 1, 1 - map, 0, 0);
  readMap(d, map);
  if (load)
    readAddress(d, 3, 2, 0, 3);
  d.instr.imm[1] = load;
  d.exec(copyTensor);
}

} // namespace quant::sim
