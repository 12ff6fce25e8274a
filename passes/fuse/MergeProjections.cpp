//===- MergeProjections.cpp - one matmul for gate|up and q_a|kv_a ---------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "passes/Passes.h"
#include "passes/fuse/Projections.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"
#include "llvm/ADT/MapVector.h"

namespace quant {
#define GEN_PASS_DEF_MERGEPROJECTIONS
#include "passes/Passes.h.inc"
} // namespace quant

using namespace mlir;
using namespace quant;

namespace {

using Group = SmallVector<qblock::MatmulOp>;

/// Orders a group so that its weights can be joined: at most one may end inside a block, and it goes last.
bool orderForJoining(Group &group) {
  auto endsOnEdge = [](qblock::MatmulOp op) { return endsOnBlockEdge(op.getW().getType()); };
  if (auto inside = llvm::find_if_not(group, endsOnEdge); inside != group.end())
    std::rotate(inside, inside + 1, group.end());
  return llvm::all_of(ArrayRef(group).drop_back(), endsOnEdge);
}

/// The place where the merged matmul can stand: after the last of the weights, before the first use.
Operation *insertionPoint(const Group &group) {
  Operation *point = group.front();
  for (qblock::MatmulOp op : group)
    if (op->isBeforeInBlock(point))
      point = op;
  return point;
}

/// Whether `weight` stands before `point`, or can be computed there: from what the group computes or from memory it cannot.
bool canHoistTo(Value weight, Operation *point, const Group &group) {
  Operation *producer = weight.getDefiningOp();
  // What comes from another block dominates this one.
  if (!producer || producer->getBlock() != point->getBlock() || producer->isBeforeInBlock(point))
    return true;
  bool movable = isPure(producer) && producer->getNumRegions() == 0 && !llvm::is_contained(group, producer);
  return movable &&
         llvm::all_of(producer->getOperands(), [&](Value operand) { return canHoistTo(operand, point, group); });
}

void hoistProducers(Value weight, Operation *point) {
  Operation *producer = weight.getDefiningOp();
  if (!producer || producer->getBlock() != point->getBlock() || producer->isBeforeInBlock(point))
    return;
  for (Value operand : producer->getOperands())
    hoistProducers(operand, point);
  producer->moveBefore(point);
}

bool canHoistAll(const Group &group) {
  Operation *point = insertionPoint(group);
  return llvm::all_of(group, [&](qblock::MatmulOp op) { return canHoistTo(op.getW(), point, group); });
}

void merge(Group group) {
  Operation *point = insertionPoint(group);
  SmallVector<Value> weights;
  for (qblock::MatmulOp op : group) {
    hoistProducers(op.getW(), point);
    weights.push_back(op.getW());
  }
  OpBuilder builder(point);
  SmallVector<Location> locs = llvm::map_to_vector(group, [](qblock::MatmulOp op) { return op.getLoc(); });
  Location loc = builder.getFusedLoc(locs);
  Value joined = joinRows(builder, loc, weights);
  auto first = cast<RankedTensorType>(group.front().getType());
  auto type = first.clone({first.getDimSize(0), qblock::getMatrixShape(joined.getType())[0]});
  Value merged = qblock::MatmulOp::create(builder, loc, type, group.front().getX(), joined);
  int64_t offset = 0;
  SmallVector<Value> slices;
  for (qblock::MatmulOp op : group) {
    int64_t columns = cast<RankedTensorType>(op.getType()).getDimSize(1);
    slices.push_back(sliceColumns(builder, op.getLoc(), merged, offset, columns));
    offset += columns;
  }
  for (auto [op, slice] : llvm::zip_equal(group, slices)) {
    op.replaceAllUsesWith(slice);
    op.erase();
  }
}

struct MergeProjections : quant::impl::MergeProjectionsBase<MergeProjections> {
  void runOnOperation() override {
    llvm::MapVector<Value, SmallVector<Group>> byInput;
    getOperation().walk([&](qblock::MatmulOp op) {
      SmallVector<Group> &groups = byInput[op.getX()];
      auto fits = [&](const Group &group) {
        qblock::MatmulOp first = group.front();
        return first->getBlock() == op->getBlock() && first.getType().getElementType() == op.getType().getElementType() &&
               haveSameScheme(first.getW().getType(), op.getW().getType());
      };
      auto group = llvm::find_if(groups, fits);
      if (group == groups.end())
        groups.push_back({op});
      else
        group->push_back(op);
    });
    for (auto &[input, groups] : byInput)
      for (Group &group : groups)
        if (group.size() > 1 && orderForJoining(group) && canHoistAll(group)) {
          merged += group.size() - 1;
          merge(group);
        }
  }
};

} // namespace
