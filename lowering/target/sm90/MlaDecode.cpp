//===- MlaDecode.cpp - attention over the latent cache on H100/H200 -------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "lowering/target/sm90/MlaDecode.h"
#include "lowering/target/sm90/MlaDecodeKernel.h"
#include "lowering/target/sm90/RecipeBuilder.h"

#include "mlir/Dialect/GPU/IR/GPUDialect.h"

#include <fmt/core.h>

#include <bit>

using namespace mlir;
using namespace quant::machine;

namespace quant::nvvm {

/// Rows of queries are counted in i32, and the loop over tiles steps past the end by up to one grid.
static constexpr int64_t kMaxRows = int64_t(1) << 30;
static constexpr int64_t kBf16Bytes = 2, kBox = 64;
static constexpr int kSwizzle = 128, kL2Promotion = 256;

static LaunchRecipe mlaDecodeRecipe(const MlaDecodeConfig &config, const std::string &symbolName, int64_t sharedBytes,
                                    int64_t threads) {
  RecipeBuilder to;
  LaunchRecipe &recipe = to.recipe;
  SizeExpr tokens = Dim::M, rows = tokens * SizeExpr(config.heads);
  constexpr int64_t kColumns = MlaDecodeConfig::kColumns, kLatent = MlaDecodeConfig::kLatent, kRowBytes = kColumns * kBf16Bytes;
  int q = to.add({"q", "bf16", false, {tokens, config.heads, kColumns}});
  int cache = to.add({"cache", "bf16", false, {Dim::Context, kColumns}});
  int positions = to.add({"positions", "i32", false, {tokens}}), sequences = to.add({"sequences", "i32", false, {tokens}});
  int pages = to.add({"pages", "i32", false, {Dim::Sequences, config.pages}});
  bool split = config.splits > 1;
  int o = split ? to.add({"o_parts", "f32", true, {config.splits, tokens, config.heads, kLatent}})
                : to.add({"o", "bf16", true, {tokens, config.heads, kLatent}});
  recipe.parameters = {
      TensorMapParameter{q, "BFLOAT16", {kColumns, rows}, {kRowBytes}, {kBox, kBox}, kSwizzle, kL2Promotion},
      TensorMapParameter{cache, "BFLOAT16", {kColumns, Dim::Context}, {kRowBytes}, {kBox, kBox}, kSwizzle, kL2Promotion}};
  if (!split)
    recipe.parameters.push_back(raggedMap(o, "BFLOAT16", kLatent, rows, kLatent * kBf16Bytes, {kBox, kBox}, kSwizzle));
  for (int list : {positions, sequences, pages})
    recipe.parameters.push_back(PointerParameter{list});
  if (split) {
    recipe.parameters.push_back(PointerParameter{o});
    to.addPointer({"lse_parts", "f32", true, {config.splits, tokens, config.heads}});
  } else if (config.lse) {
    to.addPointer({"lse", "f32", true, {tokens, config.heads}});
  }
  recipe.parameters.push_back(I32Parameter{tokens});
  recipe.kernel = symbolName;
  recipe.arch = kSm90a.name;
  recipe.programmatic = true;
  recipe.block = {threads, 1, 1};
  recipe.dynamicSharedBytes = sharedBytes;
  recipe.grid = SizeExpr::min(Dim::Sms, tokens * SizeExpr(config.tilesOfToken() * config.splits));
  recipe.limits = {{Dim::M, kMaxRows / (config.tilesOfToken() * kSm90a.wgmmaRows * config.splits)}};
  recipe.config = {{"heads", config.heads},
                   {"pages", config.pages},
                   {"softmax_scale_bits", std::bit_cast<uint32_t>(static_cast<float>(config.softmaxScale))},
                   {"lse", config.lse},
                   {"splits", config.splits}};
  return std::move(to.recipe);
}

Result<LaunchRecipe> buildMlaDecode(gpu::GPUModuleOp gpuModule, const MlaDecodeConfig &config, std::string symbolName) {
  QUANT_TRY(checkMlaDecode(config));
  if (symbolName.empty())
    symbolName = config.symbolName();
  if (gpuModule.lookupSymbol(symbolName))
    return fail(fmt::format("gpu.module @{} already has a symbol {}", gpuModule.getName().str(), symbolName));
  HopperBuilder builder(gpuModule.getLoc(), gpuModule.getContext());
  builder.setInsertionPointToEnd(gpuModule.getBody());
  hopper::KernelOp kernel = emitMlaDecode(builder, config, symbolName);
  return mlaDecodeRecipe(config, symbolName, kernel.getSharedBytes(), kernel.getThreads());
}

Result<CompiledKernel> compileMlaCombine(const MlaCombineConfig &config, const AssemblerOptions &options) {
  return compileAlone([&](gpu::GPUModuleOp gpuModule) { return buildMlaCombine(gpuModule, config); }, options);
}

Result<CompiledKernel> compileMlaDecode(const MlaDecodeConfig &config, const AssemblerOptions &options) {
  return compileAlone([&](gpu::GPUModuleOp gpuModule) { return buildMlaDecode(gpuModule, config); }, options);
}

} // namespace quant::nvvm
