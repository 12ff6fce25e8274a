//===- QBlockTypes.cpp - the type of block-scaled tensors -----------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "dialects/qblock/QBlock.h"

#include "mlir/IR/Builders.h"
#include "mlir/IR/DialectImplementation.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace quant::qblock;

#define GET_TYPEDEF_CLASSES
#include "dialects/qblock/QBlockTypes.cpp.inc"

void QBlockDialect::registerTypes() {
  addTypes<
#define GET_TYPEDEF_LIST
#include "dialects/qblock/QBlockTypes.cpp.inc"
      >();
}

int64_t BlockTensorType::getBlockExtent(int64_t dim) const {
  return ShapedType::isDynamic(getBlock()[dim]) ? getShape()[dim] : getBlock()[dim];
}

SmallVector<int64_t> BlockTensorType::getScaleShape() const {
  SmallVector<int64_t> scales;
  for (auto [size, extent] : llvm::zip_equal(getShape(), getBlock())) {
    if (ShapedType::isDynamic(extent))
      scales.push_back(1);
    else
      scales.push_back(ShapedType::isDynamic(size) && extent != 1 ? ShapedType::kDynamic
                       : extent == 1                              ? size
                                                                  : llvm::divideCeil(size, extent));
  }
  return scales;
}

RankedTensorType BlockTensorType::getDataTensorType() const { return RankedTensorType::get(getShape(), getStorageType()); }
RankedTensorType BlockTensorType::getScaleTensorType() const {
  Attribute layout = getKMajorScales() ? ScaleLayoutAttr::get(getContext(), ScaleLayout::KMajor) : ScaleLayoutAttr();
  return RankedTensorType::get(getScaleShape(), getScaleType(), layout);
}
RankedTensorType BlockTensorType::getZeroTensorType() const {
  return hasZeroPoint() ? RankedTensorType::get(getScaleShape(), getZeroType()) : RankedTensorType();
}

RankedTensorType BlockTensorType::getGlobalTensorType() const {
  if (!hasGlobalScale())
    return {};
  SmallVector<int64_t> shape(getShape());
  for (int64_t &size : MutableArrayRef(shape).take_back(2))
    size = 1;
  return RankedTensorType::get(shape, getGlobalType());
}

BlockTensorType BlockTensorType::cloneWithShape(ArrayRef<int64_t> shape) const { return cloneWith(shape, getBlock()); }

BlockTensorType BlockTensorType::cloneWith(ArrayRef<int64_t> shape, ArrayRef<int64_t> block) const {
  return BlockTensorType::get(shape, getStorageType(), block, getScaleType(), getZeroType(), getKMajorScales(), getZeroConstant(),
                              getGlobalType());
}

/// f8E4M3FN, f8E5M2, f4E2M1FN, and integers of 8 and 4 bits, without a sign or unsigned.
static bool isStorage(Type type) {
  auto integer = dyn_cast<IntegerType>(type);
  return isa<Float8E4M3FNType, Float8E5M2Type, Float4E2M1FNType>(type) ||
         (integer && !integer.isSigned() && (integer.getWidth() == 8 || integer.getWidth() == 4));
}

LogicalResult BlockTensorType::verify(function_ref<InFlightDiagnostic()> emitError, ArrayRef<int64_t> shape, Type storage,
                                      ArrayRef<int64_t> block, Type scale, Type zero, bool kMajorScales, int64_t zeroConstant,
                                      Type global) {
  if (shape.empty())
    return emitError() << "a block-scaled tensor needs at least one dimension";
  if (!isStorage(storage))
    return emitError() << "storage must be f8E4M3FN, f8E5M2, f4E2M1FN, i8, i4, ui8 or ui4, not " << storage;
  if (!isa<Float32Type, Float16Type, BFloat16Type, Float8E8M0FNUType, Float8E4M3FNType>(scale))
    return emitError() << "scale must be f32, f16, bf16, f8E8M0FNU or f8E4M3FN, not " << scale;
  if (block.size() != shape.size())
    return emitError() << "block has " << block.size() << " extents, the shape has " << shape.size() << " dimensions";
  for (int64_t extent : block)
    if (!ShapedType::isDynamic(extent) && extent < 1)
      return emitError() << "block extent must be positive or '?', not " << extent;
  if (zero && !isa<IntegerType>(storage))
    return emitError() << "a zero point needs integer storage, not " << storage;
  if (zero && !zero.isSignlessInteger(8) && !zero.isUnsignedInteger(8))
    return emitError() << "zero point must be i8 or ui8, not " << zero;
  if (zeroConstant && (!isa<IntegerType>(storage) || zeroConstant < 0 || zeroConstant >> storage.getIntOrFloatBitWidth() > 0))
    return emitError() << "zero point " << zeroConstant << " is no code of " << storage;
  if (global && !global.isF32())
    return emitError() << "global scale must be f32, not " << global;
  if (global && (zero || zeroConstant))
    return emitError() << "a tensor with a global scale has no zero points";
  bool perRow = shape.size() >= 2 && llvm::all_of(block.drop_back(), [](int64_t extent) { return extent == 1; });
  if (kMajorScales && (zero || zeroConstant || global || !perRow || !scale.isF32()))
    return emitError() << "k_major scales must be f32, one for each group of a row";
  return success();
}

Type BlockTensorType::parse(AsmParser &parser) {
  SmallVector<int64_t> shape, block;
  Type storage, scale, zero, global;
  llvm::SMLoc loc = parser.getCurrentLocation();
  if (parser.parseLess() || parser.parseDimensionList(shape) || parser.parseType(storage) || parser.parseComma() ||
      parser.parseKeyword("block") || parser.parseLess() ||
      parser.parseDimensionList(block, /*allowDynamic=*/true, /*withTrailingX=*/false) || parser.parseGreater() ||
      parser.parseComma() || parser.parseType(scale))
    return {};
  bool kMajorScales = false;
  int64_t zeroConstant = 0;
  auto parsePart = [&]() -> ParseResult {
    kMajorScales = succeeded(parser.parseOptionalKeyword(stringifyScaleLayout(ScaleLayout::KMajor)));
    if (kMajorScales)
      return success();
    if (succeeded(parser.parseOptionalKeyword("global")))
      return parser.parseType(global);
    if (parser.parseKeyword("zero"))
      return failure();
    return parser.parseOptionalInteger(zeroConstant).has_value() ? ParseResult(success()) : parser.parseType(zero);
  };
  if (succeeded(parser.parseOptionalComma()) && parsePart())
    return {};
  if (parser.parseGreater())
    return {};
  auto emitError = [&] { return parser.emitError(loc); };
  return BlockTensorType::getChecked(emitError, parser.getContext(), shape, storage, block, scale, zero, kMajorScales,
                                     zeroConstant, global);
}

void BlockTensorType::print(AsmPrinter &printer) const {
  printer << "<";
  printer.printDimensionList(getShape());
  printer << "x" << getStorageType() << ", block<";
  printer.printDimensionList(getBlock());
  printer << ">, " << getScaleType();
  if (hasGlobalScale())
    printer << ", global " << getGlobalType();
  if (hasZeroPoint())
    printer << ", zero " << getZeroType();
  if (getZeroConstant())
    printer << ", zero " << getZeroConstant();
  if (getKMajorScales())
    printer << ", " << stringifyScaleLayout(ScaleLayout::KMajor);
  printer << ">";
}
