//===- Fp8Gemm.h - the block-scaled FP8 matmul on H100/H200 --------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
//   D[m, n] = bf16( sum over b of  scaleA[b, m] * scaleB[n / 128, b] * sum over k in block b of A[m, k] * B[n, k] )
//
// with K blocks b of 128, products of one block summed by the tensor core, and blocks summed in f32 registers ("promotion").
// The kernel is persistent and warp-specialised: one warpgroup whose one elected lane issues TMA loads, and one or two math
// warpgroups running wgmma. It is built in the hopper dialect (docs/hopper.md). The structure is that of DeepGEMM's sm90 1d2d
// kernel (DeepSeek-AI, github.com/deepseek-ai/DeepGEMM).
//
// Operands, in the recipe's order:
//   a          f8E4M3FN [M, K]  rows roundUp(K, 16) bytes apart: TMA wants rows that begin at multiples of 16 bytes
//   scale_a    f32      [ceil(K/128), Mpad]  Mpad = M rounded up to 4, for the same reason
//   b          f8E4M3FN [N, K]  rows as those of a
//   scale_b    f32      [ceil(N/128), ceil(K/128)]  as the checkpoint has it
//   d          bf16 or f32 [M, N]
//   bias       f32      [N]  with bias
//   workspace  f32      with splitK: scratch, of the size that the recipe says
//   counters   i32      with splitK: zeros before the first launch; the kernel leaves zeros
//
// b, scale_b and bias are weights: in a programmatic launch (runtime/abi/launch_recipe.h) they are read while kernels before
// still run. For scale_b and bias that is no matter of order alone: they are read through a cache that is not coherent.
//
// splitK is one launch, not two: each warpgroup leaves its partial sums in the workspace and counts itself in, and the last one
// adds up all parts in their order. A second kernel would cost a launch, which is as long as these small products take; the
// partial sums stay in L2. Without float atomics the result has the same bits in every run.
//
// accumulate is TMA's reduction: D = round(D + round(sum)). The order of roundings is fixed, each element is added to once.
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_LOWERING_TARGET_SM90_FP8GEMM_H
#define QUANT_LOWERING_TARGET_SM90_FP8GEMM_H

#include "lowering/target/sm90/LaunchRecipe.h"
#include "lowering/target/sm90/Ptx.h"
#include "runtime/abi/result.h"

#include "llvm/ADT/STLFunctionalExtras.h"

#include <cstdint>
#include <string>

namespace quant::nvvm {

/// The operand that a cluster of two blocks loads once and multicasts to both.
enum class Multicast {
  /// No cluster.
  none,
  /// The two blocks compute neighbouring columns of D and share A.
  a,
  /// The two blocks compute neighbouring rows of D and share B.
  b,
};

/// The type of D. Sums are f32 in either case.
enum class OutputType { bf16, f32 };

/// One kernel. N and K are fixed, M is a kernel argument (any M >= 0 up to the recipe's limit; M = 0 launches nothing).
/// checkFp8Gemm says which combinations there are.
struct Fp8GemmConfig {
  /// A multiple of 8: a row of D must be a multiple of 16 bytes for TMA.
  int64_t n = 0;
  /// Any K > 0. Rows of A and B lie roundUp(K, 16) bytes apart, as TMA wants them; the recipe's operands say so. What lies
  /// between is never read: TMA fills the last block with zeros.
  int64_t k = 0;
  /// Rows of D (tokens) in a tile, with swapAB or without: 64, 128 or 256; with swapAB 8 or a multiple of 16 up to 128.
  int64_t blockM = 128;
  /// Columns of D (rows of the weight) in a tile: a multiple of 16 from 16 to 192, at most 128 with blockM = 256
  /// (registers); with swapAB 64 or 128.
  int64_t blockN = 128;
  /// K blocks in flight; 0: as many as shared memory holds.
  int64_t stages = 0;
  /// Puts the weight on wgmma's M, which is always 64, and the tokens on its N, which can be as small as 8: for small M.
  bool swapAB = false;
  /// Anything but `none` makes clusters of two blocks.
  Multicast multicast = Multicast::none;
  /// Parts that K is cut into, each computed by a block of its own, where tiles alone would leave multiprocessors idle; at most
  /// ceil(K / 128). The sum of the parts has a fixed order: results are the same in every run.
  int64_t splitK = 1;
  /// D = ... + bias[n], f32 [N], added before the rounding.
  bool bias = false;
  /// D += ...; for bf16 the sum is rounded before it is added and the result again.
  bool accumulate = false;
  OutputType outputType = OutputType::bf16;

  /// Rows of tiles, in a cluster that pairs them rows of pairs, that are walked together, column by column: 8 or 16, whichever
  /// lets a wave of 132 blocks read fewer rows of A and B, which it shares in L2 (DeepGEMM's rule).
  int64_t tilesPerGroup() const;
  /// Tiles of a cluster along M and N, which share B and A, and blocks of a cluster.
  int64_t clusterM() const { return multicast == Multicast::b ? 2 : 1; }
  int64_t clusterN() const { return multicast == Multicast::a ? 2 : 1; }
  int64_t cluster() const { return clusterM() * clusterN(); }
  /// sm90_fp8_gemm_1d2d_n7168_k2048_bm128_bn128, then what differs from the default: _st4, _swap, _mca, _sk8, _bias, _acc, _f32.
  std::string symbolName() const;
};

/// Nothing, or why there is no such kernel.
Result<void> checkFp8Gemm(const Fp8GemmConfig &config);

/// Adds the kernel `symbolName` (default: the config's) to the module and says how to launch it. The module may hold other
/// kernels. Errors: a config outside the limits above, a symbol that is taken.
Result<LaunchRecipe> buildFp8Gemm(mlir::gpu::GPUModuleOp gpuModule, const Fp8GemmConfig &config, std::string symbolName = {});

/// A kernel ready to be stored in a module file or loaded by the driver.
struct CompiledKernel {
  LaunchRecipe recipe;
  GpuArtifact artifact;
};

/// A module of the one kernel that `build` adds to it, compiled to PTX and assembled, in a context of its own.
Result<CompiledKernel> compileAlone(llvm::function_ref<Result<LaunchRecipe>(mlir::gpu::GPUModuleOp)> build,
                                    const AssemblerOptions &options);

/// buildFp8Gemm, compileToPtx and assemble in one.
Result<CompiledKernel> compileFp8Gemm(const Fp8GemmConfig &config, const AssemblerOptions &options = {});

} // namespace quant::nvvm

#endif // QUANT_LOWERING_TARGET_SM90_FP8GEMM_H
