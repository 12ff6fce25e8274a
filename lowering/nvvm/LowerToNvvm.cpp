//===- LowerToNvvm.cpp - tiled matmuls to Hopper kernels ------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "dialects/deepseek/DeepSeek.h"
#include "dialects/program/Program.h"
#include "lowering/nvvm/Fp8Gemm.h"
#include "lowering/nvvm/NvvmSupport.h"
#include "lowering/nvvm/Passes.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/GPU/IR/GPUDialect.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"

namespace quant {
#define GEN_PASS_DEF_LOWERTONVVM
#include "lowering/nvvm/Passes.h.inc"
} // namespace quant

using namespace mlir;
using namespace quant;

namespace {

/// What a kernel computes besides looking at its operands, for the report.
std::string describe(func::FuncOp kernel) {
  std::string name;
  kernel.walk([&](Operation *op) {
    if (isa<deepseek::DeepSeekDialect>(op->getDialect()) || isa<qblock::QuantizeOp, qblock::GroupedMatmulAccOp, arith::AddFOp>(op))
      name = op->getName().getStringRef();
  });
  return name.empty() ? "this kernel" : name;
}

bool isFp8Block(qblock::BlockTensorType type, ArrayRef<int64_t> block) {
  return type && isa<Float8E4M3FNType>(type.getStorageType()) && type.getScaleType().isF32() && type.getBlock() == block;
}

/// The tile sizes of a matmul's grid; the whole extent where the grid has gone because there is one tile.
int64_t gridStep(qblock::MatmulAccOp matmul, unsigned dim) {
  auto grid = matmul->getParentOfType<scf::ForallOp>();
  if (!grid || grid.getMixedStep().size() <= dim)
    return 128;
  return getConstantIntValue(grid.getMixedStep()[dim]).value_or(0);
}

/// The configuration of the kernel that computes this matmul, or why there is none.
Result<nvvm::Fp8GemmConfig> configOf(func::FuncOp kernel) {
  qblock::MatmulAccOp matmul;
  kernel.walk([&](qblock::MatmulAccOp op) { matmul = op; });
  if (!matmul)
    return fail("no sm_90a lowering of " + describe(kernel) + " yet");
  auto x = dyn_cast<qblock::BlockTensorType>(matmul.getX().getType()), w = dyn_cast<qblock::BlockTensorType>(matmul.getW().getType());
  if (!isFp8Block(w, {128, 128}))
    return fail("the weight is not f8E4M3FN in 128x128 blocks with f32 scales");
  if (!isFp8Block(x, {1, 128}))
    return fail("the activations are not f8E4M3FN in groups of 128 with f32 scales");
  if (!cast<RankedTensorType>(kernel.getFunctionType().getResult(0)).getElementType().isBF16())
    return fail("the result is not bf16");
  Value weight = matmul.getW();
  while (auto slice = weight.getDefiningOp<qblock::ExtractSliceOp>())
    weight = slice.getSource();
  ArrayRef<int64_t> shape = qblock::getMatrixShape(weight.getType());
  nvvm::Fp8GemmConfig config;
  config.n = shape[0];
  config.k = shape[1];
  config.blockM = gridStep(matmul, 0);
  config.blockN = gridStep(matmul, 1);
  return config;
}

struct LowerToNvvm : quant::impl::LowerToNvvmBase<LowerToNvvm> {
  void getDependentDialects(DialectRegistry &registry) const override {
    LowerToNvvmBase::getDependentDialects(registry);
    nvvm::insertNvvmDialect(registry);
  }

  void runOnOperation() override {
    OpBuilder builder(&getContext());
    builder.setInsertionPointToEnd(getOperation().getBody());
    auto kernels = gpu::GPUModuleOp::create(builder, getOperation().getLoc(), "sm_90a");
    for (func::FuncOp kernel : getOperation().getOps<func::FuncOp>())
      if (kernel->hasAttr(program::kGridAttr))
        lower(kernel, kernels);
    if (kernels.getBody()->empty())
      kernels.erase();
  }

private:
  void lower(func::FuncOp kernel, gpu::GPUModuleOp kernels) {
    Builder builder(&getContext());
    Result<nvvm::LaunchRecipe> recipe =
        configOf(kernel).and_then([&](const nvvm::Fp8GemmConfig &config) { return build(kernels, config); });
    if (!recipe) {
      kernel->setAttr(program::kUnsupportedAttr, builder.getStringAttr(recipe.error().message));
      return;
    }
    kernel->setAttr(program::kLaunchAttr, builder.getStringAttr(recipe->toJson().dump()));
    kernel.eraseBody();
  }

  /// Kernels are named by what they compute, so equal ones of several dispatches are built once.
  static Result<nvvm::LaunchRecipe> build(gpu::GPUModuleOp kernels, const nvvm::Fp8GemmConfig &config) {
    return nvvm::buildFp8Gemm(kernels, config);
  }
};

} // namespace
