//===- ProgramJson.cpp - a dispatched module as JSON ----------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "lowering/module/ProgramJson.h"

#include "dialects/program/Program.h"
#include "dialects/qblock/QBlock.h"
#include "runtime/abi/kernel_abi.h"
#include "runtime/abi/module_format.h"
#include "runtime/abi/size_expr.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/AffineExpr.h"

using namespace mlir;
using namespace quant;
using Json = nlohmann::ordered_json;

static std::string text(Type type) {
  std::string result;
  llvm::raw_string_ostream(result) << type;
  return result;
}

static abi::SizeExpr gridOf(AffineExpr expr) {
  if (auto constant = dyn_cast<AffineConstantExpr>(expr))
    return constant.getValue();
  if (auto dim = dyn_cast<AffineDimExpr>(expr))
    return static_cast<abi::Dim>(dim.getPosition());
  auto binary = cast<AffineBinaryOpExpr>(expr);
  abi::SizeExpr lhs = gridOf(binary.getLHS()), rhs = gridOf(binary.getRHS());
  if (expr.getKind() == AffineExprKind::Add)
    return lhs + rhs;
  return expr.getKind() == AffineExprKind::Mul ? lhs * rhs : abi::SizeExpr::ceilDiv(lhs, rhs);
}

/// The least of the map's results.
static abi::SizeExpr gridOf(AffineMap map) {
  abi::SizeExpr grid = gridOf(map.getResult(0));
  for (AffineExpr expr : map.getResults().drop_front())
    grid = abi::SizeExpr::min(grid, gridOf(expr));
  return grid;
}

/// The name of a leading dimension; empty where it is static.
static StringRef nameOf(std::optional<program::Dim> dim) { return dim ? program::stringifyDim(*dim) : StringRef(); }

static Json shapeJson(ArrayRef<int64_t> shape, StringRef dim) {
  Json result = Json::array();
  for (int64_t size : shape)
    if (ShapedType::isDynamic(size))
      result.push_back(dim);
    else
      result.push_back(size);
  return result;
}

static void addLayout(Json &json, Type type) {
  if (qblock::isKMajor(type))
    json["layout"] = qblock::stringifyScaleLayout(qblock::ScaleLayout::KMajor);
}

/// How a weight or group of weights is turned when it is loaded.
template <typename Op>
static void addTurning(Json &json, Op weight) {
  if (std::optional<StringRef> repack = weight.getRepack())
    json["repack"] = repack->str();
  if (std::optional<StringRef> order = weight.getOrder())
    json["order"] = order->str();
  if (std::optional<int64_t> groupSize = weight.getGroupSize())
    json["group_size"] = *groupSize;
}

/// What a kernel takes this argument as: the scales of a block-scaled tensor, its global scale, or something else (null).
static const char *roleOf(BlockArgument argument) {
  for (OpOperand &use : argument.getUses())
    if (auto assemble = dyn_cast<qblock::AssembleOp>(use.getOwner())) {
      if (&assemble.getScaleMutable() == &use)
        return "scale";
      if (assemble.getGlobal() == use.get())
        return "global_scale";
    }
  return nullptr;
}

/// The same of a dispatch's kernel. The loader checks such a weight's numbers.
static const char *roleOf(Value weight) {
  for (OpOperand &use : weight.getUses())
    if (auto dispatch = dyn_cast<program::DispatchOp>(use.getOwner())) {
      auto kernel = SymbolTable::lookupNearestSymbolFrom<func::FuncOp>(dispatch, dispatch.getKernelAttr());
      if (const char *role = roleOf(kernel.getArgument(use.getOperandNumber())))
        return role;
    }
  return nullptr;
}

namespace {

/// Numbers the values of a program and writes each one down.
class ProgramWriter {
public:
  ProgramWriter(func::FuncOp function, ModuleOp lowered) : function(function), lowered(lowered) {}

  Json write() {
    addInputs();
    for (Operation &op : function.getBody().front())
      add(&op);
    Json program;
    program["format"] = abi::kFormatVersion;
    program["dims"] = abi::kDimNames;
    auto limit = [&](StringRef name) { return function->getAttrOfType<IntegerAttr>(name).getInt(); };
    auto logits = cast<RankedTensorType>(function.getFunctionType().getResult(0));
    program["limits"] = {{"tokens", limit(program::kMaxTokensAttr)},
                         {"context", limit(program::kMaxContextAttr)},
                         {"vocab", logits.getDimSize(1)}};
    program["workspace_bytes"] = limit(program::kWorkspaceBytesAttr);
    program["values"] = std::move(values);
    program["dispatches"] = std::move(dispatches);
    return program;
  }

private:
  func::FuncOp function;
  ModuleOp lowered;
  Json values = Json::array(), dispatches = Json::array();
  llvm::DenseMap<Value, int64_t> ordinals;

  Json valueJson(StringRef name, StringRef kind, ShapedType type, StringRef dim) {
    Json json = {
        {"name", name}, {"kind", kind}, {"dtype", text(type.getElementType())}, {"shape", shapeJson(type.getShape(), dim)}};
    addLayout(json, type);
    return json;
  }

  void record(Value value, Json json) {
    ordinals[value] = values.size();
    values.push_back(std::move(json));
  }

  void recordWeight(Value value, Json json) {
    if (const char *role = roleOf(value))
      json["role"] = role;
    record(value, std::move(json));
  }

  void addInputs() {
    for (BlockArgument argument : function.getArguments()) {
      unsigned index = argument.getArgNumber();
      auto name = function.getArgAttrOfType<StringAttr>(index, program::kNameAttr);
      record(argument, valueJson(name ? name.str() : "input" + std::to_string(index), "input",
                                 cast<ShapedType>(argument.getType()), nameOf(program::getArgumentDim(function, index))));
    }
  }

  void add(Operation *op) {
    if (auto weight = dyn_cast<program::WeightOp>(op)) {
      Json json = valueJson(weight.getName(), "weight", cast<ShapedType>(weight.getType()), "");
      if (ArrayAttr aliases = weight.getAliasesAttr())
        for (Attribute alias : aliases)
          json["aliases"].push_back(cast<StringAttr>(alias).getValue());
      addTurning(json, weight);
      recordWeight(weight, std::move(json));
    } else if (auto group = dyn_cast<program::WeightGroupOp>(op)) {
      auto type = cast<RankedTensorType>(group.getType());
      auto single = RankedTensorType::get(type.getShape().drop_front(), type.getElementType());
      Json json = valueJson(group.getName(), "weight_group", single, "");
      json["count"] = type.getDimSize(0);
      addTurning(json, group);
      recordWeight(group, std::move(json));
    } else if (auto cache = dyn_cast<program::CacheOp>(op)) {
      record(cache, valueJson(cache.getName(), "cache", cast<ShapedType>(cache.getType()), "context"));
    } else if (auto dispatch = dyn_cast<program::DispatchOp>(op)) {
      addDispatch(dispatch);
    }
  }

  AffineMap loweredGrid(StringRef kernel) {
    return lowered.lookupSymbol<func::FuncOp>(kernel)->getAttrOfType<AffineMapAttr>(program::kGridAttr).getValue();
  }

  /// What the caller knows a result of the program by.
  std::string outputName(Value value) {
    Operation *end = function.getBody().front().getTerminator();
    auto index = static_cast<unsigned>(llvm::find(end->getOperands(), value) - end->operand_begin());
    auto name = function.getResultAttrOfType<StringAttr>(index, program::kNameAttr);
    return name ? name.str() : "logits";
  }

  void addDispatch(program::DispatchOp dispatch) {
    auto kernel = SymbolTable::lookupNearestSymbolFrom<func::FuncOp>(dispatch, dispatch.getKernelAttr());
    Json operands = Json::array();
    for (Value operand : dispatch.getOperands())
      operands.push_back(ordinals.lookup(operand));
    for (OpResult result : dispatch->getResults()) {
      StringRef dim = nameOf(program::getResultDim(kernel, result.getResultNumber()));
      int64_t offset = (*dispatch.getPlacement())[result.getResultNumber()];
      std::string name = offset < 0 ? outputName(result) : "v" + std::to_string(values.size());
      Json json = valueJson(name, offset < 0 ? "output" : "workspace", cast<ShapedType>(result.getType()), dim);
      if (offset >= 0)
        json["offset"] = offset;
      operands.push_back(values.size());
      record(result, std::move(json));
    }
    dispatches.push_back({{"kernel", dispatch.getKernel()},
                          {"grid", gridOf(loweredGrid(dispatch.getKernel())).toJson()},
                          {"operands", operands},
                          {"label", dispatch.getLabel()}});
  }
};

} // namespace

Json quant::programJson(ModuleOp module, StringRef name, ModuleOp lowered) {
  auto function = module.lookupSymbol<func::FuncOp>(name);
  return function ? ProgramWriter(function, lowered).write() : Json();
}

/// What a kernel's code was made for. A static tensor of rank 3 is a group of weights: a table of pointers.
static Json operandJson(ShapedType type, StringRef access, std::optional<program::Dim> dim) {
  Json operand = {{"dtype", text(type.getElementType())}, {"access", access}};
  ArrayRef<int64_t> shape = type.getShape();
  if (type.hasStaticShape() && shape.size() == 3) {
    operand["count"] = shape.front();
    shape = shape.drop_front();
  }
  operand["shape"] = shapeJson(shape, nameOf(dim));
  addLayout(operand, type);
  return operand;
}

static Json operandsJson(func::FuncOp kernel) {
  Json operands = Json::array();
  for (auto [index, type] : llvm::enumerate(kernel.getArgumentTypes()))
    operands.push_back(operandJson(cast<ShapedType>(type), isa<MemRefType>(type) ? "readwrite" : "read",
                                   program::getArgumentDim(kernel, index)));
  for (auto [index, type] : llvm::enumerate(kernel.getResultTypes()))
    operands.push_back(operandJson(cast<ShapedType>(type), "write", program::getResultDim(kernel, index)));
  return operands;
}

/// What computes a kernel, and why it is not something faster where its schedule tells.
static void addSchedule(func::FuncOp kernel, Json &json) {
  SmallVector<program::ScheduleAttr> schedules = program::getSchedules(kernel);
  if (schedules.empty())
    return;
  json["unit"] = schedules.front().getUnit().str();
  if (schedules.size() == 1 && schedules.front().getWhy())
    json["why"] = schedules.front().getWhy().str();
}

Json quant::kernelsJson(ModuleOp module, ModuleOp lowered, const Target &target) {
  Json kernels = Json::array();
  for (func::FuncOp kernel : module.getOps<func::FuncOp>()) {
    if (!kernel->hasAttr(program::kGridAttr))
      continue;
    auto loweredKernel = lowered.lookupSymbol<func::FuncOp>(kernel.getSymName());
    Json json = {{"name", kernel.getSymName()}};
    json.update(target.describeKernel(loweredKernel));
    addSchedule(loweredKernel, json);
    json["operands"] = operandsJson(kernel);
    kernels.push_back(std::move(json));
  }
  return kernels;
}
