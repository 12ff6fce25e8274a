//===- QuantizeActivations.cpp - online FP8 activations -------------------===//
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
#define GEN_PASS_DEF_QUANTIZEACTIVATIONS
#include "passes/Passes.h.inc"
} // namespace quant

using namespace mlir;
using namespace quant;
using namespace quant::qblock;

namespace {

struct QuantizeActivations : quant::impl::QuantizeActivationsBase<QuantizeActivations> {
  using QuantizeActivationsBase::QuantizeActivationsBase;

  void runOnOperation() override {
    if (scaleFormat != "f32" && scaleFormat != "ue8m0") {
      getOperation().emitError("unknown scale-format '") << scaleFormat.getValue() << "': f32 or ue8m0";
      return signalPassFailure();
    }
    getOperation().walk([&](Operation *op) {
      if (auto matmul = dyn_cast<MatmulOp>(op))
        quantizeInput(op, matmul.getXMutable(), matmul.getW().getType());
      else if (auto grouped = dyn_cast<GroupedMatmulOp>(op))
        quantizeInput(op, grouped.getXMutable(), grouped.getW().getType());
    });
  }

private:
  /// Values quantized so far, by group size: matmuls that share an input share its quantized form.
  llvm::DenseMap<std::pair<Value, int64_t>, Value> quantized;

  void quantizeInput(Operation *op, OpOperand &x, Type weight) {
    auto w = dyn_cast<BlockTensorType>(weight);
    auto type = dyn_cast<RankedTensorType>(x.get().getType());
    if (!w || !type || !isa<FloatType>(w.getStorageType()))
      return;
    int64_t group = w.getBlockExtent(w.getRank() - 1);
    Value &value = quantized[{x.get(), group}];
    if (!value) {
      OpBuilder builder(op);
      builder.setInsertionPointAfterValue(x.get());
      SmallVector<int64_t> block(type.getRank(), 1);
      block.back() = group;
      Type scale = scaleFormat == "ue8m0" ? Type(builder.getType<Float8E8M0FNUType>()) : Type(builder.getF32Type());
      auto result = BlockTensorType::get(type.getShape(), builder.getType<Float8E4M3FNType>(), block, scale);
      value = QuantizeOp::create(builder, op->getLoc(), result, x.get());
    }
    x.set(value);
  }
};

} // namespace
