//===- Fp8GemmKernel.h - the parts of the FP8 matmul kernel --------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_LOWERING_NVVM_FP8GEMMKERNEL_H
#define QUANT_LOWERING_NVVM_FP8GEMMKERNEL_H

#include "lowering/nvvm/Fp8Gemm.h"
#include "lowering/nvvm/HopperBuilder.h"

namespace quant::nvvm {

/// K of one block: one scale of A per row, and one 128-byte swizzle row of e4m3.
inline constexpr int64_t kBlockK = 128;
/// Rows of one wgmma, hence of one math warpgroup.
inline constexpr int64_t kWarpgroupM = 64;
inline constexpr int64_t kWarpgroupThreads = 128;
/// Columns of bf16 in one 128-byte swizzle row: the width of a TMA store.
inline constexpr int64_t kStoreN = 64;
inline constexpr int64_t kBarrierBytes = 8;

/// Where things lie in dynamic shared memory: D | A stages | B stages | scales of A | full barriers | empty barriers. All tiles
/// are multiples of 1024 bytes, which the 128-byte swizzle needs.
struct Fp8GemmLayout {
  explicit Fp8GemmLayout(const Fp8GemmConfig &config);

  int64_t n, k, blockM, blockN;
  int64_t stageBytesA, stageBytesB, stageBytesScale;
  int64_t stages;
  int64_t offsetA, offsetB, offsetScale, offsetFull, offsetEmpty, totalBytes;

  int64_t mathWarpgroups() const { return blockM / kWarpgroupM; }
  int64_t threads() const { return (mathWarpgroups() + 1) * kWarpgroupThreads; }
  int64_t kBlocks() const { return (k + kBlockK - 1) / kBlockK; }
  int64_t tilesN() const { return (n + blockN - 1) / blockN; }
  /// Staging of D of one math warpgroup, and of one TMA store of it.
  int64_t warpgroupBytesD() const { return kWarpgroupM * blockN * 2; }
  int64_t storeBytesD() const { return kWarpgroupM * kStoreN * 2; }
  /// What the TMA loads of one stage write. Boxes that reach over the tensor's edge count in full.
  int64_t stageBytes() const { return stageBytesA + stageBytesB + stageBytesScale; }
  /// f32 accumulators per math thread.
  int64_t accumulators() const { return kWarpgroupM * blockN / kWarpgroupThreads; }
};

/// Kernel arguments in order.
struct Fp8GemmArguments {
  TensorMapArg a, scaleA, b, d;
  mlir::Value scaleB, m;
};

/// Emits the body of the kernel at the builder's insertion point.
class Fp8GemmKernel {
public:
  Fp8GemmKernel(HopperBuilder &builder, const Fp8GemmLayout &layout, const Fp8GemmArguments &arguments)
      : b(builder), layout(layout), args(arguments) {}

  void emit();

private:
  using Value = mlir::Value;

  /// A place in the ring of stages. The phase flips on every round; barriers are waited on by its parity.
  struct Pipeline {
    Value stage, phase;
  };
  /// First row, first column, and column block of a tile of D.
  struct Tile {
    Value m0, n0, indexN;
  };
  /// What a math thread knows of itself, computed once.
  struct MathThread {
    Value warpgroup, warpInGroup, lane;
    /// First of the two rows (the other is 8 below) of the tile whose accumulators the thread holds.
    Value row;
    /// True in one thread of the warpgroup, always the same: bulk store groups belong to a thread.
    Value isStoreThread;
    Value isLane0;
    /// Low words of the descriptors of stage 0.
    Value descriptorA, descriptorB;
    Value stagingD;
  };

  // Fp8GemmKernel.cpp
  void emitPrologue();
  void initBarriers();
  Tile tileAt(Value index);
  using TileBody = mlir::function_ref<Pipeline(Tile, Pipeline)>;
  void forEachTile(TileBody body);
  Pipeline advance(Pipeline at);
  Value fullBarrier(Value stage);
  Value emptyBarrier(Value stage);
  Value stageBuffer(int64_t offset, Value stage, int64_t stageBytes);
  void emitProducer();
  void loadStage(Tile tile, Value blockK, Pipeline at);

  // Fp8GemmMath.cpp
  void emitMath();
  MathThread identifyMathThread();
  struct KLoopState {
    Pipeline at;
    Value scaleB, sum;
  };
  KLoopState multiplyTile(const MathThread &self, Tile tile, Pipeline at);
  KLoopState multiplyBlock(const MathThread &self, Value scaleRow, Value blockK, KLoopState state);
  mlir::SmallVector<Value> multiplyStage(const MathThread &self, Value stage);
  Value promote(mlir::ArrayRef<Value> products, Value scaleTop, Value scaleBottom, Value sum);
  void storeTile(const MathThread &self, Tile tile, Value sum);
  void stageFragments(const MathThread &self, Value sum);

  HopperBuilder &b;
  const Fp8GemmLayout &layout;
  const Fp8GemmArguments &args;
  Value shared, thread, warp, warpgroup, isProducerWarp, tilesM, tiles;
};

} // namespace quant::nvvm

#endif // QUANT_LOWERING_NVVM_FP8GEMMKERNEL_H
