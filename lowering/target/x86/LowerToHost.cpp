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

namespace quant {
#define GEN_PASS_DEF_LOWERTOHOST
#include "lowering/target/x86/Passes.h.inc"
} // namespace quant

using namespace mlir;
using namespace quant;
using namespace quant::host;

namespace {

LogicalResult emitKernelBody(KernelContext &context, Operation *op, Value block) {
  if (auto row = dyn_cast<rows::RowOpInterface>(op))
    return emitRowOp(context, row, block);
  if (auto kernel = dyn_cast<HostKernelInterface>(op))
    return kernel.emitBlock(context, block);
  return op->emitError("the host has no kernel for this op");
}

/// An op as its emitter takes it.
template <typename Op, auto emit, typename Model>
struct EmitterOf : HostKernelInterface::ExternalModel<Model, Op> {
  LogicalResult emitBlock(Operation *op, KernelContext &context, Value block) const { return emit(context, cast<Op>(op), block); }
};

template <typename Op, auto emit>
struct Emitter : EmitterOf<Op, emit, Emitter<Op, emit>> {};

struct MatmulEmitter : EmitterOf<qblock::MatmulAccOp, emitMatmul, MatmulEmitter> {
  Value getStep(Operation *op, KernelContext &context) const { return tilesOfStep(context, cast<qblock::MatmulAccOp>(op)); }
};

struct AttentionEmitter : EmitterOf<deepseek::MlaCoreOp, emitMlaCore, AttentionEmitter> {
  int64_t getBlockSize(Operation *op) const { return headsOfBlock(cast<deepseek::MlaCoreOp>(op)); }
  Value getStep(Operation *op, KernelContext &context) const {
    return context.b.size(blocksOfStep(cast<deepseek::MlaCoreOp>(op)));
  }
};

template <typename Op, auto emit>
void attach(MLIRContext *context) {
  Op::template attachInterface<Emitter<Op, emit>>(*context);
}

LogicalResult refuseWhole(KernelContext &, Operation *matmul, Value) {
  return matmul->emitError("not tiled: --qblock-tile-matmuls makes the grid that the host needs");
}

/// What the schedule asks for must be what the unit can do; without one it is the unit's own.
FailureOr<x86::MatmulSchedule> readSchedule(func::FuncOp kernel, const machine::X86Unit &unit) {
  SmallVector<program::ScheduleAttr> schedules = program::getSchedules(kernel);
  if (schedules.size() > 1)
    return kernel.emitError("the host takes one schedule for all M, not ") << schedules.size();
  if (schedules.empty())
    return x86::MatmulSchedule(unit);
  if (schedules.front().getUnit() != unit.name)
    return kernel.emitError("is scheduled for ")
           << schedules.front().getUnit().getValue() << ", but this is code for " << unit.name;
  auto read = x86::readMatmulParameters(x86::MatmulSchedule(unit), schedules.front().getParameters());
  if (!read)
    return kernel.emitError(read.error().message);
  if (read->inputParts > 0 && !unit.hasPackedDots)
    return kernel.emitError("input_parts is ") << read->inputParts << ", but " << unit.name << " has no dot products of bf16";
  return *read;
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
  int64_t count = kernel.getNumArguments() + kernel.getNumResults();
  SmallVector<Value> addresses;
  for (int64_t operand = 0; operand < count; ++operand)
    addresses.push_back(b.load(b.ptr(), b.at(table, operand, 8)));
  auto size = [&](abi::Dim dim) { return b.load(b.i64(), b.at(dims, static_cast<int64_t>(dim), 8)); };
  return KernelOperands(kernel, op, addresses, size(abi::Dim::Tokens), size(abi::Dim::Outputs), size(abi::Dim::Sequences));
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
    FailureOr<x86::MatmulSchedule> schedule = readSchedule(kernel, target);
    if (failed(schedule))
      return failure();
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
    KernelContext context{b, operands, entry->getArgument(2), *schedule};
    LogicalResult emitted = success();
    auto interface = dyn_cast<HostKernelInterface>(op);
    Value end = entry->getArgument(4), step = interface ? interface.getStep(context) : b.size(1);
    b.loop(entry->getArgument(3), end, step, [&](Value block) {
      context.endBlock = b.min(b.add(block, step), end);
      emitted = emitKernelBody(context, op, block);
    });
    if (failed(emitted)) {
      lowered.erase();
      return failure();
    }
    func::ReturnOp::create(b);
    AffineMap grid = kernel->getAttrOfType<AffineMapAttr>(program::kGridAttr).getValue();
    if (interface)
      grid = AffineMap::get(grid.getNumDims(), 0, grid.getResult(0).floorDiv(interface.getBlockSize()));
    lowered->setAttr(program::kGridAttr, AffineMapAttr::get(grid));
    if (Attribute attribute = kernel->getAttr(program::kScheduleAttr))
      lowered->setAttr(program::kScheduleAttr, attribute);
    lowered->setAttr(program::kScratchBytesAttr, b.getI64IntegerAttr(context.scratchBytes));
    kernel.erase();
    return success();
  }

  /// exp becomes a polynomial: kernels call no library.
  LogicalResult expandMath() {
    RewritePatternSet patterns(&getContext());
    populateMathPolynomialApproximationPatterns(patterns, [](StringRef name) { return name == math::ExpOp::getOperationName(); });
    SmallVector<Operation *> exponentials;
    getOperation().walk([&](math::ExpOp exp) { exponentials.push_back(exp); });
    return applyOpPatternsGreedily(exponentials, std::move(patterns));
  }
};

} // namespace

#include "lowering/target/x86/HostKernels.cpp.inc"

void quant::host::registerHostKernels(DialectRegistry &registry) {
  registry.addExtension(+[](MLIRContext *context, qblock::QBlockDialect *) {
    attach<qblock::MatmulOp, refuseWhole>(context);
    attach<qblock::GroupedMatmulOp, refuseWhole>(context);
    qblock::MatmulAccOp::attachInterface<MatmulEmitter>(*context);
    attach<qblock::GroupedMatmulAccOp, emitMatmul>(context);
  });
  registry.addExtension(+[](MLIRContext *context, deepseek::DeepSeekDialect *) {
    attach<deepseek::MlaAbsorbOp, emitMlaAbsorb>(context);
    deepseek::MlaCoreOp::attachInterface<AttentionEmitter>(*context);
    attach<deepseek::MlaExpandOp, emitMlaExpand>(context);
  });
}
