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
// The kernel is persistent and warp-specialised: one warpgroup whose one elected lane issues TMA loads, and blockM / 64 math
// warpgroups running wgmma. The structure is that of DeepGEMM's sm90 1d2d kernel (DeepSeek-AI, github.com/deepseek-ai/DeepGEMM).
//
// Operands, in the recipe's order:
//   a        f8E4M3FN [M, K]
//   scale_a  f32      [ceil(K/128), Mpad]  Mpad = M rounded up to 4: TMA wants rows that are multiples of 16 bytes
//   b        f8E4M3FN [N, K]
//   scale_b  f32      [ceil(N/128), ceil(K/128)]  as the checkpoint has it
//   d        bf16     [M, N]
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_LOWERING_NVVM_FP8GEMM_H
#define QUANT_LOWERING_NVVM_FP8GEMM_H

#include "lowering/nvvm/LaunchRecipe.h"
#include "lowering/nvvm/Ptx.h"
#include "runtime/abi/result.h"

#include <cstdint>
#include <string>

namespace quant::nvvm {

/// One kernel. N and K are fixed, M is a kernel argument (any M >= 0 up to the recipe's limit; M = 0 launches nothing).
struct Fp8GemmConfig {
  /// A multiple of 8: a row of D must be a multiple of 16 bytes for TMA.
  int64_t n = 0;
  /// A multiple of 16: a row of A and B must be a multiple of 16 bytes for TMA. Need not be a multiple of 128: TMA fills the last
  /// block with zeros.
  int64_t k = 0;
  /// Rows of D a block computes at a time, 64 or 128. 64 halves the math of a tile: for M <= 64.
  int64_t blockM = 128;
  /// Columns, 64 or 128. 64 spreads small N over more multiprocessors.
  int64_t blockN = 128;
  /// K blocks in flight; 0: as many as shared memory holds.
  int64_t stages = 0;

  /// sm90_fp8_gemm_1d2d_n7168_k2048_bm128_bn128
  std::string symbolName() const;
};

/// Adds the kernel `symbolName` (default: the config's) to the module and says how to launch it. The module may hold other
/// kernels. Errors: a config outside the limits above, a symbol that is taken.
Result<LaunchRecipe> buildFp8Gemm(mlir::gpu::GPUModuleOp gpuModule, const Fp8GemmConfig &config, std::string symbolName = {});

/// A kernel ready to be stored in a module file or loaded by the driver.
struct CompiledKernel {
  LaunchRecipe recipe;
  GpuArtifact artifact;
};

/// buildFp8Gemm, compileToPtx and assemble in one, in a context of its own.
Result<CompiledKernel> compileFp8Gemm(const Fp8GemmConfig &config, const AssemblerOptions &options = {});

} // namespace quant::nvvm

#endif // QUANT_LOWERING_NVVM_FP8GEMM_H
