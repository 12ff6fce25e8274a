//===- TileToHopper.cpp - matmuls and attention to tiles of tensor cores ---===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "dialects/deepseek/DeepSeek.h"
#include "dialects/hopper/GemmSchedule.h"
#include "dialects/hopper/Hopper.h"
#include "dialects/hopper/MlaDecodeSchedule.h"
#include "dialects/program/LaunchAttr.h"
#include "dialects/program/Program.h"
#include "dialects/qblock/QBlock.h"
#include "lowering/target/sm90/Gemm.h"
#include "lowering/target/sm90/MlaDecode.h"
#include "lowering/target/sm90/NvvmSupport.h"
#include "lowering/target/sm90/Passes.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/GPU/IR/GPUDialect.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/SCF/IR/SCF.h"

#include <map>

namespace quant {
#define GEN_PASS_DEF_TILETOHOPPER
#include "lowering/target/sm90/Passes.h.inc"
} // namespace quant

using namespace mlir;
using namespace quant;

//===----------------------------------------------------------------------===//
// The operands of a matmul as a dispatch has them
//===----------------------------------------------------------------------===//

/// The operand that a value is.
static Result<int> operandIndex(func::FuncOp kernel, Value value) {
  if (llvm::is_contained(kernel.getArguments(), value))
    return static_cast<int>(cast<BlockArgument>(value).getArgNumber());
  return fail("an operand is computed in the kernel itself");
}

/// Says which operands hold a matrix, part by part: its elements, and, behind them in the recipe, its scales where it has some.
/// Moves `next` behind them.
static Result<void> bindMatrix(std::vector<abi::Operand> &operands, size_t &next, func::FuncOp kernel, Value value) {
  bool isScaled = isa<qblock::BlockTensorType>(value.getType());
  size_t data = next, scales = next + 1;
  next += isScaled ? 2 : 1;
  for (const qblock::WeightPart &part : qblock::describeWeight(value).parts) {
    QUANT_TRY_ASSIGN(int index, operandIndex(kernel, part.data));
    operands[data].from.push_back(index);
    if (!isScaled)
      continue;
    if (!part.scale)
      return fail("an operand of the matmul is not made of codes and scales");
    QUANT_TRY_ASSIGN(int scale, operandIndex(kernel, part.scale));
    operands[scales].from.push_back(scale);
  }
  return {};
}

/// Where a kernel's groups begin; null for a matmul without groups.
static Value offsetsOf(Operation *matmul) {
  if (auto grouped = dyn_cast<qblock::GroupedMatmulOp>(matmul))
    return grouped.getOffsets();
  auto swiglu = dyn_cast<qblock::GroupedSwigluOp>(matmul);
  return swiglu ? swiglu.getOffsets() : Value();
}

/// Says which operands of the dispatch those of the recipe are: a, b, each with its scales, the results, and of groups offsets,
/// of complete queries the table of rope (Gemm.h).
static Result<void> bindOperands(nvvm::LaunchRecipe &recipe, func::FuncOp kernel, Operation *matmul) {
  auto absorb = dyn_cast<deepseek::MlaAbsorbOp>(matmul);
  Value offsets = offsetsOf(matmul), last = absorb ? absorb.getRope() : offsets, x = matmul->getOperand(0),
        w = matmul->getOperand(1);
  auto &operands = recipe.operands;
  size_t results = kernel.getNumResults(), inputs = 0;
  for (Value matrix : {x, w})
    inputs += isa<qblock::BlockTensorType>(matrix.getType()) ? 2 : 1;
  if (operands.size() != inputs + results + (last ? 1 : 0))
    return fail("the schedule asks for operands that the program does not have (split_k needs a workspace)");
  size_t next = 0;
  QUANT_TRY(bindMatrix(operands, next, kernel, x));
  size_t weight = next;
  QUANT_TRY(bindMatrix(operands, next, kernel, w));
  for (size_t result = 0; result < results; ++result)
    operands[inputs + result].from = {static_cast<int>(kernel.getNumArguments() + result)};
  for (size_t index = weight; index < inputs && offsets; ++index)
    operands[index].stacked = true;
  if (last) {
    QUANT_TRY_ASSIGN(int index, operandIndex(kernel, last));
    operands.back().from = {index};
  }
  recipe.rows = static_cast<abi::Dim>(program::getRowDim(kernel));
  return {};
}

/// The same of attention: operands as the op has them (MlaDecode.h), then its result.
static Result<void> bindOperands(nvvm::LaunchRecipe &recipe, func::FuncOp kernel, deepseek::MlaDecodeOp decode) {
  for (auto [operand, value] : llvm::zip(recipe.operands, decode->getOperands())) {
    QUANT_TRY_ASSIGN(int index, operandIndex(kernel, value));
    operand.from = {index};
  }
  recipe.operands.back().from = {static_cast<int>(kernel.getNumArguments())};
  recipe.rows = static_cast<abi::Dim>(program::getRowDim(kernel));
  return {};
}

//===----------------------------------------------------------------------===//
// Pass
//===----------------------------------------------------------------------===//

namespace {

struct TileToHopper : quant::impl::TileToHopperBase<TileToHopper> {
  using TileToHopperBase::TileToHopperBase;

  void getDependentDialects(DialectRegistry &registry) const override {
    TileToHopperBase::getDependentDialects(registry);
    nvvm::insertNvvmDialect(registry);
    registry.insert<hopper::HopperDialect>();
  }

  void runOnOperation() override {
    Result<machine::Gpu> found = machine::findGpu(gpu.getValue());
    if (!found) {
      getOperation().emitError(found.error().message);
      return signalPassFailure();
    }
    machine = std::move(*found);
    mlir::gpu::GPUModuleOp kernels;
    for (func::FuncOp kernel : llvm::make_early_inc_range(getOperation().getOps<func::FuncOp>())) {
      SmallVector<program::ScheduleAttr> schedules = program::getSchedules(kernel);
      if (schedules.empty() || schedules.front().getUnit() != "tensor")
        continue;
      if (!kernels)
        kernels = nvvm::getOrCreateGpuModule(getOperation());
      if (failed(tile(kernel, schedules, kernels)))
        return signalPassFailure();
    }
  }

private:
  machine::Gpu machine;

  LogicalResult tile(func::FuncOp kernel, ArrayRef<program::ScheduleAttr> schedules, mlir::gpu::GPUModuleOp kernels) {
    Operation *matmul = getComputedOp(kernel);
    if (auto decode = dyn_cast_or_null<deepseek::MlaDecodeOp>(matmul))
      return tile(kernel, decode, kernels);
    if (!isa_and_nonnull<qblock::MatmulOp, qblock::GroupedMatmulOp, qblock::GroupedSwigluOp, deepseek::MlaAbsorbOp,
                         deepseek::MlaExpandOp>(matmul))
      return kernel.emitError(
          "the tensor cores compute matmuls, mla_absorb, mla_expand and mla_decode only: schedule it as simt");
    Result<std::vector<program::LaunchVariant>> variants = buildVariants(kernel, matmul, schedules, kernels);
    if (!variants)
      return kernel.emitError("cannot be built as its schedule says: ") << variants.error().message;
    kernel->setAttr(program::kLaunchAttr, program::getLaunchAttr(&getContext(), *variants));
    kernel.eraseBody();
    return success();
  }

  LogicalResult tile(func::FuncOp kernel, deepseek::MlaDecodeOp decode, mlir::gpu::GPUModuleOp kernels) {
    Result<nvvm::LaunchRecipe> recipe = build(kernels, kernel, decode);
    if (!recipe)
      return kernel.emitError("cannot be built: ") << recipe.error().message;
    kernel->setAttr(program::kLaunchAttr, program::getLaunchAttr(&getContext(), *recipe));
    kernel.eraseBody();
    return success();
  }

  /// The symbol of a kernel: two of one configuration may differ in how their operands are made.
  static std::string freeName(mlir::gpu::GPUModuleOp kernels, std::string name, func::FuncOp kernel) {
    return kernels.lookupSymbol(name) ? name + "_" + kernel.getSymName().str() : name;
  }

  static Result<nvvm::LaunchRecipe> build(mlir::gpu::GPUModuleOp kernels, func::FuncOp kernel, deepseek::MlaDecodeOp decode) {
    QUANT_TRY_ASSIGN(machine::MlaDecodeConfig config, hopper::getMlaDecodeConfig(decode));
    QUANT_TRY_ASSIGN(nvvm::LaunchRecipe recipe,
                     nvvm::buildMlaDecode(kernels, config, freeName(kernels, config.symbolName(), kernel)));
    QUANT_TRY(bindOperands(recipe, kernel, decode));
    return recipe;
  }

  Result<std::vector<program::LaunchVariant>> buildVariants(func::FuncOp kernel, Operation *matmul,
                                                            ArrayRef<program::ScheduleAttr> schedules,
                                                            mlir::gpu::GPUModuleOp kernels) {
    std::vector<program::LaunchVariant> built;
    // A kernel may serve several ranges.
    std::map<std::string, nvvm::LaunchRecipe> recipes;
    for (program::ScheduleAttr schedule : schedules) {
      QUANT_TRY_ASSIGN(auto config,
                       hopper::readGemmParameters(hopper::getGemmConfig<deepseek::MlaAbsorbOp, deepseek::MlaExpandOp>(matmul),
                                                  schedule.getParameters()));
      std::string name = config.symbolName();
      if (!recipes.contains(name)) {
        QUANT_TRY_ASSIGN(recipes[name], build(kernels, config, kernel, matmul));
      }
      int64_t first = schedule.getM() ? schedule.getM()[0] : 1, last = schedule.getM() ? schedule.getM()[1] : 1;
      built.push_back({first, last, recipes.at(name)});
    }
    // The last kernel is for every M beyond, too.
    built.back().last = *built.back().recipe.limits[abi::Dim::M];
    return built;
  }

  Result<nvvm::LaunchRecipe> build(mlir::gpu::GPUModuleOp kernels, const machine::GemmConfig &config, func::FuncOp kernel,
                                   Operation *matmul) {
    QUANT_TRY_ASSIGN(nvvm::LaunchRecipe recipe,
                     nvvm::buildGemm(kernels, config, machine, freeName(kernels, config.symbolName(), kernel)));
    if (auto bound = bindOperands(recipe, kernel, matmul); !bound) {
      kernels.lookupSymbol(recipe.kernel)->erase();
      return tl::unexpected(bound.error());
    }
    return recipe;
  }
};

} // namespace
