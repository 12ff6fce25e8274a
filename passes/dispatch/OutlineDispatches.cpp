//===- OutlineDispatches.cpp - kernels and a program ----------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "dialects/deepseek/DeepSeek.h"
#include "dialects/program/Program.h"
#include "passes/Passes.h"
#include "passes/dispatch/Programs.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/IRMapping.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"
#include "llvm/ADT/SetVector.h"
#include "llvm/ADT/StringMap.h"

namespace quant {
#define GEN_PASS_DEF_OUTLINEDISPATCHES
#include "passes/Passes.h.inc"
} // namespace quant

using namespace mlir;
using namespace quant;

namespace {

bool belongsToProgram(Operation *op) {
  return isa<program::WeightOp, program::WeightGroupOp, program::CacheOp, program::DispatchOp, func::ReturnOp>(op);
}

/// What a kernel is made of: the op that computes, the views it looks through, and the values that come from outside.
struct Candidate {
  Operation *root;
  llvm::SetVector<Operation *> views; // in program order
  llvm::SetVector<Value> inputs;

  explicit Candidate(Operation *root) : root(root) {
    for (Value operand : root->getOperands())
      collect(operand);
  }

private:
  void collect(Value value) {
    Operation *producer = value.getDefiningOp();
    if (!producer || !isa<ViewOpInterface>(producer)) {
      inputs.insert(value);
      return;
    }
    for (Value operand : producer->getOperands())
      collect(operand);
    views.insert(producer);
  }
};

/// The first name on a location, which the model builder sets to "layer 3 mlp.gate_proj".
StringRef labelOf(Location loc) {
  if (auto name = dyn_cast<NameLoc>(loc))
    return name.getName();
  if (auto fused = dyn_cast<FusedLoc>(loc))
    for (Location part : fused.getLocations())
      if (StringRef label = labelOf(part); !label.empty())
        return label;
  return {};
}

/// `rms_norm_7168`, `matmul_f8E4M3FN_576x7168`: what it does, on which weight or result.
std::string kernelName(KernelOpInterface root) {
  std::string name = root->getName().stripDialect().str();
  llvm::raw_string_ostream out(name);
  Type type = root.getNamedType();
  if (auto block = dyn_cast<qblock::BlockTensorType>(type))
    out << "_" << block.getStorageType();
  else if (!cast<ShapedType>(type).getElementType().isF32())
    out << "_" << cast<ShapedType>(type).getElementType();
  char separator = '_';
  for (int64_t size : qblock::getMatrixShape(type)) {
    if (ShapedType::isDynamic(size))
      continue;
    out << separator << size;
    separator = 'x';
  }
  return name;
}

/// Which run-time size a value's dynamic leading dimension is.
class DimsOfValues {
public:
  using Dim = program::Dim;

  explicit DimsOfValues(func::FuncOp function) {
    for (BlockArgument argument : function.getArguments())
      if (std::optional<Dim> dim = program::getArgumentDim(function, argument.getArgNumber()))
        dims[argument] = dim;
  }

  void set(Value value, std::optional<Dim> dim) { dims[value] = dim; }

  std::optional<Dim> of(Value value) {
    if (auto found = dims.find(value); found != dims.end())
      return found->second;
    if (isa<MemRefType>(value.getType()))
      return Dim::Context;
    Operation *op = value.getDefiningOp();
    if (!op || !hasDynamicRows(value.getType()))
      return std::nullopt;
    std::optional<Dim> dim = dimOfResults(op);
    for (Value operand : op->getOperands())
      if (!dim && hasDynamicRows(operand.getType()))
        dim = of(operand);
    return dims[value] = dim;
  }

private:
  llvm::DenseMap<Value, std::optional<Dim>> dims;

  /// What the op itself says of its results.
  static std::optional<Dim> dimOfResults(Operation *op) {
    auto kernel = dyn_cast<KernelOpInterface>(op);
    std::optional<StringRef> name = kernel ? kernel.getResultDim() : std::nullopt;
    return name ? program::symbolizeDim(*name) : std::nullopt;
  }

  static bool hasDynamicRows(Type type) {
    if (auto block = dyn_cast<qblock::BlockTensorType>(type))
      return ShapedType::isDynamic(block.getDimSize(0));
    auto tensor = dyn_cast<RankedTensorType>(type);
    return tensor && tensor.getRank() > 0 && tensor.isDynamicDim(0);
  }
};

/// A block-scaled result leaves a kernel as its codes and its scales.
SmallVector<Type> storageTypes(Type type) {
  if (auto block = dyn_cast<qblock::BlockTensorType>(type))
    return {block.getDataTensorType(), block.getScaleTensorType()};
  return {type};
}

struct OutlineDispatches : quant::impl::OutlineDispatchesBase<OutlineDispatches> {
  void runOnOperation() override {
    FailureOr<SmallVector<func::FuncOp>> programs = lookupPrograms(getOperation(), "outlining");
    if (failed(programs))
      return signalPassFailure();
    kernelsByBody.clear();
    kernelNames.clear();
    for (func::FuncOp function : *programs)
      if (failed(outlineAll(function)))
        return signalPassFailure();
  }

private:
  llvm::StringMap<func::FuncOp> kernelsByBody;
  llvm::StringMap<int> kernelNames;

  LogicalResult outlineAll(func::FuncOp function) {
    DimsOfValues dims(function);
    SmallVector<Operation *> roots;
    for (Operation &op : function.getBody().front())
      if (!isa<ViewOpInterface>(&op) && !belongsToProgram(&op))
        roots.push_back(&op);
    // Names of dimensions are read before the ops that carry them disappear.
    for (Operation *root : roots)
      for (Value result : root->getResults())
        dims.of(result);
    for (Operation *root : roots)
      if (failed(outline(root, dims)))
        return failure();
    eraseDeadViews(function);
    return success();
  }

  LogicalResult outline(Operation *root, DimsOfValues &dims) {
    Candidate candidate(root);
    KernelOpInterface op = getKernelOp(root);
    AffineExpr blocks = op ? gridOf(op, dims) : AffineExpr();
    if (!blocks)
      return root->emitError("no kernel can be made of ") << root->getName();
    func::FuncOp kernel = unique(buildKernel(candidate, dims, AffineMap::get(program::kNumDims, 0, blocks)), op);
    ++dispatches;
    OpBuilder builder(root);
    std::string label = labelOf(root->getLoc()).str();
    if (label.empty())
      label = root->getName().getStringRef().str();
    auto dispatch = program::DispatchOp::create(builder, root->getLoc(), kernel.getFunctionType().getResults(),
                                                kernel.getSymName(), candidate.inputs.getArrayRef(), label, nullptr);
    auto outputs = dispatch.getOutputs().begin();
    for (Value result : root->getResults()) {
      std::optional<program::Dim> dim = dims.of(result);
      if (auto block = dyn_cast<qblock::BlockTensorType>(result.getType())) {
        Value data = *outputs++, scale = *outputs++;
        dims.set(data, dim);
        dims.set(scale, dim);
        result.replaceAllUsesWith(qblock::AssembleOp::create(builder, root->getLoc(), block, data, scale, Value()));
      } else {
        dims.set(*outputs, dim);
        result.replaceAllUsesWith(*outputs++);
      }
    }
    root->erase();
    return success();
  }

  /// The blocks of a kernel: one for each of the op's rows, tokens if nothing counts them, unless the op says otherwise.
  static AffineExpr gridOf(KernelOpInterface op, DimsOfValues &dims) {
    Value rows = op.getCountedRows();
    program::Dim dim = (rows ? dims.of(rows) : std::nullopt).value_or(program::Dim::Tokens);
    return op.getGrid(getAffineDimExpr(static_cast<unsigned>(dim), op->getContext()), kDefaultTileRows);
  }

  /// A function of the candidate's inputs, not yet in the module.
  func::FuncOp buildKernel(Candidate &candidate, DimsOfValues &dims, AffineMap grid) {
    Operation *root = candidate.root;
    OpBuilder builder(root->getContext());
    SmallVector<Type> results;
    for (Value result : root->getResults())
      llvm::append_range(results, storageTypes(result.getType()));
    auto type = builder.getFunctionType(ValueRange(candidate.inputs.getArrayRef()).getTypes(), results);
    auto kernel = func::FuncOp::create(root->getLoc(), "kernel", type);
    kernel.setPrivate();
    kernel->setAttr(program::kGridAttr, AffineMapAttr::get(grid));
    Block *body = kernel.addEntryBlock();
    IRMapping mapping;
    for (auto [input, argument] : llvm::zip_equal(candidate.inputs, body->getArguments())) {
      mapping.map(input, argument);
      if (std::optional<program::Dim> dim = dims.of(input))
        kernel.setArgAttr(argument.getArgNumber(), program::kDimAttr, program::DimAttr::get(root->getContext(), *dim));
    }
    builder.setInsertionPointToStart(body);
    for (Operation *view : candidate.views)
      builder.clone(*view, mapping);
    Operation *compute = builder.clone(*root, mapping);
    SmallVector<Value> returned;
    for (auto [original, result] : llvm::zip_equal(root->getResults(), compute->getResults())) {
      size_t first = returned.size();
      if (isa<qblock::BlockTensorType>(result.getType()))
        llvm::append_range(
            returned, qblock::StorageOp::create(builder, root->getLoc(), storageTypes(result.getType()), result)->getResults());
      else
        returned.push_back(result);
      if (std::optional<program::Dim> dim = dims.of(original))
        for (size_t index = first; index < returned.size(); ++index)
          kernel.setResultAttr(index, program::kDimAttr, program::DimAttr::get(root->getContext(), *dim));
    }
    func::ReturnOp::create(builder, root->getLoc(), returned);
    return kernel;
  }

  /// The kernel already there that equals `kernel`, or `kernel` under a new name.
  func::FuncOp unique(func::FuncOp kernel, KernelOpInterface root) {
    std::string body;
    llvm::raw_string_ostream out(body);
    kernel->print(out);
    func::FuncOp &known = kernelsByBody[body];
    if (known) {
      kernel->erase();
      return known;
    }
    std::string base = kernelName(root), name = base;
    while (getOperation().lookupSymbol(name))
      name = base + "_" + std::to_string(++kernelNames[base]);
    kernel.setSymName(name);
    getOperation().push_back(kernel);
    ++kernels;
    return known = kernel;
  }

  static void eraseDeadViews(func::FuncOp function) {
    for (Operation &op : llvm::make_early_inc_range(llvm::reverse(function.getBody().front())))
      if (isOpTriviallyDead(&op))
        op.erase();
  }
};

} // namespace
