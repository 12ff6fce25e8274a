//===- LowerToNvvm.cpp - tiled matmuls to Hopper kernels ------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "dialects/deepseek/DeepSeek.h"
#include "dialects/hopper/Hopper.h"
#include "dialects/program/LaunchAttr.h"
#include "dialects/program/Program.h"
#include "lowering/target/sm90/Fp8Gemm.h"
#include "lowering/target/sm90/NvvmSupport.h"
#include "lowering/target/sm90/Passes.h"
#include "lowering/target/sm90/simt/LowerSimt.h"
#include "passes/schedule/CostModel.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/GPU/IR/GPUDialect.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"

#include <map>

namespace quant {
#define GEN_PASS_DEF_LOWERTONVVM
#include "lowering/target/sm90/Passes.h.inc"
} // namespace quant

using namespace mlir;
using namespace quant;

namespace {

bool isFp8Block(qblock::BlockTensorType type, ArrayRef<int64_t> block) {
  return type && isa<Float8E4M3FNType>(type.getStorageType()) && type.getScaleType().isF32() && type.getBlock() == block;
}

/// What this matmul asks of the tensor cores, or why they cannot do it.
Result<schedule::GemmProblem> problemOf(func::FuncOp kernel, qblock::MatmulAccOp matmul) {
  auto x = dyn_cast<qblock::BlockTensorType>(matmul.getX().getType()),
       w = dyn_cast<qblock::BlockTensorType>(matmul.getW().getType());
  if (!isFp8Block(w, {128, 128}))
    return fail("the weight is not f8E4M3FN in 128x128 blocks with f32 scales");
  if (!isFp8Block(x, {1, 128}) || !x.getKMajorScales())
    return fail("the activations are not f8E4M3FN in groups of 128 with k_major f32 scales");
  if (!cast<RankedTensorType>(kernel.getFunctionType().getResult(0)).getElementType().isBF16())
    return fail("the result is not bf16");
  Value weight = matmul.getW();
  while (auto slice = weight.getDefiningOp<qblock::ExtractSliceOp>())
    weight = slice.getSource();
  ArrayRef<int64_t> shape = qblock::getMatrixShape(weight.getType());
  if (shape[1] % 16)
    return fail("rows of the activations and the weight lie closer than TMA can read them");
  // K in one piece: then what a token's row is does not depend on how many come with it.
  return schedule::GemmProblem{.n = shape[0], .k = shape[1], .allowSplitK = false};
}

struct LowerToNvvm : quant::impl::LowerToNvvmBase<LowerToNvvm> {
  using LowerToNvvmBase::LowerToNvvmBase;

  void getDependentDialects(DialectRegistry &registry) const override {
    LowerToNvvmBase::getDependentDialects(registry);
    nvvm::insertNvvmDialect(registry);
    registry.insert<hopper::HopperDialect>();
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
    auto attributeOf = [&](const auto &launch) { return program::getLaunchAttr(&getContext(), launch); };
    Result<Attribute> launch = buildGemms(kernels, kernel).map(attributeOf);
    if (!launch) // What the tensor cores do not do, or not yet.
      launch = nvvm::buildSimt(kernels, kernel).map(attributeOf);
    if (!launch) {
      kernel->setAttr(program::kUnsupportedAttr, builder.getStringAttr(launch.error().message));
      return;
    }
    kernel->setAttr(program::kLaunchAttr, *launch);
    kernel.eraseBody();
  }

  /// The variants that the cost model chooses for as many tokens as the program takes.
  Result<std::vector<schedule::GemmVariant>> variantsOf(const schedule::GemmProblem &problem) {
    Result<machine::Gpu> model = machine::findGpu(gpu.getValue());
    if (!model)
      return tl::unexpected(model.error());
    schedule::VariantOptions options;
    options.maxKernels = static_cast<size_t>(std::max<int64_t>(1, maxKernels));
    if (auto forward = getOperation().lookupSymbol<func::FuncOp>("forward"))
      if (auto tokens = forward->getAttrOfType<IntegerAttr>(program::kMaxTokensAttr))
        options.maxM = tokens.getInt();
    std::vector<schedule::GemmVariant> variants = schedule::chooseVariants(problem, *model, options);
    if (variants.empty())
      return fail("no tile of the FP8 matmul fits " + std::to_string(problem.n) + " x " + std::to_string(problem.k));
    return variants;
  }

  Result<std::vector<program::LaunchVariant>> buildGemms(gpu::GPUModuleOp kernels, func::FuncOp kernel) {
    qblock::MatmulAccOp matmul;
    kernel.walk([&](qblock::MatmulAccOp op) { matmul = op; });
    if (!matmul)
      return fail("the kernel is no matmul");
    auto variants = problemOf(kernel, matmul).and_then([&](const schedule::GemmProblem &problem) { return variantsOf(problem); });
    if (!variants)
      return tl::unexpected(variants.error());
    std::vector<program::LaunchVariant> built;
    // A kernel may serve several ranges.
    std::map<std::string, nvvm::LaunchRecipe> recipes;
    for (const schedule::GemmVariant &variant : *variants) {
      std::string name = variant.config.symbolName();
      if (!recipes.contains(name)) {
        Result<nvvm::LaunchRecipe> recipe = buildGemm(kernels, variant.config, kernel, matmul);
        if (!recipe)
          return tl::unexpected(recipe.error());
        recipes.emplace(name, std::move(*recipe));
      }
      built.push_back({variant.minM, variant.maxM, recipes.at(name)});
    }
    // The last kernel is for every M beyond, too.
    built.back().last = *built.back().recipe.limits[abi::Dim::M];
    return built;
  }

  Result<nvvm::LaunchRecipe> buildGemm(gpu::GPUModuleOp kernels, const machine::Fp8GemmConfig &config, func::FuncOp kernel,
                                       qblock::MatmulAccOp matmul) {
    // Two kernels of one configuration may differ in how their operands are made.
    std::string name = config.symbolName();
    if (kernels.lookupSymbol(name))
      name += "_" + kernel.getSymName().str();
    Result<nvvm::LaunchRecipe> recipe = nvvm::buildFp8Gemm(kernels, config, *machine::findGpu(gpu.getValue()), name);
    if (!recipe)
      return recipe;
    if (auto bound = nvvm::bindGemm(*recipe, kernel, matmul); !bound) {
      kernels.lookupSymbol(recipe->kernel)->erase();
      return tl::unexpected(bound.error());
    }
    return recipe;
  }
};

} // namespace
