//===- HopperTypes.cpp - tiles, rings and registers of sm_90a -------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "dialects/hopper/Hopper.h"

#include "mlir/IR/Builders.h"
#include "mlir/IR/DialectImplementation.h"
#include "llvm/ADT/TypeSwitch.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace quant::hopper;

#define GET_TYPEDEF_CLASSES
#include "dialects/hopper/HopperTypes.cpp.inc"

void HopperDialect::registerTypes() {
  addTypes<
#define GET_TYPEDEF_LIST
#include "dialects/hopper/HopperTypes.cpp.inc"
      >();
}

//===----------------------------------------------------------------------===//
// <64x128xf8E4M3FN, swizzle = 128>: tensor maps and tiles
//===----------------------------------------------------------------------===//

namespace {
/// What stands between the angle brackets.
struct Matrix {
  SmallVector<int64_t> shape;
  Type element;
  int64_t swizzle = 0;
  bool ragged = false;

  ParseResult parse(AsmParser &parser, bool mayBeRagged);
};
} // namespace

ParseResult Matrix::parse(AsmParser &parser, bool mayBeRagged) {
  if (parser.parseLess() || parser.parseDimensionList(shape, /*allowDynamic=*/false) || parser.parseType(element))
    return failure();
  while (succeeded(parser.parseOptionalComma())) {
    if (mayBeRagged && succeeded(parser.parseOptionalKeyword("ragged")))
      ragged = true;
    else if (parser.parseKeyword("swizzle") || parser.parseEqual() || parser.parseInteger(swizzle))
      return failure();
  }
  return parser.parseGreater();
}

static void printMatrix(AsmPrinter &printer, ArrayRef<int64_t> shape, Type element, int64_t swizzle, bool ragged) {
  printer << "<";
  printer.printDimensionList(shape);
  printer << "x" << element;
  if (swizzle)
    printer << ", swizzle = " << swizzle;
  if (ragged)
    printer << ", ragged";
  printer << ">";
}

Type TensorMapType::parse(AsmParser &parser) {
  auto loc = [&] { return parser.emitError(parser.getCurrentLocation()); };
  Matrix map;
  if (map.parse(parser, /*mayBeRagged=*/true))
    return {};
  return getChecked(loc, parser.getContext(), map.shape, map.element, map.swizzle, map.ragged);
}
void TensorMapType::print(AsmPrinter &printer) const {
  printMatrix(printer, getShape(), getElementType(), getSwizzle(), getRagged());
}

Type TileType::parse(AsmParser &parser) {
  auto loc = [&] { return parser.emitError(parser.getCurrentLocation()); };
  Matrix tile;
  if (tile.parse(parser, /*mayBeRagged=*/false))
    return {};
  return getChecked(loc, parser.getContext(), tile.shape, tile.element, tile.swizzle);
}
void TileType::print(AsmPrinter &printer) const {
  printMatrix(printer, getShape(), getElementType(), getSwizzle(), /*ragged=*/false);
}

static LogicalResult verifyElement(function_ref<InFlightDiagnostic()> emitError, Type element, int64_t swizzle) {
  if (!element.isIntOrFloat() || !llvm::is_contained({8u, 16u, 32u}, element.getIntOrFloatBitWidth()))
    return emitError() << "element type must have 8, 16 or 32 bits, not " << element;
  if (!llvm::is_contained({0, 32, 64, 128}, swizzle))
    return emitError() << "swizzle must be 0, 32, 64 or 128 bytes, not " << swizzle;
  return success();
}

LogicalResult TensorMapType::verify(function_ref<InFlightDiagnostic()> emitError, ArrayRef<int64_t> shape, Type element,
                                    int64_t swizzle, bool ragged) {
  if (failed(verifyElement(emitError, element, swizzle)))
    return failure();
  if (shape.size() < 2 || llvm::any_of(shape.take_back(2), [](int64_t size) { return size < 1 || size > kSm90a.tmaBoxSide; }))
    return emitError() << "a box has rows and columns, each from 1 to " << kSm90a.tmaBoxSide;
  if (shape.size() > kSm90a.tmaRank || llvm::any_of(shape.drop_back(2), [](int64_t size) { return size != 1; }))
    return emitError() << "before rows and columns a box has ones, " << kSm90a.tmaRank << " dimensions at most";
  if (ragged && shape.size() != 2)
    return emitError() << "a ragged map is of one matrix, whose rows belong to groups";
  int64_t rowBytes = shape.back() * element.getIntOrFloatBitWidth() / 8;
  if (rowBytes % kSm90a.tmaAlignment)
    return emitError() << "a box's rows must be multiples of " << kSm90a.tmaAlignment << " bytes, not " << rowBytes;
  if (swizzle && rowBytes > swizzle)
    return emitError() << "a box's rows of " << rowBytes << " bytes do not fit the swizzle of " << swizzle;
  return success();
}

int64_t TensorMapType::getBytes() const { return getRows() * getColumns() * getElementType().getIntOrFloatBitWidth() / 8; }

LogicalResult TileType::verify(function_ref<InFlightDiagnostic()> emitError, ArrayRef<int64_t> shape, Type element,
                               int64_t swizzle) {
  if (failed(verifyElement(emitError, element, swizzle)))
    return failure();
  if ((shape.size() != 2 && shape.size() != 3) || llvm::any_of(shape, [](int64_t size) { return size < 1; }))
    return emitError() << "a tile is [copies x] rows x columns";
  int64_t rowBytes = shape.back() * element.getIntOrFloatBitWidth() / 8;
  if (swizzle && rowBytes % swizzle)
    return emitError() << "rows of " << rowBytes << " bytes are no multiple of the swizzle of " << swizzle;
  if (swizzle && shape[shape.size() - 2] % 8)
    return emitError() << "a swizzled tile has a multiple of 8 rows, not " << shape[shape.size() - 2];
  return success();
}

//===----------------------------------------------------------------------===//
// Groups, rings and registers
//===----------------------------------------------------------------------===//

LogicalResult GroupsType::verify(function_ref<InFlightDiagnostic()> emitError, int64_t count, int64_t rows) {
  if (count < 1 || count > machine::kMaxGroups)
    return emitError() << "there are 1 to " << machine::kMaxGroups << " groups, not " << count;
  if (rows < 1)
    return emitError() << "a tile of a group has at least one row, not " << rows;
  return success();
}

LogicalResult RingType::verify(function_ref<InFlightDiagnostic()> emitError, int64_t stages, int64_t blocks,
                               ArrayRef<TileType> tiles) {
  if (stages < 1 || tiles.empty())
    return emitError() << "a ring has at least one stage of at least one tile";
  if (blocks < 1 || blocks > kSm90a.blocksPerCluster)
    return emitError() << "a ring is shared by 1 to " << kSm90a.blocksPerCluster << " blocks, not " << blocks;
  return success();
}

int64_t RingType::getStageBytes() const {
  int64_t bytes = 0;
  for (TileType tile : getTiles())
    bytes += tile.getBytes();
  return bytes;
}

int64_t RingType::getStride(TileType tile) { return llvm::alignTo(tile.getBytes(), tile.getAlignment()); }

int64_t RingType::getOffset(size_t index) const {
  int64_t offset = 0;
  for (TileType tile : getTiles().take_front(index))
    offset = llvm::alignTo(offset, tile.getAlignment()) + getStages() * getStride(tile);
  return index < getTiles().size() ? llvm::alignTo(offset, getTiles()[index].getAlignment()) : offset;
}

/// <64, 128> of f32, <64, 128, i32>.
template <typename Sums>
static Type parseSums(AsmParser &parser) {
  SMLoc at = parser.getCurrentLocation();
  int64_t rows = 0, columns = 0;
  Type element = Float32Type::get(parser.getContext());
  if (parser.parseLess() || parser.parseInteger(rows) || parser.parseComma() || parser.parseInteger(columns) ||
      (succeeded(parser.parseOptionalComma()) && parser.parseType(element)) || parser.parseGreater())
    return {};
  return Sums::getChecked([&] { return parser.emitError(at); }, parser.getContext(), rows, columns, element);
}

template <typename Sums>
static void printSums(Sums type, AsmPrinter &printer) {
  printer << "<" << type.getRows() << ", " << type.getColumns();
  if (!type.getElementType().isF32())
    printer << ", " << type.getElementType();
  printer << ">";
}

Type AccumulatorType::parse(AsmParser &parser) { return parseSums<AccumulatorType>(parser); }
void AccumulatorType::print(AsmPrinter &printer) const { printSums(*this, printer); }
Type FragmentType::parse(AsmParser &parser) { return parseSums<FragmentType>(parser); }
void FragmentType::print(AsmPrinter &printer) const { printSums(*this, printer); }

static LogicalResult verifyRegisters(function_ref<InFlightDiagnostic()> emitError, int64_t rows, int64_t columns) {
  if (rows != kSm90a.wgmmaRows)
    return emitError() << "wgmma has " << kSm90a.wgmmaRows << " rows, not " << rows;
  if (columns < 8 || columns > 256 || columns % 8)
    return emitError() << "wgmma has a multiple of 8 columns up to 256, not " << columns;
  return success();
}

static LogicalResult verifySums(function_ref<InFlightDiagnostic()> emitError, int64_t rows, int64_t columns, Type element) {
  if (!element.isF32() && !element.isSignlessInteger(32))
    return emitError() << "wgmma sums up f32 or i32, not " << element;
  return verifyRegisters(emitError, rows, columns);
}

LogicalResult AccumulatorType::verify(function_ref<InFlightDiagnostic()> emitError, int64_t rows, int64_t columns, Type element) {
  return verifySums(emitError, rows, columns, element);
}

LogicalResult FragmentType::verify(function_ref<InFlightDiagnostic()> emitError, int64_t rows, int64_t columns, Type element) {
  return verifySums(emitError, rows, columns, element);
}

LogicalResult OperandType::verify(function_ref<InFlightDiagnostic()> emitError, int64_t rows, int64_t columns) {
  if (failed(verifyRegisters(emitError, rows, columns)))
    return failure();
  if (columns % 16)
    return emitError() << "a step of bf16 is 16 columns, of which " << columns << " is no multiple";
  return success();
}

LogicalResult NamedBarrierType::verify(function_ref<InFlightDiagnostic()> emitError, int64_t threads) {
  if (threads < 1 || threads % kSm90a.warpgroupThreads() || threads > kSm90a.threadsPerBlock)
    return emitError() << "a named barrier is for whole warpgroups of " << kSm90a.warpgroupThreads() << " threads, not for "
                       << threads;
  return success();
}
