//===- QuantizeActivations.cpp - activations quantized online ------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "dialects/qblock/QBlock.h"
#include "passes/Passes.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
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
    if (resultType != "f32" && resultType != "bf16") {
      getOperation().emitError("unknown result-type '") << resultType.getValue() << "': f32 or bf16";
      return signalPassFailure();
    }
    if (scaleLayout != "row_major" && scaleLayout != stringifyScaleLayout(ScaleLayout::KMajor)) {
      getOperation().emitError("unknown scale-layout '") << scaleLayout.getValue() << "': row_major or k_major";
      return signalPassFailure();
    }
    if (storage != "f8E4M3FN" && storage != "i8") {
      getOperation().emitError("unknown storage '") << storage.getValue() << "': f8E4M3FN or i8";
      return signalPassFailure();
    }
    quantized.clear();
    getOperation().walk([&](Operation *op) {
      auto quantize = [&](auto matmul) {
        if (quantizeInput(op, matmul.getXMutable(), matmul.getW().getType()) && resultType == "bf16")
          roundResult(op);
      };
      if (auto matmul = dyn_cast<MatmulOp>(op))
        quantize(matmul);
      else if (auto grouped = dyn_cast<GroupedMatmulOp>(op))
        quantize(grouped);
    });
  }

private:
  /// Values quantized so far, by group size: matmuls that share an input share its quantized form.
  llvm::DenseMap<std::pair<Value, int64_t>, Value> quantized;

  /// Lets a matmul of f32 give bf16, extended for those who use it.
  static void roundResult(Operation *op) {
    Value result = op->getResult(0);
    auto type = cast<RankedTensorType>(result.getType());
    if (!type.getElementType().isF32())
      return;
    OpBuilder builder(op);
    builder.setInsertionPointAfter(op);
    result.setType(type.clone(builder.getBF16Type()));
    auto extended = arith::ExtFOp::create(builder, op->getLoc(), type, result);
    result.replaceAllUsesExcept(extended, extended);
  }

  /// Whether a weight of integers is one whose scheme has INT8 inputs: symmetric, a scale a row. Where groups are asked for, any
  /// without a tensor of zero points that has scales for all of its K or for groups of a single row.
  bool hasIntegerRows(BlockTensorType w) {
    int64_t last = w.getRank() - 1;
    bool spansColumns = w.getBlockExtent(last) >= w.getDimSize(last);
    bool isOfRows = llvm::all_of(w.getBlock().drop_back(), [](int64_t extent) { return extent == 1; });
    if (w.hasZeroPoint())
      return false;
    return groups ? spansColumns || isOfRows : spansColumns && isOfRows && w.getZeroConstant() == 0;
  }

  bool quantizeInput(Operation *op, OpOperand &x, Type weight) {
    auto w = dyn_cast<BlockTensorType>(weight);
    auto type = dyn_cast<RankedTensorType>(x.get().getType());
    bool isInt8 = storage == "i8";
    if (!w || !type || isInt8 != isa<IntegerType>(w.getStorageType()))
      return false;
    // `?`, one scale a row, stays so. Integers are summed as such over all of K, or over the groups of a weight's row.
    int64_t group = w.getBlock().back();
    if (isInt8 && !hasIntegerRows(w))
      return false;
    if (isInt8)
      group = ShapedType::kDynamic;
    Value &value = quantized[{x.get(), group}];
    if (!value) {
      OpBuilder builder(op);
      builder.setInsertionPointAfterValue(x.get());
      SmallVector<int64_t> block(type.getRank(), 1);
      block.back() = group;
      Type element = isInt8 ? Type(builder.getI8Type()) : builder.getType<Float8E4M3FNType>();
      auto result = BlockTensorType::get(type.getShape(), element, block, builder.getF32Type(), Type(),
                                         scaleLayout == stringifyScaleLayout(ScaleLayout::KMajor));
      auto quantize = QuantizeOp::create(builder, op->getLoc(), result, x.get());
      // As DeepGEMM on Hopper: scales are powers of two, but stored as f32.
      quantize.setPowerOfTwo(scaleFormat == "ue8m0");
      value = quantize;
    }
    x.set(value);
    return true;
  }
};

} // namespace
