//===- Gemm.h - the matmul on H100/H200 -----------------------------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// What it computes and which forms it has: dialects/machine/GemmPlan.h. Of FP8, products of one K block are summed by the tensor
// core, blocks in f32 registers ("promotion"); of INT8 and bf16 the tensor core sums all of K. The one lane of the loading
// warpgroup that is elected issues all TMA loads. The kernel is built in the hopper dialect (docs/hopper.md); the structure is
// that of DeepGEMM's sm90 1d2d kernel (DeepSeek-AI, github.com/deepseek-ai/DeepGEMM).
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
// Of INT8 (GemmConfig::element) a and b are i8, scale_a is f32 [rows] (masked [G, M]), scale_b f32 or bf16 [N] ([G, N]); of bf16
// a and b are bf16, rows roundUp(2 K, 16) bytes apart, and there are no scales.
//
// With mla (GemmConfig::mla) there is a product for each head, in bf16, all heads side by side:
//   a          bf16 [M, heads (nope + rope)]  or, of expand, [M, heads latents]
//   b          bf16 [heads (nope + v), latents]  kv_b as the checkpoint has it
//   d          bf16 or f32 [M, heads latents]  or, of complete queries, [M, heads (latents + rope)], of expand [M, heads v]
//   rope       f32 [M, rope]  of complete queries: cosines, then sines
//
// With swiglu b has 2 N rows, those of the gate first, d is f8E4M3FN [M, N], and there is
//   scale_d    f32      [N/128, Mpad]  in the layout of scale_a: what the next matmul reads; before the counts of groups
//
// Of G groups of rows (GemmConfig::groups, GroupLayout), `rows` in all, the places of masked ones having M rows each:
//   a          f8E4M3FN [rows, K], masked [G, M, K]
//   scale_a    f32      [ceil(K/128), rows padded], masked [G, ceil(K/128), Mpad]
//   b          f8E4M3FN [G, N, K]
//   scale_b    f32      [G, ceil(N/128), ceil(K/128)]
//   d          bf16 or f32 [rows, N], masked [G, M, N]; rows of no group stay as they are
//   ends       i32      [G]  or, masked, `counts`, or, with topK, `offsets` [G + 1], of which the first is not read; on the
//   device,
//                       whatever they hold
// Rows of A that belong to no group are never read. A masked group of more rows than M has M; groups that end before they begin
// are empty. There is a table of the groups in shared memory (hopper.scan_groups), no tile of which needs the host.
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

#ifndef QUANT_LOWERING_TARGET_SM90_GEMM_H
#define QUANT_LOWERING_TARGET_SM90_GEMM_H

#include "dialects/machine/GemmPlan.h"
#include "lowering/target/sm90/CompileAlone.h"

#include <string>

namespace quant::nvvm {

/// Adds the kernel `symbolName` (default: the config's) to the module and says how to launch it. The module may hold other
/// kernels. Errors: a config outside the limits of checkGemm, a symbol that is taken.
Result<LaunchRecipe> buildGemm(mlir::gpu::GPUModuleOp gpuModule, const machine::GemmConfig &config, const machine::Gpu &gpu,
                               std::string symbolName = {});

/// buildGemm, compileToPtx and assemble in one.
Result<CompiledKernel> compileGemm(const machine::GemmConfig &config, const AssemblerOptions &options = {},
                                   const machine::Gpu &gpu = machine::defaultGpu());

} // namespace quant::nvvm

#endif // QUANT_LOWERING_TARGET_SM90_GEMM_H
