//===- Fp8GemmKernel.h - the FP8 matmul as a schedule of tiles -----*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_LOWERING_TARGET_SM90_FP8GEMMKERNEL_H
#define QUANT_LOWERING_TARGET_SM90_FP8GEMMKERNEL_H

#include "dialects/hopper/Hopper.h"
#include "lowering/target/sm90/Fp8Gemm.h"
#include "lowering/target/sm90/HopperBuilder.h"

namespace quant::nvvm {

/// K of one block: one scale of A per row, and one 128-byte swizzle row of e4m3.
inline constexpr int64_t kBlockK = 128;

/// What follows from a config: who computes what, and how many stages fit.
struct Fp8GemmPlan {
  explicit Fp8GemmPlan(const Fp8GemmConfig &config);

  Fp8GemmConfig config;
  /// Math warpgroups, and pieces of 64 rows of wgmma that each of them computes of a tile, one after the other.
  int64_t warpgroups, waves;
  int64_t stages, sharedBytes;

  int64_t kBlocks() const { return ceilDiv(config.k, kBlockK); }
  int64_t tilesN() const { return ceilDiv(config.n, config.blockN); }
  int64_t scaleRowsB() const { return ceilDiv(config.n, kBlockK); }
  int64_t threads() const { return (warpgroups + 1) * hopper::kWarpgroupThreads; }
  /// tilesN, and what the last cluster has beyond the matrix.
  int64_t paddedTilesN() const { return ceilDiv(tilesN(), config.clusterN()) * config.clusterN(); }
  /// Pieces of 64 rows of wgmma in a tile.
  int64_t pieces() const { return warpgroups * waves; }
  /// Columns of a piece in registers: wgmma's N.
  int64_t fragmentColumns() const { return config.swapAB ? config.blockM : config.blockN; }
  /// Columns of a tile that surely share a scale of B: all of them, or what all tiles' borders have in common with the blocks of
  /// 128.
  int64_t columnsOfScale() const;
  /// K blocks that the main loop writes out in one iteration; they divide its length: a remainder loop would make ptxas spill.
  int64_t unroll() const;
  /// K blocks of the weight that are loaded while the kernels before this one still run: as many as there are stages, and as
  /// the shortest part of K has.
  int64_t earlyBlocks() const;
  /// Rows of an operand in the box of one block.
  int64_t boxRowsA() const { return config.blockM / config.clusterN(); }
  int64_t boxRowsB() const { return config.blockN / config.clusterM(); }

  int64_t bytesOfD() const { return config.outputType == OutputType::f32 ? 4 : 2; }
  /// The piece of D that one TMA store writes: swizzled rows, as long as the width allows.
  int64_t storeRows() const { return config.swapAB ? config.blockM : hopper::kWgmmaRows; }
  int64_t stagingColumns() const { return config.swapAB ? hopper::kWgmmaRows : config.blockN; }
  int64_t storeSwizzle() const;
  int64_t storeColumns() const { return storeSwizzle() / bytesOfD(); }

  static int64_t ceilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }
};

/// Emits hopper.kernel @name at the builder's insertion point. Arguments: the tensor maps of a, scale_a, b and d, the addresses
/// of scale_b, bias (with bias), workspace and counters (with splitK), and M.
hopper::KernelOp emitFp8Gemm(HopperBuilder &builder, const Fp8GemmPlan &plan, mlir::StringRef name);

} // namespace quant::nvvm

#endif // QUANT_LOWERING_TARGET_SM90_FP8GEMMKERNEL_H
