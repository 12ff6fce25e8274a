//===- LowerSimt.cpp - from an outlined kernel to a SIMT kernel --------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "lowering/target/sm90/simt/LowerSimt.h"

#include "dialects/program/Program.h"
#include "lowering/target/sm90/simt/SimtKernels.h"

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
  constexpr int64_t kMultiple = abi::kKMajorRowMultiple;
  operand.shape = {operand.shape.back(), SizeExpr(kMultiple) * SizeExpr::ceilDiv(rows, kMultiple)};
  return operand;
}

static bool writes(KernelOpInterface op, Value argument) {
  return llvm::any_of(op->getOpOperands(),
                      [&](OpOperand &operand) { return operand.get() == argument && op.writesTo(operand.getOperandNumber()); });
}

/// Arguments, then results: the order in which a dispatch has them.
static std::vector<Operand> operandsOf(func::FuncOp kernel, KernelOpInterface op) {
  std::vector<Operand> operands;
  auto add = [&](const std::string &name, Type type, std::optional<program::Dim> size, bool written) {
    operands.push_back(operandOf(name, cast<ShapedType>(type), size.value_or(program::Dim::Tokens), written));
    operands.back().from = {static_cast<int>(operands.size()) - 1};
  };
  for (auto [index, type] : llvm::enumerate(kernel.getArgumentTypes()))
    add("in" + std::to_string(index), type, program::getArgumentDim(kernel, index), writes(op, kernel.getArgument(index)));
  for (auto [index, type] : llvm::enumerate(kernel.getResultTypes()))
    add("out" + std::to_string(index), type, program::getResultDim(kernel, index), true);
  return operands;
}

//===----------------------------------------------------------------------===//
// Grids
//===----------------------------------------------------------------------===//

static constexpr int64_t kThreads = 128;

/// A block for each tile of a matmul.
static SimtGrid perTile(Operation *, func::FuncOp kernel, const SizeExpr &) {
  return {kThreads, kernel->getAttrOfType<AffineMapAttr>(program::kGridAttr).getValue().getSingleConstantResult()};
}

/// A block for each row and head.
template <typename Op>
SimtGrid perHead(Op mla, func::FuncOp, const SizeExpr &rows) {
  return {kThreads, rows * SizeExpr(static_cast<int64_t>(mla.getHeads()))};
}

/// A warp for each value of a head.
static SimtGrid perValue(deepseek::MlaExpandOp expand, func::FuncOp, const SizeExpr &) {
  return {kThreads, llvm::divideCeil(static_cast<int64_t>(expand.getHeads() * expand.getVDim()), kThreads / kWarpLanes)};
}

//===----------------------------------------------------------------------===//
// Kernels
//===----------------------------------------------------------------------===//

namespace {

/// An op's grid and emitter.
template <typename Op, auto grid, auto emit>
struct Emitter : SimtKernelInterface::ExternalModel<Emitter<Op, grid, emit>, Op> {
  SimtGrid getGrid(Operation *op, func::FuncOp kernel, const SizeExpr &rows) const { return grid(cast<Op>(op), kernel, rows); }
  Result<void> emitBlock(Operation *op, SimtContext &context) const { return emit(context, cast<Op>(op)); }
};

} // namespace

template <typename Op, auto grid, auto emit>
static void attach(MLIRContext *context) {
  Op::template attachInterface<Emitter<Op, grid, emit>>(*context);
}

void registerSimtKernels(DialectRegistry &registry) {
  registry.addExtension(+[](MLIRContext *context, qblock::QBlockDialect *) {
    attach<qblock::MatmulAccOp, perTile, emitMatmul>(context);
    attach<qblock::GroupedMatmulAccOp, perTile, emitMatmul>(context);
  });
  registry.addExtension(+[](MLIRContext *context, deepseek::DeepSeekDialect *) {
    attach<deepseek::MlaAbsorbOp, perHead<deepseek::MlaAbsorbOp>, emitMlaAbsorb>(context);
    attach<deepseek::MlaCoreOp, perHead<deepseek::MlaCoreOp>, emitMlaCore>(context);
    attach<deepseek::MlaExpandOp, perValue, emitMlaExpand>(context);
  });
}

Result<LaunchRecipe> buildSimt(gpu::GPUModuleOp gpuModule, func::FuncOp kernel) {
  auto op = dyn_cast_or_null<KernelOpInterface>(getComputedOp(kernel));
  if (!op)
    return fail("the kernel computes nothing that has a lowering");
  auto row = dyn_cast<rows::RowOpInterface>(op.getOperation());
  auto own = dyn_cast<SimtKernelInterface>(op.getOperation());
  if (!row && !own)
    return fail("there is no kernel for " + op->getName().getStringRef().str());
  SizeExpr rows = dimOf(program::getRowDim(kernel));
  SimtGrid grid = row ? rowGrid(row, rows) : own.getGrid(kernel, rows);
  LaunchRecipe recipe;
  recipe.kernel = kernel.getSymName().str();
  recipe.block = {grid.threads, 1, 1};
  recipe.grid = grid.blocks;
  recipe.operands = operandsOf(kernel, op);
  auto body = [&](SimtBuilder &b, ArrayRef<Value> pointers, ArrayRef<Value> sizes) {
    KernelOperands operands(kernel, op, pointers, sizes[0], sizes[1]);
    SimtContext context{b, operands};
    return row ? emitRowOp(context, row) : own.emitBlock(context);
  };
  return buildSimtKernel(gpuModule, recipe, {Dim::Tokens, Dim::Outputs}, body);
}

} // namespace quant::nvvm

#include "lowering/target/sm90/simt/SimtKernels.cpp.inc"
