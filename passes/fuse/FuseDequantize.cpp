//===- FuseDequantize.cpp - matmuls that read codes -----------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "dialects/deepseek/DeepSeek.h"
#include "passes/Passes.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/IR/Builders.h"
#include "llvm/ADT/TypeSwitch.h"

namespace quant {
#define GEN_PASS_DEF_FUSEDEQUANTIZE
#include "passes/Passes.h.inc"
} // namespace quant

using namespace mlir;
using namespace quant;
using namespace quant::qblock;

namespace {

bool isFloatCast(Operation *op) { return isa<arith::ExtFOp, arith::TruncFOp>(op); }

/// A reshape keeps blocks whole if each group of dimensions has at most one that is not 1.
bool keepsBlocksWhole(ArrayRef<ReassociationIndices> groups, ArrayRef<int64_t> expanded) {
  return llvm::all_of(groups, [&](ArrayRef<int64_t> group) {
    return llvm::count_if(group, [&](int64_t dim) { return expanded[dim] != 1; }) <= 1;
  });
}

/// Walks back from a floating-point weight to the block-scaled value that it was dequantized from, and rebuilds on codes
/// and scales what stood between.
class BlockScaledSource {
public:
  BlockScaledSource(OpBuilder &builder) : builder(builder) {}

  /// The block-scaled equal of `value`, or none; then `blocker` is the op that stands in the way.
  Value find(Value value) {
    Operation *op = value.getDefiningOp();
    if (!op)
      return {};
    if (auto dequantize = dyn_cast<DequantizeOp>(op))
      return dequantize.getSource();
    blocker = op;
    if (isFloatCast(op))
      return find(op->getOperand(0));
    auto type = dyn_cast<RankedTensorType>(value.getType());
    if (!type || !type.hasStaticShape())
      return {};
    if (auto transpose = dyn_cast<linalg::TransposeOp>(op))
      return throughTranspose(transpose);
    if (auto expand = dyn_cast<tensor::ExpandShapeOp>(op))
      return throughReshape(expand, expand.getSrc(), expand.getReassociationIndices(), expand.getResultType().getShape(), true);
    if (auto collapse = dyn_cast<tensor::CollapseShapeOp>(op))
      return throughReshape(collapse, collapse.getSrc(), collapse.getReassociationIndices(), collapse.getSrcType().getShape(),
                            false);
    return {};
  }

  Operation *blocker = nullptr;

private:
  OpBuilder &builder;

  Value throughTranspose(linalg::TransposeOp op) {
    Value source = find(op.getInput());
    if (!source)
      return {};
    // Two transposes that cancel need none on the codes.
    if (auto assemble = source.getDefiningOp<AssembleOp>())
      if (auto inner = assemble.getData().getDefiningOp<linalg::TransposeOp>())
        if (isPermutationIdentity(inner.getPermutation(), op.getPermutation()))
          if (auto storage = inner.getInput().getDefiningOp<StorageOp>())
            return storage.getSource();
    auto type = cast<BlockTensorType>(source.getType());
    ArrayRef<int64_t> permutation = op.getPermutation();
    auto permute = [&](ArrayRef<int64_t> list) {
      return llvm::map_to_vector(permutation, [&](int64_t dim) { return list[dim]; });
    };
    auto result = type.cloneWith(permute(type.getShape()), permute(type.getBlock()));
    return rebuild(op.getLoc(), source, result, [&](Value part, RankedTensorType to) -> Value {
      Value init = tensor::EmptyOp::create(builder, op.getLoc(), to.getShape(), to.getElementType());
      return linalg::TransposeOp::create(builder, op.getLoc(), part, init, permutation).getResult()[0];
    });
  }

  static bool isPermutationIdentity(ArrayRef<int64_t> first, ArrayRef<int64_t> second) {
    for (size_t dim = 0; dim < second.size(); ++dim)
      if (first[second[dim]] != static_cast<int64_t>(dim))
        return false;
    return true;
  }

  Value throughReshape(Operation *op, Value input, ArrayRef<ReassociationIndices> groups, ArrayRef<int64_t> expanded,
                       bool expand) {
    if (!keepsBlocksWhole(groups, expanded))
      return {};
    Value source = find(input);
    if (!source)
      return {};
    auto type = cast<BlockTensorType>(source.getType());
    SmallVector<int64_t> block(expand ? expanded.size() : groups.size(), 1);
    for (auto [collapsed, group] : llvm::enumerate(groups))
      for (int64_t dim : group)
        if (expanded[dim] != 1)
          block[expand ? dim : collapsed] = type.getBlock()[expand ? collapsed : dim];
    auto shape = cast<RankedTensorType>(op->getResult(0).getType()).getShape();
    auto result = type.cloneWith(shape, block);
    return rebuild(op->getLoc(), source, result, [&](Value part, RankedTensorType to) -> Value {
      if (expand)
        return tensor::ExpandShapeOp::create(builder, op->getLoc(), to, part, groups);
      return tensor::CollapseShapeOp::create(builder, op->getLoc(), to, part, groups);
    });
  }

  /// Applies `transform` to codes, scales and zero points alike. A global scale is of a tensor as it is.
  Value rebuild(Location loc, Value source, BlockTensorType result, function_ref<Value(Value, RankedTensorType)> transform) {
    auto type = cast<BlockTensorType>(source.getType());
    if (type.hasGlobalScale())
      return {};
    auto storage = StorageOp::create(builder, loc, source);
    Value zero = type.hasZeroPoint() ? transform(storage.getZero(), result.getZeroTensorType()) : Value();
    return AssembleOp::create(builder, loc, result, transform(storage.getData(), result.getDataTensorType()),
                              transform(storage.getScale(), result.getScaleTensorType()), zero);
  }
};

/// Whether a dequantize stands somewhere before `value`.
bool comesFromDequantize(Value value) {
  for (Operation *op = value.getDefiningOp(); op && op->getNumOperands() > 0; op = op->getOperand(0).getDefiningOp())
    if (isa<DequantizeOp>(op))
      return true;
  return false;
}

struct FuseDequantize : quant::impl::FuseDequantizeBase<FuseDequantize> {
  void runOnOperation() override {
    getOperation().walk([&](WeightsOpInterface op) {
      for (OpOperand *weight : op.getWeightOperands())
        if (!isa<BlockTensorType>(weight->get().getType()))
          fuse(op, *weight);
    });
  }

  void fuse(Operation *op, OpOperand &weight) {
    OpBuilder builder(op);
    BlockScaledSource search(builder);
    if (Value source = search.find(weight.get())) {
      weight.set(source);
      ++fused;
    } else if (search.blocker && comesFromDequantize(weight.get())) {
      InFlightDiagnostic remark = op->emitRemark("dequantize not fused: operand ")
                                  << weight.getOperandNumber() << " is changed in a way that does not keep blocks whole";
      remark.attachNote(search.blocker->getLoc()) << "by this " << search.blocker->getName();
    }
  }
};

} // namespace
