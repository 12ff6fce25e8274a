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
  X86Scheduler(const machine::X86Unit &unit, bool roundsInputs) : unit(unit), roundsInputs(roundsInputs) {}

  FailureOr<SmallVector<program::ScheduleAttr>> schedule(func::FuncOp kernel, Operation *op) const override {
    Builder builder(kernel.getContext());
    bool isMatmul = isa<qblock::MatmulOp, qblock::GroupedMatmulOp>(op);
    StringAttr name = builder.getStringAttr(unit.name);
    if (!isMatmul)
      return SmallVector{program::ScheduleAttr::get(kernel.getContext(), name, {}, builder.getDictionaryAttr({}), {}, {})};
    x86::MatmulSchedule sizes(unit);
    sizes.inputParts = inputParts();
    sizes.rows = withWholeBlocks(tileRows(), cast<WeightsOpInterface>(op).getWeightOperands().front()->get().getType());
    return SmallVector{
        program::ScheduleAttr::get(kernel.getContext(), name, {}, x86::getMatmulParameters(builder, sizes),
                                   builder.getStringAttr(why(sizes, isa<qblock::BlockTensorType>(op->getOperand(0).getType()))),
                                   builder.getStringAttr(next(sizes.rows)))};
  }

private:
  const machine::X86Unit &unit;
  bool roundsInputs;

  int64_t inputParts() const { return unit.partsOfInputs(roundsInputs); }

  static int64_t panelBytes(const machine::X86Unit &unit, int64_t rows) { return rows * unit.panelColumns * 4; }

  /// The largest power of two of rows whose panel fits a quarter of the second-level cache, of whatever unit: a program has one
  /// grid for all.
  static int64_t tileRows() {
    int64_t rows = 1 << 20;
    for (const machine::X86Unit &each : machine::x86Units()) {
      int64_t own = 16;
      while (panelBytes(each, 2 * own) <= each.l2Bytes / 4)
        own *= 2;
      rows = std::min(rows, own);
    }
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

  std::string why(const x86::MatmulSchedule &sizes, bool isInt8) const {
    bool isPacked = isInt8 ? unit.hasPackedDots : inputParts() > 0;
    int64_t rows = isPacked ? std::max(sizes.rows, sizes.callRows) : sizes.rows, elementBytes = isPacked ? isInt8 ? 1 : 2 : 4;
    int64_t bytes = rows * elementBytes * (isPacked ? sizes.packedColumns : sizes.panelColumns);
    return llvm::formatv("{0}; {1} weight rows decode to a panel of {2} KB, in a second-level cache of {3} KB or more",
                         isInt8 ? integerProducts() : products(), rows, bytes >> 10, unit.l2Bytes >> 10);
  }

  /// How x is multiplied, and why so.
  std::string products() const {
    if (!inputParts())
      return "f32 multiply-adds, in which every code and scale is exact; what is narrower the unit does not multiply, or not "
             "faster";
    std::string parts = inputParts() == 1 ? std::string("x is rounded to bf16")
                                          : llvm::formatv("an f32 of x is the sum of {0} bf16 numbers", inputParts()).str();
    return llvm::formatv("codes are exact in bf16, and {0}: dot products of {1}, summed in f32; for {2} tokens and fewer, and "
                         "weights of f32, f16 or f8E5M2 or in blocks of other than multiples of 32 columns, f32 multiply-adds",
                         parts, unit.hasTiles ? "AMX tiles" : "bf16 pairs", unit.dotTokens);
  }

  std::string integerProducts() const {
    if (!unit.hasPackedDots)
      return "products of int8 as f32 multiply-adds, whose sums of 32 columns are exact and join as integers: the unit has no "
             "dot products of int8";
    std::string few = unit.hasTiles ? llvm::formatv(", of four bytes (VNNI) for {0} tokens and fewer", unit.dotTokens).str() : "";
    return llvm::formatv(
        "products of int8 summed as integers: dot products of {0}{1}; of many tokens in blocks of other than "
        "multiples of 64 columns {2}, of few in blocks that make no whole vectors of bytes f32 multiply-adds, exact as well",
        unit.hasTiles ? "AMX tiles" : "four bytes (VNNI)", few, inputParts() ? "bf16 pairs" : "f32 multiply-adds");
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
  return std::unique_ptr<Scheduler>(std::make_unique<X86Scheduler>(*unit, options.roundsInputs));
}
