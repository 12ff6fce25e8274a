//===- X86Scheduler.cpp - schedules of host kernels -----------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// A matmul's tile is a block of weight rows with all tokens and all of K: each weight is read from memory once. Its rows bound
// two things. The panel that they are decoded to, a chunk of K at a time, must stay in the second-level cache beside the tokens
// that it is multiplied with; and there must be more tiles than threads, or some threads have nothing to do.
//
//===----------------------------------------------------------------------===//

#include "dialects/deepseek/DeepSeek.h"
#include "dialects/x86/MatmulSchedule.h"
#include "passes/schedule/Scheduler.h"

#include "mlir/IR/Builders.h"
#include "llvm/Support/FormatVariadic.h"

#include <numeric>

using namespace mlir;
using namespace quant;

namespace {

class X86Scheduler : public Scheduler {
public:
  explicit X86Scheduler(const machine::X86Unit &unit) : unit(unit) {}

  FailureOr<SmallVector<program::ScheduleAttr>> schedule(func::FuncOp kernel, Operation *op) const override {
    Builder builder(kernel.getContext());
    bool isMatmul = isa<qblock::MatmulOp, qblock::GroupedMatmulOp>(op);
    StringAttr name = builder.getStringAttr(unit.name);
    if (!isMatmul)
      return SmallVector{program::ScheduleAttr::get(kernel.getContext(), name, {}, builder.getDictionaryAttr({}), {}, {})};
    x86::MatmulSchedule sizes(unit);
    sizes.rows = withWholeBlocks(tileRows(), cast<WeightsOpInterface>(op).getWeightOperands().front()->get().getType());
    return SmallVector{program::ScheduleAttr::get(kernel.getContext(), name, {}, x86::getMatmulParameters(builder, sizes),
                                                  builder.getStringAttr(why(sizes.rows)),
                                                  builder.getStringAttr(next(sizes.rows)))};
  }

private:
  const machine::X86Unit &unit;

  int64_t panelBytes(int64_t rows) const { return rows * unit.panelColumns * static_cast<int64_t>(sizeof(float)); }

  /// The largest power of two of rows whose panel fits a quarter of the second-level cache.
  int64_t tileRows() const {
    int64_t rows = 16;
    while (panelBytes(2 * rows) <= unit.l2Bytes / 4)
      rows *= 2;
    return rows;
  }

  /// So many rows or fewer that no block of scales ends inside a tile, or no tile inside a block.
  static int64_t withWholeBlocks(int64_t rows, Type weight) {
    auto type = dyn_cast<qblock::BlockTensorType>(weight);
    if (!type)
      return rows;
    int64_t extent = type.getBlockExtent(type.getRank() - 2);
    if (extent >= type.getDimSize(type.getRank() - 2))
      return rows;
    return extent <= rows ? rows / extent * extent : std::gcd(rows, extent);
  }

  std::string why(int64_t rows) const {
    return llvm::formatv(
        "f32 multiply-adds, in which every code and scale is exact: there is no kernel for the dot products of "
        "bf16 or int8 yet; {0} weight rows decode to a panel of {1} KB, a quarter of a second-level cache of {2} KB",
        rows, panelBytes(rows) >> 10, unit.l2Bytes >> 10);
  }

  static std::string next(int64_t rows) {
    return llvm::formatv("{0} weight rows: tiles half as large, each with its own pass over the tokens", rows / 2);
  }
};

} // namespace

SchedulerResult quant::createX86Scheduler(const SchedulerOptions &options, function_ref<InFlightDiagnostic()> emitError) {
  const machine::X86Unit *unit = machine::findX86Unit(options.unit);
  if (!unit)
    return emitError() << "there is no instruction set '" << options.unit << "': " << machine::x86UnitList();
  return std::unique_ptr<Scheduler>(std::make_unique<X86Scheduler>(*unit));
}
