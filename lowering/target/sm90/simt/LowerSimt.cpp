//===- LowerSimt.cpp - from an outlined kernel to a SIMT kernel --------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "lowering/target/sm90/simt/LowerSimt.h"

#include "dialects/program/Program.h"
#include "lowering/target/sm90/simt/SimtKernels.h"

#include "llvm/ADT/TypeSwitch.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;

namespace quant::nvvm {

//===----------------------------------------------------------------------===//
// Operands as the recipe names them
//===----------------------------------------------------------------------===//

/// The IR's dims are those of the ABI, in the same order.
static Dim dimOf(program::Dim dim) { return static_cast<Dim>(dim); }

/// `size` is the name of the leading dimension where that is dynamic.
static Operand operandOf(const std::string &name, ShapedType type, program::Dim size, bool written) {
  Operand operand{name, textOf(type.getElementType()), written, {}};
  ArrayRef<int64_t> shape = type.getShape();
  if (isa<RankedTensorType>(type) && type.hasStaticShape() && shape.size() == 3) {
    // A group of weights is a table of addresses.
    operand.dtype = "i64";
    operand.shape = {shape[0]};
    return operand;
  }
  for (int64_t extent : shape)
    operand.shape.push_back(ShapedType::isDynamic(extent) ? SizeExpr(dimOf(size)) : SizeExpr(extent));
  if (!qblock::isKMajor(type))
    return operand;
  SizeExpr rows = 1;
  for (const SizeExpr &extent : ArrayRef(operand.shape).drop_back())
    rows = rows * extent;
  constexpr int64_t kMultiple = qblock::kKMajorRowMultiple;
  operand.shape = {operand.shape.back(), SizeExpr(kMultiple) * SizeExpr::ceilDiv(rows, kMultiple)};
  return operand;
}

static bool writes(KernelOpInterface op, Value argument) {
  return llvm::any_of(op->getOpOperands(),
                      [&](OpOperand &operand) { return operand.get() == argument && op.writesTo(operand.getOperandNumber()); });
}

/// Arguments that are no sizes, then results: the order in which a dispatch has them.
static std::vector<Operand> operandsOf(func::FuncOp kernel, KernelOpInterface op) {
  std::vector<Operand> operands;
  auto add = [&](const std::string &name, Type type, std::optional<program::Dim> size, bool written) {
    operands.push_back(operandOf(name, cast<ShapedType>(type), size.value_or(program::Dim::Tokens), written));
    operands.back().from = {static_cast<int>(operands.size()) - 1};
  };
  for (auto [index, type] : llvm::enumerate(kernel.getArgumentTypes()))
    if (isa<ShapedType>(type)) {
      add("in" + std::to_string(index), type, program::getArgumentDim(kernel, index), writes(op, kernel.getArgument(index)));
    }
  for (auto [index, type] : llvm::enumerate(kernel.getResultTypes()))
    add("out" + std::to_string(index), type, program::getResultDim(kernel, index), true);
  return operands;
}

//===----------------------------------------------------------------------===//
// Grids
//===----------------------------------------------------------------------===//

namespace {
struct Plan {
  int64_t threads;
  SizeExpr grid;
};
} // namespace

static Plan planOf(func::FuncOp kernel, Operation *op) {
  constexpr int64_t kThreads = 128, kWarps = kThreads / kWarpLanes;
  SizeExpr rows = dimOf(program::getRowDim(kernel));
  auto perWeightRow = [&](int64_t count) { return Plan{kThreads, (count + kWarps - 1) / kWarps}; };
  return llvm::TypeSwitch<Operation *, Plan>(op)
      .Case([&](qblock::MatmulAccOp matmul) {
        return perWeightRow(qblock::getMatrixShape(qblock::getWholeOperand(matmul, matmul.getW()).getType())[0]);
      })
      .Case([&](qblock::GroupedMatmulAccOp matmul) {
        ArrayRef<int64_t> w = qblock::getMatrixShape(qblock::getWholeOperand(matmul, matmul.getW()).getType());
        return Plan{kThreads, w[0] * ((w[1] + kGroupedBlockRows - 1) / kGroupedBlockRows)};
      })
      .Case(
          [&](deepseek::MlaExpandOp expand) { return perWeightRow(static_cast<int64_t>(expand.getHeads() * expand.getVDim())); })
      .Case<deepseek::MlaAbsorbOp, deepseek::MlaCoreOp>(
          [&](auto mla) { return Plan{kThreads, rows * SizeExpr(static_cast<int64_t>(mla.getHeads()))}; })
      .Case([&](rows::RowOpInterface row) {
        auto [threads, grid] = rowGrid(row, rows);
        return Plan{threads, grid};
      })
      .Case([&](deepseek::MoeDispatchOp dispatch) {
        int64_t experts = cast<RankedTensorType>(dispatch.getOffsets().getType()).getDimSize(0) - 1;
        return Plan{std::min<int64_t>((experts + kWarpLanes - 1) / kWarpLanes * kWarpLanes, 1024), 1};
      })
      .Default([&](Operation *) { return Plan{kThreads, rows}; });
}

//===----------------------------------------------------------------------===//
// Kernels
//===----------------------------------------------------------------------===//

static Result<void> emit(SimtContext &context, Operation *op) {
  return llvm::TypeSwitch<Operation *, Result<void>>(op)
      .Case([&](qblock::MatmulAccOp matmul) {
        return emitMatmul(context, qblock::getWholeOperand(matmul, matmul.getX()),
                          qblock::getWholeOperand(matmul, matmul.getW()));
      })
      .Case([&](qblock::GroupedMatmulAccOp matmul) { return emitGroupedMatmul(context, matmul); })
      .Case([&](rows::RowOpInterface row) { return emitRowOp(context, row); })
      .Case([&](deepseek::MlaAbsorbOp absorb) { return emitMlaAbsorb(context, absorb); })
      .Case([&](deepseek::MlaCoreOp core) { return emitMlaCore(context, core); })
      .Case([&](deepseek::MlaExpandOp expand) { return emitMlaExpand(context, expand); })
      .Case([&](deepseek::MoeDispatchOp dispatch) { return emitMoeDispatch(context, dispatch); })
      .Default([](Operation *other) { return fail("there is no kernel for " + other->getName().getStringRef().str()); });
}

Result<LaunchRecipe> buildSimt(gpu::GPUModuleOp gpuModule, func::FuncOp kernel) {
  auto op = dyn_cast_or_null<KernelOpInterface>(getComputedOp(kernel));
  if (!op)
    return fail("the kernel computes nothing that has a lowering");
  Plan plan = planOf(kernel, op);
  SimtSpec spec;
  spec.name = kernel.getSymName().str();
  spec.threads = plan.threads;
  spec.grid = plan.grid;
  spec.operands = operandsOf(kernel, op);
  spec.sizes = {Dim::Tokens, Dim::Position, Dim::Outputs};
  return buildSimtKernel(gpuModule, spec, [&](SimtBuilder &b, ArrayRef<Value> pointers, ArrayRef<Value> sizes) {
    KernelOperands operands(kernel, op, pointers, sizes);
    SimtContext context{b, operands};
    return emit(context, op);
  });
}

} // namespace quant::nvvm
