//===- GatherRows.cpp - rows where grouped matmuls read them --------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "dialects/qblock/QBlock.h"
#include "passes/Passes.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/Builders.h"
#include "llvm/ADT/DenseMap.h"

namespace quant {
#define GEN_PASS_DEF_GATHERROWS
#include "passes/Passes.h.inc"
} // namespace quant

using namespace mlir;
using namespace quant;
using namespace quant::qblock;

namespace {

struct GatherRows : quant::impl::GatherRowsBase<GatherRows> {
  void runOnOperation() override {
    llvm::DenseMap<std::pair<Value, Value>, Value> copies;
    getOperation().walk([&](GroupedMatmulOp op) {
      if (!op.getRows() || !isa<BlockTensorType>(op.getX().getType()))
        return;
      Value &copy = copies[{op.getX(), op.getRows()}];
      if (!copy) {
        OpBuilder builder(op);
        copy = GatherRowsOp::create(builder, op.getLoc(), op.getX(), op.getRows());
      }
      op.getXMutable().assign(copy);
      op.getRowsMutable().clear();
      ++gathered;
    });
  }
};

} // namespace
