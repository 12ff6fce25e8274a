//===- Scheduler.h - who chooses how a kernel runs ----------------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_PASSES_SCHEDULE_SCHEDULER_H
#define QUANT_PASSES_SCHEDULE_SCHEDULER_H

#include "dialects/program/Program.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"

#include <memory>
#include <string>

namespace quant {

/// What a scheduler is made for.
struct SchedulerOptions {
  /// A unit of the host (dialects/machine/X86.cpp), and whether it multiplies x rounded to bf16 where it has such products.
  std::string unit;
  bool roundsInputs = false;
  /// The GPU whose figures count, and the largest number of kernels for one matmul.
  std::string gpu;
  int64_t maxKernels = 4;
  /// Rows of one call at most.
  int64_t maxTokens = 256;
};

/// Chooses schedules for the kernels of one target, from the machine's table (dialects/machine) and a cost model.
class Scheduler {
public:
  virtual ~Scheduler() = default;

  /// The schedules of `kernel`, which computes `op`: one, or several that follow each other by the number of rows. Errors are
  /// reported on the kernel.
  virtual mlir::FailureOr<llvm::SmallVector<program::ScheduleAttr>> schedule(mlir::func::FuncOp kernel,
                                                                             mlir::Operation *op) const = 0;
};

using SchedulerResult = mlir::FailureOr<std::unique_ptr<Scheduler>>;

/// Each reports an option that it does not know by `emitError`.
SchedulerResult createX86Scheduler(const SchedulerOptions &options, llvm::function_ref<mlir::InFlightDiagnostic()> emitError);
SchedulerResult createSm90Scheduler(const SchedulerOptions &options, llvm::function_ref<mlir::InFlightDiagnostic()> emitError);

} // namespace quant

#endif // QUANT_PASSES_SCHEDULE_SCHEDULER_H
