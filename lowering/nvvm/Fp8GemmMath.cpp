//===- Fp8GemmMath.cpp - main loop, promotion and epilogue -------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "lowering/nvvm/Fp8GemmKernel.h"

using namespace mlir;

namespace quant::nvvm {

/// Registers of a math thread; see Fp8GemmKernel.cpp for the sum.
static constexpr int64_t kMathRegisters = 232;
/// K of one e4m3 wgmma.
static constexpr int64_t kInstructionK = 32;
/// Matrix descriptors count in units of 16 bytes.
static constexpr int64_t kDescriptorUnit = 16;
static constexpr int64_t kSwizzleRowBytes = 128;
static constexpr int64_t kChunkBytes = 16;

void Fp8GemmKernel::emitMath() {
  if (layout.mathWarpgroups() > 1)
    b.increaseRegisters(kMathRegisters);
  MathThread self = identifyMathThread();
  forEachTile([&](Tile tile, Pipeline start) {
    KLoopState end = multiplyTile(self, tile, start);
    storeTile(self, tile, end.sum);
    return end.at;
  });
  // The last stores still read shared memory, which ends with the block.
  b.ifThen(self.isStoreThread, [&] { b.waitStoresDone(); });
}

Fp8GemmKernel::MathThread Fp8GemmKernel::identifyMathThread() {
  MathThread self;
  self.warpgroup = warpgroup;
  self.warpInGroup = b.bitAnd(warp, 3);
  self.lane = b.bitAnd(thread, 31);
  // wgmma gives rows 16w + lane/4 and 8 more to each lane of warp w; warps of the second warpgroup go on at 64.
  self.row = b.add(b.mul(warp, 16), b.shiftRight(self.lane, 2));
  self.isStoreThread = b.equal(b.bitAnd(thread, kWarpgroupThreads - 1), b.constI32(0));
  self.isLane0 = b.equal(self.lane, b.constI32(0));
  auto lowWord = [&](int64_t offset) { return b.shiftRight(b.sharedAddress(b.offset(shared, offset)), 4); };
  self.descriptorA = b.add(lowWord(layout.offsetA), b.mul(warpgroup, kWarpgroupM * kBlockK / kDescriptorUnit));
  self.descriptorB = lowWord(layout.offsetB);
  self.stagingD = b.offset(shared, b.mul(warpgroup, layout.warpgroupBytesD()));
  return self;
}

//===----------------------------------------------------------------------===//
// Main loop
//===----------------------------------------------------------------------===//

Fp8GemmKernel::KLoopState Fp8GemmKernel::multiplyTile(const MathThread &self, Tile tile, Pipeline at) {
  // blockN divides 128, so a tile of D meets one row of B's scales.
  Value blockRow = b.divUnsigned(tile.indexN, b.constI32(kBlockK / layout.blockN));
  Value scaleRow = b.offsetF32(args.scaleB, b.mul(blockRow, layout.kBlocks()));
  SmallVector<Value> init = {at.stage, at.phase, b.loadF32(scaleRow), b.zeroVector(layout.accumulators())};
  auto end = b.forLoop(b.constI32(0), b.constI32(layout.kBlocks()), b.constI32(1), init, [&](Value blockK, ValueRange in) {
    KLoopState next = multiplyBlock(self, scaleRow, blockK, {{in[0], in[1]}, in[2], in[3]});
    return SmallVector<Value>{next.at.stage, next.at.phase, next.scaleB, next.sum};
  });
  return {{end[0], end[1]}, end[2], end[3]};
}

Fp8GemmKernel::KLoopState Fp8GemmKernel::multiplyBlock(const MathThread &self, Value scaleRow, Value blockK, KLoopState state) {
  // The next block's scale of B is on its way while this block multiplies; after the last block the last one is read again, so
  // that no load leaves the array.
  Value nextBlock = b.minUnsigned(b.add(blockK, 1), b.constI32(layout.kBlocks() - 1));
  Value nextScaleB = b.loadF32(b.offsetF32(scaleRow, nextBlock));

  b.waitBarrier(fullBarrier(state.at.stage), state.at.phase);
  // Read A's scales before the stage is handed back below: afterwards TMA may overwrite them.
  Value scaleA = b.offsetF32(stageBuffer(layout.offsetScale, state.at.stage, layout.stageBytesScale), self.row);
  Value scaleTop = b.loadF32(scaleA);
  Value scaleBottom = b.loadF32(b.offset(scaleA, 8 * sizeof(float)));
  SmallVector<Value> products = multiplyStage(self, state.at.stage);
  b.arriveIf(self.isLane0, emptyBarrier(state.at.stage));
  Value sum = promote(products, b.mulF32(scaleTop, state.scaleB), b.mulF32(scaleBottom, state.scaleB), state.sum);
  return {advance(state.at), nextScaleB, sum};
}

/// 64 x blockN products over the 128 of K in one stage.
SmallVector<Value> Fp8GemmKernel::multiplyStage(const MathThread &self, Value stage) {
  Value lowA = b.add(self.descriptorA, b.mul(stage, layout.stageBytesA / kDescriptorUnit));
  Value lowB = b.add(self.descriptorB, b.mul(stage, layout.stageBytesB / kDescriptorUnit));
  b.wgmmaFence();
  Value acc;
  for (int64_t k = 0; k < kBlockK; k += kInstructionK) {
    // Along K the address moves inside the swizzle row; the hardware applies the XOR to the final address.
    Value descriptorA = b.swizzled128Descriptor(b.add(lowA, k / kDescriptorUnit));
    Value descriptorB = b.swizzled128Descriptor(b.add(lowB, k / kDescriptorUnit));
    acc = b.wgmmaE4M3(descriptorA, descriptorB, acc, layout.blockN);
  }
  b.wgmmaCommit();
  // Waiting for all: accumulators in flight over the loop's back edge make ptxas serialise the wgmmas (C7514). The other math
  // warpgroup keeps the tensor core busy while this one promotes.
  return b.wgmmaWait(acc, layout.blockN);
}

/// sum + scale * products. A thread's accumulators come in fours: two columns of its top row, two of its bottom row.
Value Fp8GemmKernel::promote(ArrayRef<Value> products, Value scaleTop, Value scaleBottom, Value sum) {
  SmallVector<Value> scales;
  for (size_t i = 0; i < products.size(); ++i)
    scales.push_back(i % 4 < 2 ? scaleTop : scaleBottom);
  return b.fma(b.packVector(scales), b.packVector(products), sum);
}

//===----------------------------------------------------------------------===//
// Epilogue
//===----------------------------------------------------------------------===//

void Fp8GemmKernel::storeTile(const MathThread &self, Tile tile, Value sum) {
  Value barrier = b.add(self.warpgroup, 1);
  // Before the staging buffer is written again, the previous tile's store must have read it. Only the thread that issued the
  // store can wait for it; the barrier tells the others.
  b.ifThen(self.isStoreThread, [&] { b.waitStoresRead(); });
  b.syncThreads(barrier, kWarpgroupThreads);
  stageFragments(self, sum);
  // TMA reads through the async proxy: every writer fences its own writes, then all meet, then one thread stores.
  b.fenceSharedForAsync();
  b.syncThreads(barrier, kWarpgroupThreads);
  b.ifThen(self.isStoreThread, [&] {
    Value row = b.add(tile.m0, b.mul(self.warpgroup, kWarpgroupM));
    // Rows past M and columns past N are clipped by the tensor map.
    for (int64_t n = 0; n < layout.blockN; n += kStoreN)
      b.tmaStore(args.d, b.offset(self.stagingD, n / kStoreN * layout.storeBytesD()), b.add(tile.n0, n), row);
    b.commitStores();
  });
}

/// Rounds the warpgroup's 64 x blockN sums to bf16 and writes them in the layout TMA expects of a 128-byte swizzle: in row r, the
/// 16-byte chunk c lies at c ^ (r % 8). That also spreads stmatrix over all banks.
void Fp8GemmKernel::stageFragments(const MathThread &self, Value sum) {
  // stmatrix.x4 writes 16 rows x 16 columns: lanes 0-15 give the rows of the left chunk, lanes 16-31 those of the right one.
  Value row = b.add(b.mul(self.warpInGroup, 16), b.bitAnd(self.lane, 15));
  Value rightHalf = b.shiftRight(self.lane, 4);
  Value rowInSwizzle = b.bitAnd(self.lane, 7);
  Value rowStart = b.offset(self.stagingD, b.mul(row, kSwizzleRowBytes));
  for (int64_t n = 0; n < layout.blockN; n += 16) {
    int64_t store = n / kStoreN, chunk = n % kStoreN / 8;
    Value swizzled = b.bitXor(b.add(rightHalf, chunk), rowInSwizzle);
    Value target = b.offset(b.offset(rowStart, store * layout.storeBytesD()), b.mul(swizzled, kChunkBytes));
    SmallVector<Value> fragments;
    for (int64_t i = n / 2; i < n / 2 + 8; i += 2)
      fragments.push_back(b.packBf16(b.extract(sum, i), b.extract(sum, i + 1)));
    b.storeMatrix4(target, fragments);
  }
}

} // namespace quant::nvvm
