//===- KernelInterfaces.cpp - ops that become kernels ---------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "dialects/kernel/KernelInterfaces.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/IR/BuiltinTypes.h"
#include "mlir/IR/DialectRegistry.h"

using namespace mlir;
using namespace quant;

#include "dialects/kernel/KernelInterfaces.cpp.inc"

KernelOpInterface quant::getKernelOp(Operation *op) {
  auto kernel = dyn_cast<KernelOpInterface>(op);
  if (!kernel || op->getNumResults() == 0)
    return kernel;
  auto tensor = dyn_cast<RankedTensorType>(op->getResult(0).getType());
  bool isScalar = op->getResult(0).getType().isIntOrIndexOrFloat();
  return isScalar || (tensor && tensor.getRank() == 0) ? KernelOpInterface() : kernel;
}

Operation *quant::getComputedOp(Operation *kernel) {
  Operation *found = nullptr, *other = nullptr;
  kernel->walk([&](Operation *op) {
    bool isBody = op != kernel && op->getNumRegions() == 0 && !op->hasTrait<OpTrait::IsTerminator>();
    // Behind another op a rounding belongs to that one's result.
    if (getKernelOp(op) && !(found && isa<arith::TruncFOp>(op)))
      found = op;
    else if (isBody && !isa<ViewOpInterface>(op))
      other = op;
  });
  return found ? found : other;
}

namespace {

/// The addition of two tensors of rows, the rounding of one.
template <typename Op>
struct ElementwiseKernel : KernelOpInterface::ExternalModel<ElementwiseKernel<Op>, Op> {
  AffineExpr getGrid(Operation *op, AffineExpr rows, int64_t) const {
    auto type = dyn_cast<RankedTensorType>(op->getResult(0).getType());
    return type && type.getRank() >= 2 ? rows : AffineExpr();
  }
};

template <typename Op>
struct View : ViewOpInterface::ExternalModel<View<Op>, Op> {};

template <typename... Ops>
void attachViews(MLIRContext *context) {
  (Ops::template attachInterface<View<Ops>>(*context), ...);
}

} // namespace

void quant::registerKernelInterfaces(DialectRegistry &registry) {
  registry.addExtension(+[](MLIRContext *context, arith::ArithDialect *) {
    arith::AddFOp::attachInterface<ElementwiseKernel<arith::AddFOp>>(*context);
    arith::TruncFOp::attachInterface<ElementwiseKernel<arith::TruncFOp>>(*context);
    attachViews<arith::ExtFOp, arith::ConstantOp>(context);
  });
  registry.addExtension(
      +[](MLIRContext *context, tensor::TensorDialect *) { attachViews<tensor::ExtractSliceOp, tensor::DimOp>(context); });
}
