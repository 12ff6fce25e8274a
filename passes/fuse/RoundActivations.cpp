//===- RoundActivations.cpp - inputs of bf16 weights rounded to bf16 ------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "dialects/deepseek/DeepSeek.h"
#include "dialects/hopper/GemmSchedule.h"
#include "dialects/qblock/QBlock.h"
#include "passes/Passes.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/Builders.h"
#include "llvm/ADT/DenseMap.h"

namespace quant {
#define GEN_PASS_DEF_ROUNDACTIVATIONS
#include "passes/Passes.h.inc"
} // namespace quant

using namespace mlir;
using namespace quant;
using namespace quant::qblock;

namespace {

/// Whether the tensor cores multiply by it. Other inputs stay exact.
bool isMultiplied(Operation *op) {
  auto weight = dyn_cast<RankedTensorType>(op->getOperand(1).getType());
  if (!weight || !weight.getElementType().isBF16() || !weight.hasStaticShape())
    return false;
  machine::GemmConfig config = hopper::getGemmConfig<deepseek::MlaAbsorbOp, deepseek::MlaExpandOp>(op);
  return config.k * config.elementBytes() % machine::kSm90a.tmaAlignment == 0 && machine::checkGemm(config);
}

struct RoundActivations : quant::impl::RoundActivationsBase<RoundActivations> {
  void runOnOperation() override {
    // Matmuls that share an input share its rounded form.
    llvm::DenseMap<Value, Value> rounded;
    getOperation().walk([&](Operation *op) {
      if (!isa<MatmulOp, deepseek::MlaAbsorbOp, deepseek::MlaExpandOp>(op))
        return;
      Value input = op->getOperand(0);
      auto x = dyn_cast<RankedTensorType>(input.getType());
      if (!x || !x.getElementType().isF32() || !isMultiplied(op))
        return;
      Value &value = rounded[input];
      if (!value) {
        OpBuilder builder(op);
        builder.setInsertionPointAfterValue(input);
        value = arith::TruncFOp::create(builder, op->getLoc(), x.clone(builder.getBF16Type()), input);
      }
      op->setOperand(0, value);
    });
  }
};

} // namespace
