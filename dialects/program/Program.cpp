//===- Program.cpp - the compiled model: verifiers and effects ------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "dialects/program/Program.h"

#include "dialects/program/LaunchAttr.h"
#include "runtime/abi/kernel_abi.h"
#include "runtime/abi/repack.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/DialectImplementation.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace quant;
using namespace quant::program;

static_assert(kNumDims == quant::abi::kNumDims, "the dims of the IR are those of the kernel ABI");

#include "dialects/program/ProgramDialect.cpp.inc"
#include "dialects/program/ProgramEnums.cpp.inc"

#define GET_ATTRDEF_CLASSES
#include "dialects/program/ProgramAttrs.cpp.inc"

#define GET_OP_CLASSES
#include "dialects/program/ProgramOps.cpp.inc"

void ProgramDialect::initialize() {
  addOperations<
#define GET_OP_LIST
#include "dialects/program/ProgramOps.cpp.inc"
      >();
  addAttributes<
#define GET_ATTRDEF_LIST
#include "dialects/program/ProgramAttrs.cpp.inc"
      >();
}

/// `shape` is one tensor's.
static LogicalResult verifyRepack(Operation *op, std::optional<StringRef> repack, ArrayRef<int64_t> shape) {
  if (!repack)
    return success();
  Result<Repack> known = parseRepack(*repack);
  if (!known)
    return op->emitOpError("repack: ") << known.error().message;
  std::string element;
  llvm::raw_string_ostream(element) << cast<ShapedType>(op->getResult(0).getType()).getElementType();
  std::optional<DType> dtype = fromMlirName(element);
  if (shape.size() != 2 || !dtype)
    return op->emitOpError("repack gives rows and columns of a tensor, not ") << op->getResult(0).getType();
  if (auto stored = storedShape(*known, *dtype, shape[0], shape[1]); !stored)
    return op->emitOpError("repack: ") << stored.error().message;
  return success();
}

/// `group_size` is for a column_order alone, and columns that are sorted are of rows.
static LogicalResult verifyOrder(Operation *op, std::optional<StringRef> repack, std::optional<StringRef> order,
                                 std::optional<int64_t> groupSize, ArrayRef<int64_t> shape) {
  bool isOrder = repack && *repack == StringRef(quant::name(Repack::ColumnOrder));
  if (isOrder != groupSize.has_value() || (groupSize && *groupSize < 1))
    return op->emitOpError("a column_order has a group_size above 0, nothing else has one");
  if (order && (isOrder || order->empty() || shape.empty() || shape.size() > 2))
    return op->emitOpError("order is the name of the tensor by whose groups columns of rows are sorted, not of ")
           << op->getResult(0).getType();
  return success();
}

LogicalResult WeightOp::verify() {
  if (getName().empty())
    return emitOpError("needs the tensor's name in the checkpoint");
  ArrayRef<int64_t> shape = cast<RankedTensorType>(getType()).getShape();
  if (failed(verifyOrder(*this, getRepack(), getOrder(), getGroupSize(), shape)))
    return failure();
  return verifyRepack(*this, getRepack(), shape);
}

LogicalResult WeightGroupOp::verify() {
  if (getName().count("{}") != 1)
    return emitOpError("name must hold '{}' once, where the index goes: \"") << getName() << "\"";
  if (cast<RankedTensorType>(getType()).getRank() < 2)
    return emitOpError("result needs a leading dimension that counts the tensors, not ") << getType();
  if (getOrder() && getOrder()->count("{}") != 1)
    return emitOpError("order must hold '{}' once, as the name does: \"") << *getOrder() << "\"";
  ArrayRef<int64_t> shape = cast<RankedTensorType>(getType()).getShape().drop_front();
  if (failed(verifyOrder(*this, getRepack(), getOrder(), getGroupSize(), shape)))
    return failure();
  return verifyRepack(*this, getRepack(), shape);
}

LogicalResult DispatchOp::verifySymbolUses(SymbolTableCollection &symbols) {
  auto kernel = symbols.lookupNearestSymbolFrom<func::FuncOp>(*this, getKernelAttr());
  if (!kernel)
    return emitOpError("there is no kernel ") << getKernelAttr();
  // A lowered kernel takes the table of addresses of the host ABI.
  if (kernel->hasAttr(kScratchBytesAttr))
    return success();
  FunctionType type = kernel.getFunctionType();
  if (TypeRange(type.getInputs()) != getOperandTypes() || TypeRange(type.getResults()) != getResultTypes()) {
    InFlightDiagnostic error = emitOpError("does not fit the kernel ") << getKernelAttr() << " of type " << type;
    error.attachNote(kernel.getLoc()) << "the kernel is here";
    return error;
  }
  if (getPlacement() && getPlacement()->size() != getNumResults())
    return emitOpError("placement has ") << getPlacement()->size() << " offsets for " << getNumResults() << " results";
  return success();
}

void DispatchOp::getEffects(SmallVectorImpl<SideEffects::EffectInstance<MemoryEffects::Effect>> &effects) {
  for (OpOperand &operand : (*this)->getOpOperands())
    if (isa<MemRefType>(operand.get().getType())) {
      effects.emplace_back(MemoryEffects::Read::get(), &operand);
      effects.emplace_back(MemoryEffects::Write::get(), &operand);
    }
}

//===----------------------------------------------------------------------===//
// Attributes of functions and modules
//===----------------------------------------------------------------------===//

static std::optional<Dim> dimOf(Attribute attribute) {
  auto dim = dyn_cast_or_null<DimAttr>(attribute);
  return dim ? std::optional<Dim>(dim.getValue()) : std::nullopt;
}

std::optional<Dim> quant::program::getArgumentDim(FunctionOpInterface function, unsigned index) {
  return dimOf(function.getArgAttr(index, kDimAttr));
}

std::optional<Dim> quant::program::getResultDim(FunctionOpInterface function, unsigned index) {
  return dimOf(function.getResultAttr(index, kDimAttr));
}

Dim quant::program::getRowDim(FunctionOpInterface kernel) {
  std::optional<Dim> dim;
  if (kernel.getNumResults() > 0)
    dim = getResultDim(kernel, 0);
  else if (kernel.getNumArguments() > 0)
    dim = getArgumentDim(kernel, 0);
  return dim.value_or(Dim::Tokens);
}

SmallVector<ScheduleAttr> quant::program::getSchedules(Operation *kernel) {
  Attribute attribute = kernel->getAttr(kScheduleAttr);
  if (auto list = dyn_cast_or_null<ArrayAttr>(attribute))
    return llvm::to_vector(list.getAsRange<ScheduleAttr>());
  if (auto one = dyn_cast_or_null<ScheduleAttr>(attribute))
    return {one};
  return {};
}

static LogicalResult verifyValueAttribute(Operation *op, NamedAttribute attribute, Type type) {
  if (attribute.getName() == kNameAttr) {
    if (isa<StringAttr>(attribute.getValue()))
      return success();
    return op->emitOpError("program.name must be a string, not ") << attribute.getValue();
  }
  if (attribute.getName() != kDimAttr)
    return op->emitOpError("there is no attribute '") << attribute.getName().getValue() << "' of arguments and results";
  if (!isa<DimAttr>(attribute.getValue()))
    return op->emitOpError("program.dim must be one of #program.dim<tokens>, <sequences>, <outputs>, <context>, not ")
           << attribute.getValue();
  auto shaped = dyn_cast<ShapedType>(type);
  if (!shaped || !shaped.hasRank() || shaped.getRank() == 0)
    return op->emitOpError("program.dim is of a leading dimension, not of ") << type;
  return success();
}

LogicalResult ProgramDialect::verifyRegionArgAttribute(Operation *op, unsigned, unsigned index, NamedAttribute attribute) {
  auto function = dyn_cast<FunctionOpInterface>(op);
  if (!function)
    return op->emitOpError("is no function: it has no program.dim");
  return verifyValueAttribute(op, attribute, function.getArgumentTypes()[index]);
}

LogicalResult ProgramDialect::verifyRegionResultAttribute(Operation *op, unsigned, unsigned index, NamedAttribute attribute) {
  auto function = dyn_cast<FunctionOpInterface>(op);
  if (!function)
    return op->emitOpError("is no function: it has no program.dim");
  return verifyValueAttribute(op, attribute, function.getResultTypes()[index]);
}

/// One schedule for every number of rows, or several that follow each other from 1 on.
static LogicalResult verifySchedules(Operation *op, Attribute attribute) {
  if (auto one = dyn_cast<ScheduleAttr>(attribute)) {
    if (one.getM())
      return op->emitOpError("program.schedule: the only schedule of a kernel is for every M");
    return success();
  }
  auto list = dyn_cast<ArrayAttr>(attribute);
  if (!list || list.empty() || !llvm::all_of(list, llvm::IsaPred<ScheduleAttr>))
    return op->emitOpError("program.schedule must be a #program.schedule<...> or a list of them, not ") << attribute;
  int64_t next = 1;
  for (auto schedule : list.getAsRange<ScheduleAttr>()) {
    if (!schedule.getM() || schedule.getM()[0] != next)
      return op->emitOpError("program.schedule: the schedules must be for M from 1 on without a gap; one for M = ")
             << next << " is missing before " << schedule;
    next = schedule.getM()[1] + 1;
  }
  return success();
}

LogicalResult ProgramDialect::verifyOperationAttribute(Operation *op, NamedAttribute attribute) {
  StringRef name = attribute.getName().getValue();
  Attribute value = attribute.getValue();
  if (name == kScheduleAttr)
    return verifySchedules(op, value);
  if (name == kLaunchAttr)
    return verifyLaunch(op, value);
  if (name == kGridAttr) {
    auto map = dyn_cast<AffineMapAttr>(value);
    if (map && map.getValue().getNumDims() == kNumDims && map.getValue().getNumSymbols() == 0)
      return success();
    return op->emitOpError("program.grid must be an affine map of (tokens, sequences, outputs, context), not ") << value;
  }
  if (llvm::is_contained({kWorkspaceBytesAttr, kMaxTokensAttr, kMaxContextAttr, kScratchBytesAttr}, name)) {
    auto number = dyn_cast<IntegerAttr>(value);
    if (number && number.getType().isInteger(64) && !number.getValue().isNegative())
      return success();
    return op->emitOpError() << name << " must be an i64 that is not negative, not " << value;
  }
  if (name == kUnsupportedAttr && !isa<StringAttr>(value))
    return op->emitOpError() << name << " must be a string, not " << value;
  // What stages there are is the pipelines' business: they read the mark.
  if (name == kUnsupportedAttr || name == kStageAttr)
    return success();
  return op->emitOpError("there is no attribute '") << name << "'";
}

//===----------------------------------------------------------------------===//
// #program.schedule
//===----------------------------------------------------------------------===//

ArrayRef<int64_t> ScheduleAttr::getTile() const {
  auto tile = getParameters().getAs<DenseI64ArrayAttr>("tile");
  return tile ? tile.asArrayRef() : ArrayRef<int64_t>();
}

LogicalResult ScheduleAttr::verify(function_ref<InFlightDiagnostic()> emitError, StringAttr unit, DenseI64ArrayAttr m,
                                   DictionaryAttr parameters, StringAttr, StringAttr) {
  if (unit.empty())
    return emitError() << "a schedule must name its unit";
  if (m && (m.size() != 2 || m[0] < 0 || m[1] < m[0]))
    return emitError() << "m must be [first, last], not " << m;
  Attribute tile = parameters.get("tile");
  auto sizes = dyn_cast_or_null<DenseI64ArrayAttr>(tile);
  bool isTile = sizes && sizes.size() == 3 && llvm::all_of(sizes.asArrayRef(), [](int64_t size) { return size >= 0; });
  if (tile && !isTile)
    return emitError() << "tile must be array<i64: M, N, K> with 0 for all of a dimension, not " << tile;
  return success();
}

static ParseResult parseRange(AsmParser &parser, DenseI64ArrayAttr &range) {
  SmallVector<int64_t> bounds;
  auto parseBound = [&] { return parser.parseInteger(bounds.emplace_back()); };
  if (parser.parseEqual() || parser.parseCommaSeparatedList(AsmParser::Delimiter::Square, parseBound))
    return failure();
  range = DenseI64ArrayAttr::get(parser.getContext(), bounds);
  return success();
}

Attribute ScheduleAttr::parse(AsmParser &parser, Type) {
  MLIRContext *context = parser.getContext();
  DenseI64ArrayAttr m;
  DictionaryAttr parameters = DictionaryAttr::get(context);
  StringAttr why, next;
  StringRef unit;
  SMLoc location = parser.getCurrentLocation();
  if (parser.parseLess() || parser.parseKeyword(&unit))
    return {};
  while (succeeded(parser.parseOptionalComma())) {
    ParseResult parsed = success();
    if (succeeded(parser.parseOptionalKeyword("m")))
      parsed = parseRange(parser, m);
    else if (succeeded(parser.parseOptionalKeyword("why")))
      parsed = failure(parser.parseEqual() || parser.parseAttribute(why));
    else if (succeeded(parser.parseOptionalKeyword("next")))
      parsed = failure(parser.parseEqual() || parser.parseAttribute(next));
    else
      parsed = parser.parseAttribute(parameters);
    if (failed(parsed))
      return {};
  }
  if (parser.parseGreater())
    return {};
  return getChecked([&] { return parser.emitError(location); }, context, StringAttr::get(context, unit), m, parameters, why,
                    next);
}

void ScheduleAttr::print(AsmPrinter &printer) const {
  printer << '<' << getUnit().getValue();
  if (getM())
    printer << ", m = [" << getM()[0] << ", " << getM()[1] << ']';
  if (!getParameters().empty())
    printer << ", " << getParameters();
  if (getWhy())
    printer << ", why = " << getWhy();
  if (getNext())
    printer << ", next = " << getNext();
  printer << '>';
}
