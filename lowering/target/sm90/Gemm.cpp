//===- Gemm.cpp - FP8, INT8 and bf16 GEMMs on H100/H200 --------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "lowering/target/sm90/Gemm.h"
#include "lowering/target/sm90/GemmKernel.h"
#include "lowering/target/sm90/GemmRecipe.h"

#include "mlir/Dialect/GPU/IR/GPUDialect.h"

#include <fmt/core.h>

using namespace mlir;
using namespace quant::machine;

namespace quant::nvvm {

Result<LaunchRecipe> buildGemm(gpu::GPUModuleOp gpuModule, const GemmConfig &config, const Gpu &gpu, std::string symbolName) {
  QUANT_TRY(checkGemm(config, gpu));
  if (symbolName.empty())
    symbolName = config.symbolName();
  if (gpuModule.lookupSymbol(symbolName))
    return fail(fmt::format("gpu.module @{} already has a symbol {}", gpuModule.getName().str(), symbolName));
  GemmPlan plan(config, gpu);
  HopperBuilder builder(gpuModule.getLoc(), gpuModule.getContext());
  builder.setInsertionPointToEnd(gpuModule.getBody());
  emitGemm(builder, plan, symbolName);
  return gemmRecipe(plan, symbolName);
}

Result<CompiledKernel> compileGemm(const GemmConfig &config, const AssemblerOptions &options, const Gpu &gpu) {
  return compileAlone([&](gpu::GPUModuleOp gpuModule) { return buildGemm(gpuModule, config, gpu); }, options);
}

} // namespace quant::nvvm
