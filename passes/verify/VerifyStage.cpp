//===- VerifyStage.cpp - what holds at the end of each stage --------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "dialects/deepseek/DeepSeek.h"
#include "dialects/program/Program.h"
#include "passes/Passes.h"
#include "passes/dispatch/Programs.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/Builders.h"
#include "llvm/ADT/StringSwitch.h"

namespace quant {
#define GEN_PASS_DEF_VERIFYSTAGE
#include "passes/Passes.h.inc"
} // namespace quant

using namespace mlir;
using namespace quant;

namespace {

LogicalResult verifyModel(ModuleOp module) { return lookupPrograms(module, "stage model"); }

LogicalResult verifyFused(ModuleOp module) {
  WalkResult result = module.walk([](Operation *op) {
    if (isa<deepseek::MlaAttentionOp, deepseek::ExpertsOp>(op)) {
      op->emitError("stage fused: must have been decomposed");
      return WalkResult::interrupt();
    }
    auto reader = dyn_cast<WeightsOpInterface>(op);
    for (OpOperand *weight : reader ? reader.getWeightOperands() : SmallVector<OpOperand *>())
      if (weight->get().getDefiningOp<qblock::DequantizeOp>()) {
        op->emitError("stage fused: reads a dequantized weight");
        return WalkResult::interrupt();
      }
    return WalkResult::advance();
  });
  return failure(result.wasInterrupted());
}

LogicalResult verifyDispatchedProgram(func::FuncOp function) {
  if (!function->hasAttr(program::kWorkspaceBytesAttr))
    return function.emitError("stage dispatched: @") << function.getSymName() << " must have a memory plan";
  for (Operation &op : function.getBody().front()) {
    if (!isa<program::WeightOp, program::WeightGroupOp, program::CacheOp, program::DispatchOp, func::ReturnOp>(op))
      return op.emitError("stage dispatched: @") << function.getSymName() << " may hold weights, caches and dispatches only";
    if (auto dispatch = dyn_cast<program::DispatchOp>(op); dispatch && !dispatch.getPlacement())
      return op.emitError("stage dispatched: results have no place in the workspace");
  }
  return success();
}

LogicalResult verifyDispatched(ModuleOp module) {
  FailureOr<SmallVector<func::FuncOp>> programs = lookupPrograms(module, "stage dispatched");
  if (failed(programs))
    return failure();
  for (func::FuncOp function : *programs)
    if (failed(verifyDispatchedProgram(function)))
      return failure();
  for (func::FuncOp kernel : module.getOps<func::FuncOp>())
    if (!llvm::is_contained(*programs, kernel) && !kernel->hasAttr(program::kGridAttr))
      return kernel.emitError("stage dispatched: kernel without a grid");
  return success();
}

LogicalResult verifyScheduled(ModuleOp module) {
  for (func::FuncOp kernel : module.getOps<func::FuncOp>())
    if (kernel->hasAttr(program::kGridAttr) && !kernel.isDeclaration() && program::getSchedules(kernel).empty())
      return kernel.emitError("stage scheduled: kernel without a schedule");
  return success();
}

LogicalResult verifyTiled(ModuleOp module) {
  WalkResult result = module.walk([](Operation *op) {
    if (!isa<qblock::MatmulOp, qblock::GroupedMatmulOp, qblock::GroupedSwigluOp>(op))
      return WalkResult::advance();
    op->emitError("stage tiled: a matmul must have been cut into tiles");
    return WalkResult::interrupt();
  });
  return failure(result.wasInterrupted());
}

/// Kernels that a target cannot lower yet are marked `program.unsupported` by its lowering, and reported by quant-compile.
LogicalResult verifyTarget(ModuleOp module) {
  WalkResult result = module.walk([](Operation *op) {
    auto kernel = op->getParentOfType<func::FuncOp>();
    bool ours = isa_and_nonnull<qblock::QBlockDialect, deepseek::DeepSeekDialect>(op->getDialect());
    if (!ours || (kernel && kernel->hasAttr(program::kUnsupportedAttr)))
      return WalkResult::advance();
    op->emitError("stage target: not lowered");
    return WalkResult::interrupt();
  });
  return failure(result.wasInterrupted());
}

struct VerifyStage : quant::impl::VerifyStageBase<VerifyStage> {
  using VerifyStageBase::VerifyStageBase;

  void runOnOperation() override {
    using Check = LogicalResult (*)(ModuleOp);
    Check check = llvm::StringSwitch<Check>(name)
                      .Case("model", verifyModel)
                      .Case("fused", verifyFused)
                      .Case("dispatched", verifyDispatched)
                      .Case("scheduled", verifyScheduled)
                      .Case("tiled", verifyTiled)
                      .Case("target", verifyTarget)
                      .Default(nullptr);
    if (!check) {
      getOperation().emitError("there is no stage '")
          << name.getValue() << "': model, fused, dispatched, scheduled, tiled or target";
      return signalPassFailure();
    }
    if (failed(check(getOperation())))
      return signalPassFailure();
    getOperation()->setAttr(program::kStageAttr, StringAttr::get(&getContext(), name));
  }
};

} // namespace
