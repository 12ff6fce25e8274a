//===- LowerToHost.cpp - kernels in the host ABI --------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "dialects/program/Program.h"
#include "lowering/target/x86/Kernels.h"
#include "lowering/target/x86/Passes.h"
#include "runtime/abi/kernel_abi.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/Math/Transforms/Passes.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/Transforms/GreedyPatternRewriteDriver.h"
#include "llvm/ADT/TypeSwitch.h"

namespace quant {
#define GEN_PASS_DEF_LOWERTOHOST
#include "lowering/target/x86/Passes.h.inc"
} // namespace quant

using namespace mlir;
using namespace quant;
using namespace quant::host;

namespace {

/// What the tiles of a weight, or of a list of rows, were cut from; nothing but tiling slices those.
Value withoutSlices(Value tile) {
  while (isa_and_nonnull<qblock::ExtractSliceOp, tensor::ExtractSliceOp, tensor::CollapseShapeOp>(tile.getDefiningOp()))
    tile = tile.getDefiningOp()->getOperand(0);
  return tile;
}

/// A tiled matmul: the grid's step must be the block of weight rows that the kernels work on.
LogicalResult emitTiledMatmul(KernelContext &context, qblock::MatmulAccOp op, Value block) {
  auto grid = op->getParentOfType<scf::ForallOp>();
  SmallVector<OpFoldResult> steps = grid ? grid.getMixedStep() : SmallVector<OpFoldResult>();
  if (grid && (steps.size() != 1 || getConstantIntValue(steps[0]) != 128))
    return op.emitError("the host takes tiles of 128 weight rows and all of M");
  return emitMatmul(context, qblock::getWholeOperand(op, op.getX()), withoutSlices(op.getW()), block);
}

/// A tiled grouped matmul: a block for each group and 128 rows of its weight.
LogicalResult emitTiledGroupedMatmul(KernelContext &context, qblock::GroupedMatmulAccOp op, Value block) {
  GroupedOperands operands{qblock::getWholeOperand(op, op.getX()), withoutSlices(op.getW()), withoutSlices(op.getOffsets()),
                           op.getRows() ? withoutSlices(op.getRows()) : Value(), static_cast<int64_t>(op.getTopK())};
  // Dimensions of one tile have left the grid.
  ArrayRef<int64_t> weight = qblock::getMatrixShape(operands.w.getType());
  SmallVector<int64_t> wanted;
  if (weight[0] > 1)
    wanted.push_back(1);
  if (weight[1] > 128)
    wanted.push_back(128);
  auto grid = op->getParentOfType<scf::ForallOp>();
  if (getConstantIntValues(grid ? grid.getMixedStep() : SmallVector<OpFoldResult>()) != wanted)
    return op.emitError("the host takes tiles of one group and 128 weight rows");
  return emitGroupedMatmul(context, operands, block);
}

LogicalResult emitKernelBody(KernelContext &context, Operation *op, Value block) {
  return llvm::TypeSwitch<Operation *, LogicalResult>(op)
      .Case<qblock::MatmulOp, qblock::GroupedMatmulOp>([&](Operation *matmul) {
        return matmul->emitError("not tiled: --qblock-tile-matmuls makes the grid that the host needs");
      })
      .Case([&](qblock::MatmulAccOp matmul) { return emitTiledMatmul(context, matmul, block); })
      .Case([&](qblock::GroupedMatmulAccOp matmul) { return emitTiledGroupedMatmul(context, matmul, block); })
      .Case([&](rows::RowOpInterface row) { return emitRowOp(context, row, block); })
      .Case([&](deepseek::MlaAbsorbOp absorb) { return emitMlaAbsorb(context, absorb, block); })
      .Case([&](deepseek::MlaCoreOp core) { return emitMlaCore(context, core, block); })
      .Case([&](deepseek::MlaExpandOp expand) { return emitMlaExpand(context, expand, block); })
      .Case([&](deepseek::MoeDispatchOp dispatch) { return emitMoeDispatch(context, dispatch, block); })
      .Default([](Operation *other) { return other->emitError("the host has no kernel for this op"); });
}

/// Kernels store f32, but for those whose op says otherwise: codes and scales, expert ids, places.
LogicalResult checkTypes(func::FuncOp kernel, Operation *op) {
  for (Type type : llvm::concat<const Type>(kernel.getArgumentTypes(), kernel.getResultTypes())) {
    auto shaped = dyn_cast<ShapedType>(type);
    if (!shaped)
      continue;
    bool isTable = shaped.hasRank() && shaped.getRank() > 0;
    if (!isTable || llvm::any_of(shaped.getShape().drop_front(), ShapedType::isDynamic))
      return op->emitError("the host takes tensors whose first dimension alone is dynamic, not ") << type;
  }
  if (isa<qblock::QuantizeOp, deepseek::MoeGateOp, deepseek::MoeDispatchOp>(op))
    return success();
  if (llvm::any_of(op->getResultTypes(), llvm::IsaPred<qblock::BlockTensorType>))
    return op->emitError("the host quantizes in a kernel of its own");
  for (Type type : kernel.getResultTypes())
    if (!cast<ShapedType>(type).getElementType().isF32())
      return op->emitError("the host computes f32 results, not ") << type;
  return success();
}

/// Loads the addresses of the operand table, and the call's sizes.
KernelOperands loadOperands(HostBuilder &b, func::FuncOp kernel, Operation *op, Value table, Value dims) {
  int64_t count = llvm::count_if(kernel.getArgumentTypes(), [](Type type) { return !type.isIndex(); }) + kernel.getNumResults();
  SmallVector<Value> addresses, sizes;
  for (int64_t operand = 0; operand < count; ++operand)
    addresses.push_back(b.load(b.ptr(), b.at(table, operand, 8)));
  for (int64_t dim = 0; dim < abi::kNumDims; ++dim)
    sizes.push_back(b.load(b.i64(), b.at(dims, dim, 8)));
  return KernelOperands(kernel, op, addresses, sizes);
}

struct LowerToHost : quant::impl::LowerToHostBase<LowerToHost> {
  using LowerToHostBase::LowerToHostBase;

  void runOnOperation() override {
    const machine::X86Unit *target = machine::findX86Unit(isa.getValue());
    if (!target) {
      getOperation().emitError("there is no instruction set '") << isa.getValue() << "': " << machine::x86UnitList();
      return signalPassFailure();
    }
    for (func::FuncOp kernel : llvm::make_early_inc_range(getOperation().getOps<func::FuncOp>()))
      if (kernel->hasAttr(program::kGridAttr) && failed(lower(kernel, *target)))
        return signalPassFailure();
    if (failed(expandMath()))
      signalPassFailure();
  }

private:
  LogicalResult lower(func::FuncOp kernel, const machine::X86Unit &target) {
    for (program::ScheduleAttr schedule : program::getSchedules(kernel))
      if (schedule.getUnit() != target.name)
        return kernel.emitError("is scheduled for ") << schedule.getUnit().getValue() << ", but this is code for " << target.name;
    Operation *op = getComputedOp(kernel);
    if (!op)
      return kernel.emitError("computes nothing that the host knows");
    if (failed(checkTypes(kernel, op)))
      return failure();
    HostBuilder b(OpBuilder(kernel), op->getLoc(), target);
    Type address = b.ptr(), index = b.i64();
    auto type = b.getFunctionType({address, address, address, index, index}, {});
    auto lowered = func::FuncOp::create(b, kernel.getLoc(), kernel.getSymName(), type);
    Block *entry = lowered.addEntryBlock();
    b.setInsertionPointToStart(entry);
    KernelOperands operands = loadOperands(b, kernel, op, entry->getArgument(0), entry->getArgument(1));
    KernelContext context{b, op, operands, entry->getArgument(2)};
    LogicalResult emitted = success();
    b.loop(entry->getArgument(3), entry->getArgument(4), 1, [&](Value block) { emitted = emitKernelBody(context, op, block); });
    if (failed(emitted)) {
      lowered.erase();
      return failure();
    }
    func::ReturnOp::create(b);
    lowered->setAttr(program::kGridAttr, kernel->getAttr(program::kGridAttr));
    if (Attribute schedule = kernel->getAttr(program::kScheduleAttr))
      lowered->setAttr(program::kScheduleAttr, schedule);
    lowered->setAttr(program::kScratchBytesAttr, b.getI64IntegerAttr(context.scratchBytes));
    kernel.erase();
    return success();
  }

  /// exp becomes a polynomial: kernels call no library.
  LogicalResult expandMath() {
    RewritePatternSet patterns(&getContext());
    populateMathPolynomialApproximationPatterns(patterns, [](StringRef name) { return name == math::ExpOp::getOperationName(); });
    return applyPatternsGreedily(getOperation(), std::move(patterns));
  }
};

} // namespace
