//===- CompileAlone.cpp - one kernel, from a builder to a cubin --------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "lowering/target/sm90/CompileAlone.h"

#include "mlir/Dialect/GPU/IR/GPUDialect.h"

using namespace mlir;

namespace quant::nvvm {

Result<CompiledKernel> compileAlone(function_ref<Result<LaunchRecipe>(gpu::GPUModuleOp)> build, const AssemblerOptions &options) {
  DialectRegistry registry;
  registerNvvmLowering(registry);
  MLIRContext context(registry, MLIRContext::Threading::DISABLED);
  context.loadAllAvailableDialects();
  OwningOpRef<ModuleOp> module = ModuleOp::create(UnknownLoc::get(&context));
  OpBuilder builder(module->getBodyRegion());
  auto gpuModule = gpu::GPUModuleOp::create(builder, module->getLoc(), "kernels");
  QUANT_TRY_ASSIGN(LaunchRecipe recipe, build(gpuModule));
  QUANT_TRY_ASSIGN(PtxText ptx, compileToPtx(gpuModule, recipe.kernel + ".mlir"));
  QUANT_TRY_ASSIGN(GpuArtifact artifact, assemble(std::move(ptx.ptx), options));
  artifact.ir = std::move(ptx.ir);
  return CompiledKernel{std::move(recipe), std::move(artifact)};
}

} // namespace quant::nvvm
