//===- PlanMemory.cpp - one workspace for all intermediates ---------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "dialects/program/Program.h"
#include "dialects/qblock/QBlock.h"
#include "passes/Passes.h"
#include "passes/dispatch/Programs.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/Builders.h"
#include "llvm/Support/MathExtras.h"

namespace quant {
#define GEN_PASS_DEF_PLANMEMORY
#include "passes/Passes.h.inc"
} // namespace quant

using namespace mlir;
using namespace quant;

namespace {

constexpr int64_t kAlignment = 64;
/// 16 TiB; a program of so many values that their sum overflows does not fit a file.
constexpr int64_t kMaxBits = int64_t(1) << 47;

/// A result that lives in the workspace from dispatch `first` to dispatch `last`, both included.
struct Interval {
  OpResult value;
  int64_t first, last, bytes, offset = 0;

  bool overlaps(const Interval &other) const { return first <= other.last && other.first <= last; }
};

struct PlanMemory : quant::impl::PlanMemoryBase<PlanMemory> {
  using PlanMemoryBase::PlanMemoryBase;

  void runOnOperation() override {
    if (maxTokens < 1) {
      getOperation().emitError("max-tokens must be at least 1, not ") << maxTokens.getValue();
      return signalPassFailure();
    }
    FailureOr<SmallVector<func::FuncOp>> programs = lookupPrograms(getOperation(), "memory plan");
    if (failed(programs) || llvm::any_of(*programs, [&](func::FuncOp function) { return failed(plan(function)); }))
      return signalPassFailure();
  }

private:
  LogicalResult plan(func::FuncOp function) {
    FailureOr<SmallVector<Interval>> intervals = lifetimes(function);
    if (failed(intervals))
      return failure();
    int64_t workspace = place(*intervals);
    record(function, *intervals);
    OpBuilder builder(function);
    function->setAttr(program::kWorkspaceBytesAttr, builder.getI64IntegerAttr(workspace));
    function->setAttr(program::kMaxTokensAttr, builder.getI64IntegerAttr(maxTokens));
    return success();
  }

  /// Bytes of `result` at the largest number of tokens.
  FailureOr<int64_t> bytesOf(OpResult result) {
    auto type = cast<RankedTensorType>(result.getType());
    // Scales that lie group by group have room for more rows in each.
    int64_t multiple = qblock::isKMajor(type) ? abi::kKMajorRowMultiple : 1;
    if (!type.getElementType().isIntOrFloat())
      return result.getOwner()->emitError("memory plan: no size is known of ") << type;
    int64_t bits = type.getElementTypeBitWidth();
    for (int64_t size : type.getShape())
      if (llvm::MulOverflow<int64_t>(bits, ShapedType::isDynamic(size) ? llvm::alignTo(maxTokens, multiple) : size, bits) ||
          bits > kMaxBits)
        return result.getOwner()->emitError("memory plan: with ")
               << maxTokens.getValue() << " tokens there is no memory for " << type;
    return llvm::alignTo(llvm::divideCeil(bits, 8), kAlignment);
  }

  FailureOr<SmallVector<Interval>> lifetimes(func::FuncOp function) {
    llvm::DenseMap<Operation *, int64_t> order;
    for (auto [index, op] : llvm::enumerate(function.getBody().front()))
      order[&op] = index;
    SmallVector<Interval> intervals;
    for (auto dispatch : function.getOps<program::DispatchOp>()) {
      for (OpResult result : dispatch->getResults()) {
        FailureOr<int64_t> bytes = bytesOf(result);
        if (failed(bytes))
          return failure();
        int64_t last = order[dispatch];
        bool returned = false;
        for (Operation *user : result.getUsers()) {
          returned |= isa<func::ReturnOp>(user);
          last = std::max(last, order[user]);
        }
        if (!returned)
          intervals.push_back({result, order[dispatch], last, *bytes});
      }
    }
    return intervals;
  }

  /// Largest first, each at the lowest offset free during its life. Returns the size of the workspace.
  static int64_t place(SmallVector<Interval> &intervals) {
    llvm::sort(intervals, [](const Interval &a, const Interval &b) {
      return std::tuple(b.bytes, a.first, a.value.getResultNumber()) < std::tuple(a.bytes, b.first, b.value.getResultNumber());
    });
    int64_t workspace = 0;
    for (size_t index = 0; index < intervals.size(); ++index) {
      Interval &interval = intervals[index];
      SmallVector<const Interval *> taken;
      for (const Interval &placed : ArrayRef(intervals).take_front(index))
        if (placed.overlaps(interval))
          taken.push_back(&placed);
      llvm::sort(taken, [](auto *a, auto *b) { return a->offset < b->offset; });
      for (const Interval *placed : taken)
        if (placed->offset < interval.offset + interval.bytes)
          interval.offset = std::max(interval.offset, placed->offset + placed->bytes);
      workspace = std::max(workspace, interval.offset + interval.bytes);
    }
    return workspace;
  }

  static void record(func::FuncOp function, ArrayRef<Interval> intervals) {
    function.walk(
        [](program::DispatchOp dispatch) { dispatch.setPlacement(SmallVector<int64_t>(dispatch.getNumResults(), -1)); });
    for (const Interval &interval : intervals) {
      auto dispatch = cast<program::DispatchOp>(interval.value.getOwner());
      SmallVector<int64_t> placement(*dispatch.getPlacement());
      placement[interval.value.getResultNumber()] = interval.offset;
      dispatch.setPlacement(placement);
    }
  }
};

} // namespace
