//===- DequantizeActivations.cpp - FP8 activations without FP8 units ------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "dialects/qblock/QBlock.h"
#include "passes/Passes.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/Builders.h"

namespace quant {
#define GEN_PASS_DEF_DEQUANTIZEACTIVATIONS
#include "passes/Passes.h.inc"
} // namespace quant

using namespace mlir;
using namespace quant;
using namespace quant::qblock;

namespace {

struct DequantizeActivations : quant::impl::DequantizeActivationsBase<DequantizeActivations> {
  void runOnOperation() override {
    SmallVector<QuantizeOp> quantizes;
    getOperation().walk([&](QuantizeOp op) { quantizes.push_back(op); });
    for (QuantizeOp op : quantizes) {
      OpBuilder builder(op);
      builder.setInsertionPointAfter(op);
      auto type = RankedTensorType::get(op.getType().getShape(), builder.getF32Type());
      Value value = DequantizeOp::create(builder, op.getLoc(), type, op.getResult());
      op.getResult().replaceUsesWithIf(value, [](OpOperand &use) {
        bool isInput = use.getOperandNumber() == 0;
        return isInput && isa<MatmulOp, GroupedMatmulOp>(use.getOwner());
      });
    }
  }
};

} // namespace
