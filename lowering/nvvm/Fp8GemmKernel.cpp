//===- Fp8GemmKernel.cpp - roles, tile order and the TMA producer ------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "lowering/nvvm/Fp8GemmKernel.h"

using namespace mlir;

namespace quant::nvvm {

/// Rows of tiles that are walked together, column by column, so that one wave of blocks shares its A and B tiles in L2.
static constexpr int64_t kTilesPerGroup = 16;

/// Registers per thread after the split. 384 threads start with 65536 / 384 = 168 each; 128 x 40 + 256 x 232 gives out the same.
static constexpr int64_t kProducerRegisters = 40;

void Fp8GemmKernel::emit() {
  emitPrologue();
  // One branch on a warp-uniform value: the form in which ptxas accepts setmaxnreg.
  Value isProducer = b.equal(warpgroup, b.constI32(layout.mathWarpgroups()));
  b.ifThenElse(isProducer, [&] { emitProducer(); }, [&] { emitMath(); });
}

void Fp8GemmKernel::emitPrologue() {
  shared = b.dynamicShared();
  thread = b.threadIndex();
  warp = b.broadcastFromLane0(b.shiftRight(thread, 5));
  warpgroup = b.shiftRight(warp, 2);
  isProducerWarp = b.equal(warp, b.constI32(layout.mathWarpgroups() * 4));
  tilesM = b.divUnsigned(b.add(args.m, layout.blockM - 1), b.constI32(layout.blockM));
  tiles = b.mul(tilesM, layout.tilesN());
  b.ifThen(isProducerWarp, [&] { b.ifThen(b.electOneLane(), [&] { initBarriers(); }); });
  b.syncBlock();
}

void Fp8GemmKernel::initBarriers() {
  for (TensorMapArg map : {args.a, args.scaleA, args.b, args.d})
    b.prefetchTensorMap(map);
  for (int64_t stage = 0; stage < layout.stages; ++stage) {
    Value at = b.constI32(stage);
    // Full: the producer arrives once, the bytes do the rest. Empty: one lane of every math warp arrives.
    b.initBarrier(fullBarrier(at), 1);
    b.initBarrier(emptyBarrier(at), layout.mathWarpgroups() * 4);
  }
  b.fenceBarrierInit();
}

//===----------------------------------------------------------------------===//
// Tile order
//===----------------------------------------------------------------------===//

Fp8GemmKernel::Tile Fp8GemmKernel::tileAt(Value index) {
  Value tilesOfGroup = b.constI32(kTilesPerGroup * layout.tilesN());
  Value group = b.divUnsigned(index, tilesOfGroup);
  Value inGroup = b.sub(index, b.mul(group, tilesOfGroup));
  Value firstM = b.mul(group, kTilesPerGroup);
  Value groupM = b.minUnsigned(b.sub(tilesM, firstM), b.constI32(kTilesPerGroup));
  Value indexN = b.divUnsigned(inGroup, groupM);
  Value indexM = b.add(firstM, b.sub(inGroup, b.mul(indexN, groupM)));
  return {b.mul(indexM, layout.blockM), b.mul(indexN, layout.blockN), indexN};
}

void Fp8GemmKernel::forEachTile(TileBody body) {
  Value zero = b.constI32(0);
  // The ring of stages runs on from tile to tile, in the producer and in the math warpgroups alike.
  b.forLoop(b.blockIndex(), tiles, b.gridSize(), {zero, zero}, [&](Value index, ValueRange carried) {
    Pipeline after = body(tileAt(index), {carried[0], carried[1]});
    return SmallVector<Value>{after.stage, after.phase};
  });
}

//===----------------------------------------------------------------------===//
// The ring of stages
//===----------------------------------------------------------------------===//

Fp8GemmKernel::Pipeline Fp8GemmKernel::advance(Pipeline at) {
  Value next = b.add(at.stage, 1);
  Value wraps = b.equal(next, b.constI32(layout.stages));
  return {b.select(wraps, b.constI32(0), next), b.bitXor(at.phase, b.extendToI32(wraps))};
}

Value Fp8GemmKernel::fullBarrier(Value stage) { return stageBuffer(layout.offsetFull, stage, kBarrierBytes); }
Value Fp8GemmKernel::emptyBarrier(Value stage) { return stageBuffer(layout.offsetEmpty, stage, kBarrierBytes); }

Value Fp8GemmKernel::stageBuffer(int64_t offset, Value stage, int64_t stageBytes) {
  return b.offset(b.offset(shared, offset), b.mul(stage, stageBytes));
}

//===----------------------------------------------------------------------===//
// Producer
//===----------------------------------------------------------------------===//

void Fp8GemmKernel::emitProducer() {
  // All four warps take part in setmaxnreg, one lane does the work. With one math warpgroup the file holds 255 registers for
  // every thread, and there is nothing to redistribute.
  if (layout.mathWarpgroups() > 1)
    b.decreaseRegisters(kProducerRegisters);
  b.ifThen(isProducerWarp, [&] {
    b.ifThen(b.electOneLane(), [&] {
      forEachTile([&](Tile tile, Pipeline start) {
        auto end = b.forLoop(b.constI32(0), b.constI32(layout.kBlocks()), b.constI32(1), {start.stage, start.phase},
                             [&](Value blockK, ValueRange carried) {
                               Pipeline at = {carried[0], carried[1]};
                               loadStage(tile, blockK, at);
                               Pipeline next = advance(at);
                               return SmallVector<Value>{next.stage, next.phase};
                             });
        return Pipeline{end[0], end[1]};
      });
    });
  });
}

void Fp8GemmKernel::loadStage(Tile tile, Value blockK, Pipeline at) {
  // The opposite parity: in the first round the stage is free and the wait falls through.
  b.waitBarrier(emptyBarrier(at.stage), b.bitXor(at.phase, b.constI32(1)));
  Value full = fullBarrier(at.stage);
  Value k0 = b.mul(blockK, kBlockK);
  b.arriveAndExpect(full, layout.stageBytes());
  b.tmaLoad(stageBuffer(layout.offsetA, at.stage, layout.stageBytesA), args.a, full, k0, tile.m0);
  b.tmaLoad(stageBuffer(layout.offsetScale, at.stage, layout.stageBytesScale), args.scaleA, full, tile.m0, blockK);
  b.tmaLoad(stageBuffer(layout.offsetB, at.stage, layout.stageBytesB), args.b, full, k0, tile.n0);
}

} // namespace quant::nvvm
