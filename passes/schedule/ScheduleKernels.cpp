//===- ScheduleKernels.cpp - how each kernel runs -------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "dialects/kernel/KernelInterfaces.h"
#include "passes/Passes.h"
#include "passes/schedule/Scheduler.h"

#include "mlir/IR/AffineMap.h"

namespace quant {
#define GEN_PASS_DEF_SCHEDULEKERNELS
#include "passes/Passes.h.inc"
} // namespace quant

using namespace mlir;
using namespace quant;

namespace {

/// The schedulers by the target's name.
struct SchedulerEntry {
  StringRef target;
  SchedulerResult (*create)(const SchedulerOptions &, function_ref<InFlightDiagnostic()>);
};
constexpr SchedulerEntry kSchedulers[] = {{"host", createX86Scheduler}, {"sm_90a", createSm90Scheduler}};

struct ScheduleKernels : quant::impl::ScheduleKernelsBase<ScheduleKernels> {
  using ScheduleKernelsBase::ScheduleKernelsBase;

  void runOnOperation() override {
    SchedulerResult scheduler = createScheduler();
    if (failed(scheduler))
      return signalPassFailure();
    for (func::FuncOp kernel : getOperation().getOps<func::FuncOp>())
      if (kernel->hasAttr(program::kGridAttr) && !kernel.isDeclaration() && failed(schedule(**scheduler, kernel)))
        return signalPassFailure();
  }

private:
  SchedulerResult createScheduler() {
    const SchedulerEntry *entry = llvm::find_if(kSchedulers, [&](const SchedulerEntry &known) { return known.target == target; });
    if (entry == std::end(kSchedulers))
      return getOperation().emitError("there is no target '") << target.getValue() << "' to schedule for: host or sm_90a";
    SchedulerOptions options{.unit = unit, .roundsInputs = roundInputs, .gpu = gpu, .maxKernels = maxKernels};
    if (auto forward = getOperation().lookupSymbol<func::FuncOp>(program::kForwardName))
      if (auto tokens = forward->getAttrOfType<IntegerAttr>(program::kMaxTokensAttr))
        options.maxTokens = tokens.getInt();
    return entry->create(options, [&] { return getOperation().emitError(); });
  }

  LogicalResult schedule(const Scheduler &scheduler, func::FuncOp kernel) {
    Operation *op = getComputedOp(kernel);
    if (!op)
      return kernel.emitError("computes nothing that could be scheduled");
    FailureOr<SmallVector<program::ScheduleAttr>> chosen = scheduler.schedule(kernel, op);
    if (failed(chosen))
      return failure();
    if (chosen->size() == 1)
      kernel->setAttr(program::kScheduleAttr, chosen->front());
    else
      kernel->setAttr(program::kScheduleAttr, ArrayAttr::get(&getContext(), llvm::to_vector_of<Attribute>(*chosen)));
    ++scheduled;
    return success();
  }
};

} // namespace
