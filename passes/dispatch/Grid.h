//===- Grid.h - how many blocks a kernel has ----------------------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_PASSES_DISPATCH_GRID_H
#define QUANT_PASSES_DISPATCH_GRID_H

#include "dialects/deepseek/DeepSeek.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/IR/AffineMap.h"
#include "llvm/ADT/TypeSwitch.h"

namespace quant {

/// Rows of a weight in one block of a matmul's grid.
inline constexpr int64_t kMatmulBlockRows = 128;

/// The position of a run-time size among (tokens, position, outputs, context).
inline unsigned dimIndex(llvm::StringRef name) {
  return llvm::StringSwitch<unsigned>(name).Case("position", 1).Case("outputs", 2).Case("context", 3).Default(0);
}

/// The grid of the kernel that `op` becomes, as a map of (tokens, position, outputs, context); its smallest result counts.
/// `rows` names the run-time size of the op's rows. Fails for an op that is no kernel.
inline mlir::FailureOr<mlir::AffineMap> gridOf(mlir::Operation *op, mlir::StringAttr rows) {
  using namespace mlir;
  MLIRContext *context = op->getContext();
  AffineExpr perRow = getAffineDimExpr(dimIndex(rows ? rows.getValue() : "tokens"), context);
  auto grid = [&](AffineExpr blocks) -> FailureOr<AffineMap> { return AffineMap::get(4, 0, blocks); };
  auto constant = [&](int64_t value) { return getAffineConstantExpr(value, context); };
  return llvm::TypeSwitch<Operation *, FailureOr<AffineMap>>(op)
      .Case([&](qblock::MatmulOp matmul) {
        return grid(constant(llvm::divideCeil(qblock::getMatrixShape(matmul.getW().getType())[0], kMatmulBlockRows)));
      })
      .Case([&](qblock::GroupedMatmulOp matmul) {
        ArrayRef<int64_t> w = qblock::getMatrixShape(matmul.getW().getType());
        return grid(constant(w[0] * llvm::divideCeil(w[1], kMatmulBlockRows)));
      })
      .Case<deepseek::MlaAbsorbOp, deepseek::MlaExpandOp>([&](auto mla) { return grid(constant(mla.getHeads())); })
      .Case([&](deepseek::MlaCoreOp core) { return grid(perRow * core.getHeads()); })
      .Case([&](deepseek::MoeDispatchOp) { return grid(constant(1)); })
      .Case<deepseek::EmbedOp, deepseek::RmsNormOp, deepseek::RopeTableOp, deepseek::SwigluOp, deepseek::LastTokensOp,
            deepseek::LatentAppendOp, deepseek::MoeGateOp, deepseek::MoeCombineOp, qblock::QuantizeOp, qblock::DequantizeOp>(
          [&](Operation *) { return grid(perRow); })
      .Case([&](arith::AddFOp add) -> FailureOr<AffineMap> {
        auto type = dyn_cast<RankedTensorType>(add.getType());
        if (!type || type.getRank() < 2)
          return failure();
        return grid(perRow);
      })
      .Default([](Operation *) -> FailureOr<AffineMap> { return failure(); });
}

} // namespace quant

#endif // QUANT_PASSES_DISPATCH_GRID_H
