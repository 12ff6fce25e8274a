//===- OutlineDispatches.cpp - kernels and a program ----------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "dialects/deepseek/DeepSeek.h"
#include "dialects/program/Program.h"
#include "passes/Passes.h"
#include "passes/dispatch/Forward.h"
#include "passes/dispatch/Grid.h"

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

/// Ops that only look at data: they go into every kernel that uses them.
bool isView(Operation *op) {
  return isa<qblock::AssembleOp, qblock::StorageOp, qblock::ConcatOp, tensor::ExtractSliceOp, tensor::DimOp, arith::ExtFOp,
             arith::ConstantOp>(op);
}

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
    if (!producer || !isView(producer)) {
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
std::string kernelName(Operation *root) {
  std::string name = root->getName().stripDialect().str();
  llvm::raw_string_ostream out(name);
  Type type = root->getNumResults() ? root->getResult(0).getType() : root->getOperand(0).getType();
  if (auto matmul = dyn_cast<qblock::MatmulOp>(root))
    type = matmul.getW().getType();
  else if (auto grouped = dyn_cast<qblock::GroupedMatmulOp>(root))
    type = grouped.getW().getType();
  else if (auto dequantize = dyn_cast<qblock::DequantizeOp>(root))
    type = dequantize.getSource().getType();
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
class DimNames {
public:
  explicit DimNames(func::FuncOp forward) {
    for (BlockArgument argument : forward.getArguments())
      if (auto name = forward.getArgAttrOfType<StringAttr>(argument.getArgNumber(), program::kDimAttr))
        names[argument] = name;
  }

  void set(Value value, StringAttr name) { names[value] = name; }

  StringAttr of(Value value) {
    auto found = names.find(value);
    if (found != names.end())
      return found->second;
    Operation *op = value.getDefiningOp();
    MLIRContext *context = value.getContext();
    if (isa<MemRefType>(value.getType()))
      return StringAttr::get(context, "context");
    if (!op || !hasDynamicRows(value.getType()))
      return {};
    StringAttr name;
    if (isa<deepseek::LastTokensOp>(op))
      name = StringAttr::get(context, "outputs");
    else
      for (Value operand : op->getOperands())
        if (!name && hasDynamicRows(operand.getType()))
          name = of(operand);
    return names[value] = name;
  }

private:
  llvm::DenseMap<Value, StringAttr> names;

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
    FailureOr<func::FuncOp> forward = lookupForward(getOperation(), "outlining");
    if (failed(forward))
      return signalPassFailure();
    kernelsByBody.clear();
    kernelNames.clear();
    DimNames dims(*forward);
    SmallVector<Operation *> roots;
    for (Operation &op : forward->getBody().front())
      if (!isView(&op) && !belongsToProgram(&op))
        roots.push_back(&op);
    // Names of dimensions are read before the ops that carry them disappear.
    for (Operation *root : roots)
      for (Value result : root->getResults())
        dims.of(result);
    for (Operation *root : roots)
      if (failed(outline(root, dims)))
        return signalPassFailure();
    eraseDeadViews(*forward);
  }

private:
  llvm::StringMap<func::FuncOp> kernelsByBody;
  llvm::StringMap<int> kernelNames;

  LogicalResult outline(Operation *root, DimNames &dims) {
    Candidate candidate(root);
    Value rows = root->getNumResults() ? root->getResult(0) : root->getNumOperands() ? root->getOperand(0) : Value();
    FailureOr<AffineMap> grid = gridOf(root, rows ? dims.of(rows) : StringAttr());
    if (failed(grid))
      return root->emitError("no kernel can be made of ") << root->getName();
    func::FuncOp kernel = unique(buildKernel(candidate, dims, *grid), root);
    OpBuilder builder(root);
    std::string label = labelOf(root->getLoc()).str();
    if (label.empty())
      label = root->getName().getStringRef().str();
    auto dispatch = program::DispatchOp::create(builder, root->getLoc(), kernel.getFunctionType().getResults(),
                                                kernel.getSymName(), candidate.inputs.getArrayRef(), label, nullptr);
    auto outputs = dispatch.getOutputs().begin();
    for (Value result : root->getResults()) {
      StringAttr name = dims.of(result);
      if (auto block = dyn_cast<qblock::BlockTensorType>(result.getType())) {
        Value data = *outputs++, scale = *outputs++;
        dims.set(data, name);
        dims.set(scale, name);
        result.replaceAllUsesWith(qblock::AssembleOp::create(builder, root->getLoc(), block, data, scale, Value()));
      } else {
        dims.set(*outputs, name);
        result.replaceAllUsesWith(*outputs++);
      }
    }
    root->erase();
    return success();
  }

  /// A function of the candidate's inputs, not yet in the module.
  func::FuncOp buildKernel(Candidate &candidate, DimNames &dims, AffineMap grid) {
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
      if (StringAttr name = dims.of(input))
        kernel.setArgAttr(argument.getArgNumber(), program::kDimAttr, name);
    }
    builder.setInsertionPointToStart(body);
    for (Operation *view : candidate.views)
      builder.clone(*view, mapping);
    Operation *compute = builder.clone(*root, mapping);
    SmallVector<Value> returned;
    for (auto [original, result] : llvm::zip_equal(root->getResults(), compute->getResults())) {
      size_t first = returned.size();
      if (isa<qblock::BlockTensorType>(result.getType()))
        llvm::append_range(returned, qblock::StorageOp::create(builder, root->getLoc(), storageTypes(result.getType()), result)
                                         ->getResults());
      else
        returned.push_back(result);
      if (StringAttr name = dims.of(original))
        for (size_t index = first; index < returned.size(); ++index)
          kernel.setResultAttr(index, program::kDimAttr, name);
    }
    func::ReturnOp::create(builder, root->getLoc(), returned);
    return kernel;
  }

  /// The kernel already there that equals `kernel`, or `kernel` under a new name.
  func::FuncOp unique(func::FuncOp kernel, Operation *root) {
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
    return known = kernel;
  }

  static void eraseDeadViews(func::FuncOp forward) {
    for (Operation &op : llvm::make_early_inc_range(llvm::reverse(forward.getBody().front())))
      if (isOpTriviallyDead(&op))
        op.erase();
  }
};

} // namespace
