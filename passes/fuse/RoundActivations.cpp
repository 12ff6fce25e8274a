//===- RoundActivations.cpp - inputs of bf16 weights rounded to bf16 ------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "dialects/machine/GemmPlan.h"
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
bool isMultiplied(RankedTensorType weight) {
  if (!weight || !weight.getElementType().isBF16() || !weight.hasStaticShape())
    return false;
  machine::GemmConfig config{.n = weight.getDimSize(0), .k = weight.getDimSize(1), .element = machine::GemmElement::bf16};
  return config.k * config.elementBytes() % machine::kSm90a.tmaAlignment == 0 && machine::checkGemm(config);
}

struct RoundActivations : quant::impl::RoundActivationsBase<RoundActivations> {
  void runOnOperation() override {
    // Matmuls that share an input share its rounded form.
    llvm::DenseMap<Value, Value> rounded;
    getOperation().walk([&](MatmulOp op) {
      auto x = dyn_cast<RankedTensorType>(op.getX().getType());
      if (!x || !x.getElementType().isF32() || !isMultiplied(dyn_cast<RankedTensorType>(op.getW().getType())))
        return;
      Value &value = rounded[op.getX()];
      if (!value) {
        OpBuilder builder(op);
        builder.setInsertionPointAfterValue(op.getX());
        value = arith::TruncFOp::create(builder, op.getLoc(), x.clone(builder.getBF16Type()), op.getX());
      }
      op.getXMutable().assign(value);
    });
  }
};

} // namespace
