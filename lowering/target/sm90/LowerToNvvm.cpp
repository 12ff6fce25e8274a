//===- LowerToNvvm.cpp - kernels of plain threads --------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "dialects/program/LaunchAttr.h"
#include "dialects/program/Program.h"
#include "lowering/target/sm90/NvvmSupport.h"
#include "lowering/target/sm90/Passes.h"
#include "lowering/target/sm90/simt/LowerSimt.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/GPU/IR/GPUDialect.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

namespace quant {
#define GEN_PASS_DEF_LOWERTONVVM
#include "lowering/target/sm90/Passes.h.inc"
} // namespace quant

using namespace mlir;
using namespace quant;

namespace {

struct LowerToNvvm : quant::impl::LowerToNvvmBase<LowerToNvvm> {
  void getDependentDialects(DialectRegistry &registry) const override {
    LowerToNvvmBase::getDependentDialects(registry);
    nvvm::insertNvvmDialect(registry);
  }

  void runOnOperation() override {
    gpu::GPUModuleOp kernels = nvvm::getOrCreateGpuModule(getOperation());
    for (func::FuncOp kernel : getOperation().getOps<func::FuncOp>())
      if (kernel->hasAttr(program::kGridAttr) && !kernel.isDeclaration() && failed(lower(kernel, kernels)))
        return signalPassFailure();
    if (kernels.getBody()->empty())
      kernels.erase();
  }

private:
  LogicalResult lower(func::FuncOp kernel, gpu::GPUModuleOp kernels) {
    SmallVector<program::ScheduleAttr> schedules = program::getSchedules(kernel);
    if (!schedules.empty() && schedules.front().getUnit() != "simt")
      return kernel.emitError("sm_90a has no unit '") << schedules.front().getUnit().getValue() << "': tensor or simt";
    Result<nvvm::LaunchRecipe> recipe = nvvm::buildSimt(kernels, kernel);
    if (!recipe) {
      kernel->setAttr(program::kUnsupportedAttr, StringAttr::get(&getContext(), recipe.error().message));
      return success();
    }
    kernel->setAttr(program::kLaunchAttr, program::getLaunchAttr(&getContext(), *recipe));
    kernel.eraseBody();
    return success();
  }
};

} // namespace
