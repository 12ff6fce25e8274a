//===- HopperRings.cpp - shared memory, rings of stages and TMA loads ---------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "lowering/target/sm90/HopperLowering.h"

using namespace mlir;
using namespace quant;
using namespace quant::hopper;

namespace quant::nvvm {

static constexpr int64_t kBarrierBytes = kSm90a.mbarrierBytes;

/// A ring at its address.
namespace {
struct Ring {
  RingType type;
  Value base;

  Value at(HopperBuilder &b, int64_t offset, Value stage, int64_t stride) const {
    return b.add(b.add(base, offset), b.mul(stage, stride));
  }
  Value full(HopperBuilder &b, Value stage) const { return barrier(b, type.getFullOffset(), stage); }
  Value empty(HopperBuilder &b, Value stage) const { return barrier(b, type.getEmptyOffset(), stage); }
  Value barrier(HopperBuilder &b, int64_t offset, Value stage) const {
    return b.sharedPointer(at(b, offset, stage, kBarrierBytes));
  }
  /// The addresses of the tiles of a stage.
  SmallVector<Value> tiles(HopperBuilder &b, Value stage) const {
    SmallVector<Value> tiles;
    for (auto [index, tile] : llvm::enumerate(type.getTiles()))
      tiles.push_back(at(b, type.getOffset(index), stage, RingType::getStride(tile)));
    return tiles;
  }
};
} // namespace

void emitBarrierSetup(const KernelContext &kernel, HopperBuilder &b) {
  for (TensorMapArg map : kernel.maps)
    b.prefetchTensorMap(map);
  for (auto [type, base, arrivals] : kernel.rings) {
    Ring at = {type, base};
    for (int64_t stage = 0; stage < at.type.getStages(); ++stage) {
      // Full: the producer arrives once, the bytes do the rest.
      b.initBarrier(at.full(b, b.int32(stage)), 1);
      b.initBarrier(at.empty(b, b.int32(stage)), arrivals);
    }
  }
  b.fenceBarrierInit();
}

/// The opposite parity: in the first round the stage is free and the wait falls through.
static void waitUntilEmpty(HopperBuilder &b, const Ring &ring, SlotValue at) {
  b.waitBarrier(ring.empty(b, at.stage), b.bitXor(at.phase, b.int32(1)));
}

static SlotValue advance(HopperBuilder &b, SlotValue at, int64_t stages) {
  Value next = b.add(at.stage, 1);
  Value wraps = b.equal(next, b.int32(stages));
  return {b.select(wraps, b.int32(0), next), b.bitXor(at.phase, b.zeroExtend(b.i32(), wraps))};
}

static Value lowerAlloc(HopperLowering &lowering, AllocOp op, AllocOp::Adaptor, HopperBuilder &b) {
  return b.add(lowering.contextOf(op).shared, lowering.sharedOffsets.lookup(op));
}

static Value lowerRing(HopperLowering &lowering, RingOp op, RingOp::Adaptor, HopperBuilder &b) {
  KernelContext &kernel = lowering.contextOf(op);
  Value base = b.add(kernel.shared, lowering.sharedOffsets.lookup(op));
  kernel.rings.push_back({op.getType(), base, op.getArrivals()});
  return base;
}

static Value lowerTileAt(HopperLowering &, TileAtOp op, TileAtOp::Adaptor adaptor, HopperBuilder &b) {
  return b.add(adaptor.getTile(), b.mul(adaptor.getIndex(), op.getType().getBytes()));
}

static Value lowerTileColumns(HopperLowering &, TileColumnsOp op, TileColumnsOp::Adaptor adaptor, HopperBuilder &b) {
  TileType tile = op.getTile().getType();
  return b.add(adaptor.getTile(), b.mul(adaptor.getFirst(), tile.getPanelBytes() / tile.getPanelColumns()));
}

static Value lowerNamedBarrier(HopperLowering &lowering, NamedBarrierOp op, NamedBarrierOp::Adaptor, HopperBuilder &b) {
  return b.int32(lowering.barrierNumbers.lookup(op));
}

static void lowerSync(HopperLowering &, SyncOp op, SyncOp::Adaptor adaptor, HopperBuilder &b) {
  b.syncThreads(adaptor.getBarrier(), op.getBarrier().getType().getThreads());
}

static void lowerArrive(HopperLowering &, ArriveOp op, ArriveOp::Adaptor adaptor, HopperBuilder &b) {
  b.arriveThreads(adaptor.getBarrier(), op.getBarrier().getType().getThreads());
}

static Value lowerFirstSlot(HopperLowering &, FirstSlotOp, FirstSlotOp::Adaptor, HopperBuilder &b) {
  return SlotValue{b.int32(0), b.int32(0)}.pack(b);
}

namespace {
struct LowerProduce : HopperPattern<ProduceOp> {
  using HopperPattern::HopperPattern;
  LogicalResult lower(ProduceOp op, Adaptor adaptor, HopperBuilder &b, ConversionPatternRewriter &rewriter) const override {
    Ring ring = {op.getRing().getType(), adaptor.getRing()};
    SlotValue at = SlotValue::unpack(b, adaptor.getSlot());
    Value full = ring.full(b, at.stage);
    if (!op.getFinish()) {
      waitUntilEmpty(b, ring, at);
      b.arriveAndExpect(full, ring.type.getStageBytes());
    }
    lowering.fullBarriers[op] = full;
    if (failed(rewriter.convertRegionTypes(&op.getBody(), *getTypeConverter())))
      return rewriter.notifyMatchFailure(op, "the stage's tiles have no address");
    rewriter.inlineBlockBefore(&op.getBody().front(), op, ring.tiles(b, at.stage));
    rewriter.replaceOp(op, advance(b, at, ring.type.getStages()).pack(b));
    return success();
  }
};

} // namespace

static void lowerDrain(HopperLowering &, DrainOp op, DrainOp::Adaptor adaptor, HopperBuilder &b) {
  Ring ring = {op.getRing().getType(), adaptor.getRing()};
  SlotValue at = SlotValue::unpack(b, adaptor.getSlot());
  for (int64_t i = 0; i < ring.type.getStages(); ++i) {
    waitUntilEmpty(b, ring, at);
    at = advance(b, at, ring.type.getStages());
  }
}

SmallVector<Value> raggedCoordinates(HopperBuilder &b, TensorMapType map, Value row, Value column, Value until) {
  // Of the type's description: n = min(rows of the box, until - row).
  Value boxEnd = b.add(row, map.getRows()), end = b.minUnsigned(boxEnd, until);
  return {column, b.sub(boxEnd, end), end};
}

/// Coordinates of a load from `row` and `column` on, innermost first.
static SmallVector<Value> coordinates(TmaLoadOp op, TmaLoadOp::Adaptor adaptor, Value row, Value column, HopperBuilder &b) {
  if (adaptor.getUntil())
    return raggedCoordinates(b, op.getMap().getType(), row, column, adaptor.getUntil());
  SmallVector<Value> at = {column, row};
  llvm::append_range(at, llvm::reverse(adaptor.getAt().drop_back(2)));
  return at;
}

static void lowerTmaLoad(HopperLowering &lowering, TmaLoadOp op, TmaLoadOp::Adaptor adaptor, HopperBuilder &b) {
  Value full = lowering.fullBarriers.lookup(lowering.producers.lookup(op)), row = *std::prev(adaptor.getAt().end(), 2);
  Value column = adaptor.getAt().back();
  TensorMapArg map = {adaptor.getMap()};
  TileType tile = op.getTile().getType();
  if (!op.getMulticast()) {
    for (int64_t panel = 0; panel < tile.getColumns() / tile.getPanelColumns(); ++panel)
      b.tmaLoad(b.sharedPointer(b.add(adaptor.getTile(), panel * tile.getPanelBytes())), map, full,
                coordinates(op, adaptor, row, b.add(column, panel * tile.getPanelColumns()), b));
  } else {
    // Each block brings its share of the rows, into the same place of all blocks.
    Value rank = b.clusterRank();
    Value share = b.sharedPointer(b.add(adaptor.getTile(), b.mul(rank, op.getMap().getType().getBytes())));
    Value rows = adaptor.getUntil() ? adaptor.getUntil() : adaptor.getMulticast();
    row = b.minUnsigned(b.add(row, b.mul(rank, op.getMap().getType().getRows())), b.add(rows, -1));
    b.tmaLoadMulticast(share, map, full, coordinates(op, adaptor, row, column, b),
                       (1 << lowering.multicastBlocks.lookup(op)) - 1);
  }
}

namespace {
struct LowerConsume : HopperPattern<ConsumeOp> {
  using HopperPattern::HopperPattern;
  LogicalResult lower(ConsumeOp op, Adaptor adaptor, HopperBuilder &b, ConversionPatternRewriter &rewriter) const override {
    Ring ring = {op.getRing().getType(), adaptor.getRing()};
    SlotValue at = SlotValue::unpack(b, adaptor.getSlot());
    b.waitBarrier(ring.full(b, at.stage), at.phase);
    Operation *yield = op.getBody().front().getTerminator();
    if (failed(rewriter.convertRegionTypes(&op.getBody(), *getTypeConverter())))
      return rewriter.notifyMatchFailure(op, "the stage's tiles have no address");
    rewriter.inlineBlockBefore(&op.getBody().front(), op, ring.tiles(b, at.stage));
    release(op, ring, at.stage, b);
    SmallVector<Value> results = {advance(b, at, ring.type.getStages()).pack(b)};
    llvm::append_range(results, yield->getOperands());
    rewriter.replaceOp(op, results);
    rewriter.eraseOp(yield);
    return success();
  }

  void release(ConsumeOp op, const Ring &ring, Value stage, HopperBuilder &b) const {
    const KernelContext &kernel = lowering.contextOf(op);
    int64_t blocks = ring.type.getBlocks();
    if (blocks == 1)
      return b.arriveIf(b.equal(kernel.lane, b.int32(0)), ring.empty(b, stage));
    // Lane i tells block i, whose multicast writes here too.
    Value shared = b.mapToBlock(kernel.shared, b.minUnsigned(kernel.lane, b.int32(blocks - 1)));
    int64_t empty = lowering.sharedOffsets.lookup(op.getRing().getDefiningOp()) + ring.type.getEmptyOffset();
    b.arriveRemoteIf(b.below(kernel.lane, b.int32(blocks)), b.add(shared, b.mul(stage, kBarrierBytes)), empty);
  }
};
} // namespace

void populateRingPatterns(RewritePatternSet &patterns, HopperLowering &lowering) {
  patterns.add<LowerBy<lowerAlloc>, LowerBy<lowerRing>, LowerBy<lowerTileAt>, LowerBy<lowerTileColumns>,
               LowerBy<lowerNamedBarrier>, LowerBy<lowerSync>, LowerBy<lowerArrive>, LowerBy<lowerFirstSlot>, LowerProduce,
               LowerBy<lowerDrain>, LowerBy<lowerTmaLoad>, LowerConsume>(lowering);
}

} // namespace quant::nvvm
