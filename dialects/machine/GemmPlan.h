//===- GemmPlan.h - the matmul's configurations, worked out ----*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
//   D[m, n] = bf16( sum over b of  scaleA[b, m] * scaleB[n / 128, b] * sum over k in block b of A[m, k] * B[n, k] )
//
// or, of groups of rows (a mixture's experts), each with a weight of its own:
//
//   D[m, n] = bf16( sum over b of  scaleA[b, m] * scaleB[g, n / 128, b] * sum over k in block b of A[m, k] * B[g, n, k] )
//   for the rows m of each group g. How many those are, only the device knows.
//
// That is of e4m3 (GemmElement). INT8 has one scale for each row of A and of B, and exact i32 sums over all of K; bf16 has none
// and f32 sums over all of K:
//
//   D[m, n] = bf16( scaleA[m] * scaleB[n] * sum over k of A[m, k] * B[n, k] )
//   D[m, n] = bf16( sum over k of A[m, k] * B[n, k] )
//
// In bf16 there are also products for each head of attention (MlaProjection), between its queries or values and the latents.
//
// A config is a choice; a plan is what follows from it on a GPU. Whoever needs a number of the kernel - the cost model that
// chooses a config, the emitter, the launch recipe - takes it from the plan.
//
// The kernel is persistent and warp-specialised: one warpgroup loads by TMA, one or two math warpgroups run wgmma. A wgmma has 64
// rows, so that a tile is cut along wgmma's M into slices of 64 rows: of D, or with swapAB of the weight. Each math warpgroup
// computes slicesPerWarpgroup() of them, one after the other.
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_DIALECTS_MACHINE_GEMMPLAN_H
#define QUANT_DIALECTS_MACHINE_GEMMPLAN_H

#include "dialects/machine/Gpu.h"

#include <algorithm>
#include <cstdint>
#include <string>

namespace quant::machine {

/// e4m3: columns of A that share a scale, rows and columns of B.
inline constexpr int64_t kScaleBlock = 128;
/// Bytes of K of one K block: a 128-byte swizzle row.
inline constexpr int64_t kBlockBytes = 128;

/// `a / b` rounded up, and `a` rounded up to a multiple of `b`, for a >= 0 and b > 0.
constexpr int64_t ceilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }
constexpr int64_t alignTo(int64_t a, int64_t b) { return ceilDiv(a, b) * b; }

/// The operand that a cluster of two blocks loads once and multicasts to both.
enum class Multicast {
  /// No cluster.
  none,
  /// The two blocks compute neighbouring columns of D and share A.
  a,
  /// The two blocks compute neighbouring rows of D and share B.
  b,
};

/// The type of A's and B's elements.
enum class GemmElement { e4m3, i8, bf16 };

/// The type of D. Sums are f32 or i32 in either case.
enum class OutputType { bf16, f32 };

/// Where the rows of A and D lie that belong to a group.
enum class GroupLayout {
  /// One group after another, [rows, K], each from a multiple of `groupAlignment` on; the counts are where they end, i32
  /// [groups].
  /// DeepGEMM's contiguous layout with `use_psum_layout`; with an alignment of 1 rows that are merely sorted.
  contiguous,
  /// Each in a place of M rows, [groups, M, K]; the counts are how many of them there are, i32 [groups]. DeepGEMM's masked
  /// layout.
  masked,
};

/// A product for each head, by its rows of kv_b, [heads (nopeDim + vDim), latents]: K first rows of keys, then rows of values.
///
///   absorb:  D[m, h, c] = sum over d of A[m, h, d] * B[h, d, c]           A [M, heads, nopeDim + ropeDim], D [M, heads, latents]
///   expand:  D[m, h, v] = sum over c of A[m, h, c] * B[h, nopeDim + v, c]  A [M, heads, latents], D [M, heads, vDim]
///
/// GemmConfig's n counts the columns of all heads' products, its k is a head's: nopeDim or the latents.
struct MlaProjection {
  enum class Kind { none, absorb, expand };
  Kind kind = Kind::none;
  int64_t heads = 0, nopeDim = 0, ropeDim = 0, vDim = 0;
  /// Of absorb: a row of D has, behind each head's latents, the ropeDim last numbers of A's head turned by a table f32 [M,
  /// ropeDim], cosines before sines (a query as mla_decode reads it).
  bool completes = false;
  /// Pairs that are turned are neighbours; otherwise they lie half of ropeDim apart.
  bool interleaved = false;

  bool operator==(const MlaProjection &) const = default;
};

/// One kernel. N and K are fixed, M is a kernel argument (any M >= 0 up to the recipe's limit; M = 0 launches nothing).
/// checkGemm says which combinations there are.
struct GemmConfig {
  /// A multiple of 8: a row of D must be a multiple of 16 bytes for TMA.
  int64_t n = 0;
  /// Any K > 0. Rows of A and B lie as many bytes apart as they have, rounded up to 16, as TMA wants them; the recipe's operands
  /// say so. What lies between is never read: TMA fills the last block with zeros.
  int64_t k = 0;
  /// Rows of D (tokens) in a tile, with swapAB or without: 64, 128 or 256; with swapAB 8 or a multiple of 16 up to 128.
  int64_t blockM = 128;
  /// Columns of D (rows of the weight) in a tile: a multiple of 16 from 16 to 192, of i8 and bf16, which need no second set of
  /// sums, to 256; at most 128 with blockM = 256 (registers); with swapAB 64 or 128.
  int64_t blockN = 128;
  /// K blocks in flight; 0: as many as shared memory holds.
  int64_t stages = 0;
  /// Puts the weight on wgmma's M, which is always 64, and the tokens on its N, which can be as small as 8: for small M.
  bool swapAB = false;
  /// Anything but `none` makes clusters of two blocks.
  Multicast multicast = Multicast::none;
  /// Parts that K is cut into, each computed by a block of its own, where tiles alone would leave multiprocessors idle; at most
  /// as many as there are K blocks, and one of i8. The sum of the parts has a fixed order: results are the same in every run.
  int64_t splitK = 1;
  /// D = ... + bias[n], f32 [N], added before the rounding.
  bool bias = false;
  /// D += ...; for bf16 the sum is rounded before it is added and the result again.
  bool accumulate = false;
  OutputType outputType = OutputType::bf16;

  /// Groups of rows, each with its own weight; 0: one weight for all rows. Groups take neither a bias nor a split K.
  int64_t groups = 0;
  GroupLayout groupLayout = GroupLayout::contiguous;
  /// Of the contiguous layout.
  int64_t groupAlignment = 1;
  /// b holds N rows of a gate and, behind them, N of an up projection (of each group): D is silu(a gate^T) * (a up^T), quantized
  /// in groups of 128 columns, as f8E4M3FN with scales in the layout of A's. Both products are rounded to bf16 before.
  bool swiglu = false;
  /// Scales of a quantized D are powers of two.
  bool powerOfTwoScales = false;
  /// Of the contiguous layout: M counts tokens, each with so many rows in as many groups; 0: M counts rows.
  int64_t topK = 0;

  GemmElement element = GemmElement::e4m3;
  /// B's scales are bf16 instead of f32; of i8 alone.
  bool bf16Scales = false;

  /// Of bf16: a product for each head.
  MlaProjection mla = {};

  bool isMla() const { return mla.kind != MlaProjection::Kind::none; }
  bool isAbsorb() const { return mla.kind == MlaProjection::Kind::absorb; }
  /// Columns of a head's product.
  int64_t headN() const { return n / mla.heads; }
  bool isFp8() const { return element == GemmElement::e4m3; }
  int64_t elementBytes() const { return element == GemmElement::bf16 ? 2 : 1; }
  /// Weights that each row is multiplied by: gate and up, or one.
  int64_t weights() const { return swiglu ? 2 : 1; }
  bool isMasked() const { return groups > 0 && groupLayout == GroupLayout::masked; }
  /// sm90_fp8_gemm_1d2d_n7168_k2048_bm128_bn128, then what differs from the default: _st4, _swap, _mca, _sk8, _bias, _acc, _f32;
  /// sm90_fp8_grouped_gemm_1d2d_g8_n... of groups, with _masked, _align128 or _top8 behind their number; _swiglu, _ue8m0.
  /// sm90_int8_gemm_n..., sm90_bf16_gemm_n... of the other elements; _bf16scales. sm90_bf16_mla_absorb_h128_d128_r64_v128_n... of
  /// heads; _rope or, of pairs that are no neighbours, _halves.
  std::string symbolName() const;

  bool operator==(const GemmConfig &) const = default;
};

/// The projection of all heads onto, or from, so many latents, with a tile that divides a head's columns where there is one.
GemmConfig mlaGemmConfig(const MlaProjection &mla, int64_t latents);

/// What follows from a config: who computes what, how many stages fit, how operands lie in shared memory.
struct GemmPlan {
  /// Sizes follow from the GPU's architecture, the order of tiles from its number of multiprocessors.
  explicit GemmPlan(const GemmConfig &config, const Gpu &gpu = defaultGpu());

  GemmConfig config;
  GpuArch arch;
  /// Math warpgroups.
  int64_t warpgroups;
  /// K blocks in flight, and bytes of shared memory of a block: the stages, D's staging, flags, the table of groups and barriers.
  int64_t stages, sharedBytes;
  /// Rows of tiles, in a cluster that pairs them rows of pairs, that are walked together, column by column: 8 or 16, whichever
  /// lets a wave of blocks read fewer rows of A and B, which it shares in L2 (DeepGEMM's rule).
  int64_t tilesPerGroup;

  //===--- Tiles ---===//
  /// Tiles of a cluster along M and N, which share B and A, and blocks of a cluster.
  int64_t clusterM() const { return config.multicast == Multicast::b ? 2 : 1; }
  int64_t clusterN() const { return config.multicast == Multicast::a ? 2 : 1; }
  int64_t cluster() const { return clusterM() * clusterN(); }
  int64_t tilesN() const { return ceilDiv(config.n, config.blockN); }
  /// Tiles along M and N, and what the last cluster has beyond the matrix.
  int64_t paddedTilesM(int64_t m) const { return ceilDiv(m, config.blockM * clusterM()) * clusterM(); }
  int64_t paddedTilesN() const { return ceilDiv(tilesN(), clusterN()) * clusterN(); }

  //===--- The product of a tile ---===//
  int64_t threads() const { return (warpgroups + 1) * arch.warpgroupThreads(); }
  /// Rows of a tile on wgmma's M, columns on its N.
  int64_t wgmmaM() const { return config.swapAB ? config.blockN : config.blockM; }
  int64_t wgmmaN() const { return config.swapAB ? config.blockM : config.blockN; }
  /// Slices of a tile, each of one wgmma's rows, and those of a warpgroup.
  int64_t slices() const { return wgmmaM() / arch.wgmmaRows; }
  int64_t slicesPerWarpgroup() const { return slices() / warpgroups; }
  /// Products of a warpgroup in a K block, one after the other: of each of its slices with each weight.
  int64_t productsPerWarpgroup() const { return slicesPerWarpgroup() * config.weights(); }
  /// Columns of a tile that surely share a scale of B: all of them, or what all tiles' borders have in common with the blocks of
  /// 128.
  int64_t columnsOfScale() const;

  //===--- K ---===//
  /// Elements of K of a K block, and how many of these there are.
  int64_t blockK() const { return kBlockBytes / config.elementBytes(); }
  int64_t kBlocks() const { return ceilDiv(config.k, blockK()); }
  /// Rows of B, and of B's scales; of heads those that are multiplied by.
  int64_t rowsB() const { return config.weights() * config.n; }
  int64_t scaleRowsB() const { return ceilDiv(rowsB(), kScaleBlock); }
  /// K blocks that the main loop writes out in one iteration; they divide its length: a remainder loop would make ptxas spill.
  int64_t unroll() const;
  /// K blocks of the weight that are loaded while the kernels before this one still run: as many as there are stages, and as
  /// the shortest part of K has.
  int64_t earlyBlocks() const;

  //===--- Operands ---===//
  /// Rows of A and D of all groups together, for each of M: tokens come top-k times, places of M rows once for each group.
  int64_t rowsPerM() const { return config.isMasked() ? config.groups : std::max<int64_t>(config.topK, 1); }
  /// Rows of tiles that a cluster takes at a time: what the tiles of a group are counted in.
  int64_t rowsAtATime() const { return config.blockM * clusterM(); }
  /// Bytes of shared memory of the table of groups.
  int64_t groupTableBytes() const { return config.groups ? (config.groups + 1) * kGroupEntryBytes : 0; }
  /// Of heads: columns of A and D, and rows of B, from head to head; the first row of a head's B.
  int64_t headColumnsA() const { return config.isAbsorb() ? config.mla.nopeDim + config.mla.ropeDim : config.k; }
  int64_t headColumnsD() const { return config.headN() + (config.mla.completes ? config.mla.ropeDim : 0); }
  int64_t headRowsB() const { return config.mla.nopeDim + config.mla.vDim; }
  int64_t firstRowB() const { return config.isAbsorb() ? 0 : config.mla.nopeDim; }
  /// Columns of A and D.
  int64_t columnsA() const { return config.isMla() ? config.mla.heads * headColumnsA() : config.k; }
  int64_t columnsD() const { return config.isMla() ? config.mla.heads * headColumnsD() : config.n; }
  /// Bytes from row to row of A and B in global memory; of heads rows have no padding.
  int64_t pitch() const { return alignTo(config.k * config.elementBytes(), arch.tmaAlignment); }
  /// Rows of an operand in the TMA box of one block.
  int64_t boxRowsA() const { return config.blockM / clusterN(); }
  int64_t boxRowsB() const { return config.blockN / clusterM(); }
  /// Bytes of A's scales that a stage has: of e4m3 one for each row and K block.
  int64_t scaleBytesPerStage() const { return config.isFp8() ? config.blockM * static_cast<int64_t>(sizeof(float)) : 0; }
  /// Bytes that TMA writes for a stage: A, B and A's scales. In shared memory a stage takes more, for alignment and barriers.
  int64_t loadedBytesPerStage() const;
  int64_t bytesOfD() const { return config.swiglu ? 1 : config.outputType == OutputType::f32 ? 4 : 2; }
  /// The part of D that one TMA store writes, a slice of the tile: swizzled rows, as long as the width allows.
  int64_t storeRows() const { return config.swapAB ? config.blockM : arch.wgmmaRows; }
  int64_t stagingColumns() const { return config.swapAB ? arch.wgmmaRows : config.blockN; }
  int64_t storeSwizzle() const;
  int64_t storeColumns() const { return storeSwizzle() / bytesOfD(); }
};

/// Nothing, or why there is no such kernel.
Result<void> checkGemm(const GemmConfig &config, const Gpu &gpu = defaultGpu());

} // namespace quant::machine

#endif // QUANT_DIALECTS_MACHINE_GEMMPLAN_H
