//===- MlaDecode.h - attention over the latent cache on H100/H200 --*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// What it computes: dialects/machine/MlaDecodePlan.h. The kernel is built in the hopper dialect (docs/hopper.md). Blocks of 64
// keys are folded into a running maximum, sum and result (FlashAttention, arXiv:2205.14135); that the result's columns are split
// between two warpgroups, since 64 x 512 f32 fill half of the register file, is FlashMLA's design (DeepSeek-AI,
// github.com/deepseek-ai/FlashMLA).
//
// Operands, in the recipe's order:
//   q          bf16 [tokens, heads, 576]  latent part, then the part with rope
//   cache      bf16 [rows, 576]           pages of 64 rows: latent, then the key's rope part
//   positions  i32  [tokens]              the last key that a token attends to; -1: none
//   sequences  i32  [tokens]              the token's row of pages
//   pages      i32  [sequences, pages]    which page of the cache holds a sequence's keys 0 .. 63, 64 .. 127, ...
//   o          bf16 [tokens, heads, 512]  zeros where there is no key
//   lse        f32  [tokens, heads]       with lse: ln of the sum of exp(score); minus infinity where there is no key
//
// With splits, instead of o and lse, what the merging kernel reads: a part's share of a tile's pages is their number over splits,
// rounded up.
//   o_parts    f32  [splits, tokens, heads, 512]
//   lse_parts  f32  [splits, tokens, heads]
//
// Operands of the merging kernel: o_parts, lse_parts, o, and with lse that.
//
// Keys beyond a token's position may hold anything, and so may entries of `pages` beyond the last page with a key: neither is
// used. Neighbouring tokens of one sequence share a tile where their heads fit. M of the recipe is tokens.
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_LOWERING_TARGET_SM90_MLADECODE_H
#define QUANT_LOWERING_TARGET_SM90_MLADECODE_H

#include "dialects/machine/MlaDecodePlan.h"
#include "lowering/target/sm90/CompileAlone.h"

#include <string>

namespace quant::nvvm {

/// Adds the kernel `symbolName` (default: the config's) to the module and says how to launch it. Errors: a config outside the
/// limits of checkMlaDecode, a symbol that is taken.
Result<LaunchRecipe> buildMlaDecode(mlir::gpu::GPUModuleOp gpuModule, const machine::MlaDecodeConfig &config,
                                    std::string symbolName = {});

/// The kernel that merges parts of the keys, one of plain threads.
Result<LaunchRecipe> buildMlaCombine(mlir::gpu::GPUModuleOp gpuModule, const machine::MlaCombineConfig &config);

/// Built, compiled to PTX and assembled in one.
Result<CompiledKernel> compileMlaCombine(const machine::MlaCombineConfig &config, const AssemblerOptions &options = {});
Result<CompiledKernel> compileMlaDecode(const machine::MlaDecodeConfig &config, const AssemblerOptions &options = {});

} // namespace quant::nvvm

#endif // QUANT_LOWERING_TARGET_SM90_MLADECODE_H
