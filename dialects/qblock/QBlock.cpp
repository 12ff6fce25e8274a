//===- QBlock.cpp - block-scaled tensors: verifiers, folders --------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "dialects/qblock/QBlock.h"

#include "mlir/IR/Builders.h"
#include "mlir/IR/DialectImplementation.h"
#include "mlir/Interfaces/ViewLikeInterface.h"
#include "llvm/ADT/STLExtras.h"

using namespace mlir;
using namespace quant::qblock;

#include "dialects/qblock/QBlockDialect.cpp.inc"
#include "dialects/qblock/QBlockEnums.cpp.inc"

#define GET_ATTRDEF_CLASSES
#include "dialects/qblock/QBlockAttrs.cpp.inc"

#define GET_OP_CLASSES
#include "dialects/qblock/QBlockOps.cpp.inc"

void QBlockDialect::initialize() {
  registerTypes();
  addAttributes<
#define GET_ATTRDEF_LIST
#include "dialects/qblock/QBlockAttrs.cpp.inc"
      >();
  addOperations<
#define GET_OP_LIST
#include "dialects/qblock/QBlockOps.cpp.inc"
      >();
}

bool quant::qblock::isKMajor(Type scales) {
  auto tensor = dyn_cast<RankedTensorType>(scales);
  auto layout = tensor ? dyn_cast_if_present<ScaleLayoutAttr>(tensor.getEncoding()) : ScaleLayoutAttr();
  return layout && layout.getValue() == ScaleLayout::KMajor;
}

ArrayRef<int64_t> quant::qblock::getMatrixShape(Type type) {
  if (auto block = dyn_cast<BlockTensorType>(type))
    return block.getShape();
  return cast<RankedTensorType>(type).getShape();
}

//===----------------------------------------------------------------------===//
// Helpers of the verifiers
//===----------------------------------------------------------------------===//

static bool compatible(int64_t a, int64_t b) { return a == b || ShapedType::isDynamic(a) || ShapedType::isDynamic(b); }

/// Codes, scales and what else there is must have the types that the block-scaled type says.
static LogicalResult verifyParts(Operation *op, BlockTensorType type, Type data, Type scale, TypeRange more) {
  if (failed(verifyCompatibleShape(data, type.getDataTensorType())) ||
      cast<RankedTensorType>(data).getElementType() != type.getStorageType())
    return op->emitOpError("codes must be ") << type.getDataTensorType() << ", not " << data;
  if (failed(verifyCompatibleShape(scale, type.getScaleTensorType())) ||
      cast<RankedTensorType>(scale).getElementType() != type.getScaleType())
    return op->emitOpError("scales must be ") << type.getScaleTensorType() << " (shape / block, rounded up), not " << scale;
  StringRef name = type.hasGlobalScale() ? "a global scale" : "zero points";
  bool hasMore = type.hasZeroPoint() || type.hasGlobalScale();
  if (more.empty() && hasMore)
    return op->emitOpError("the type has ") << name << ", but none are given";
  if (more.size() > (hasMore ? 1 : 0))
    return op->emitOpError("got zero points, but the type has none");
  Type expected = type.hasGlobalScale() ? type.getGlobalTensorType() : type.getZeroTensorType();
  if (hasMore && more.front() != expected)
    return op->emitOpError() << name << " must be " << expected << ", not " << more.front();
  return success();
}

/// A size as types print it.
static std::string printed(int64_t size) { return ShapedType::isDynamic(size) ? "?" : std::to_string(size); }

static LogicalResult verifySameShape(Operation *op, Type a, Type b) {
  ArrayRef<int64_t> left = getMatrixShape(a), right = getMatrixShape(b);
  if (left.size() != right.size() ||
      !llvm::all_of(llvm::zip(left, right), [](auto p) { return compatible(std::get<0>(p), std::get<1>(p)); }))
    return op->emitOpError("source and result differ in shape: ") << a << " and " << b;
  return success();
}

//===----------------------------------------------------------------------===//
// assemble, storage, quantize, dequantize
//===----------------------------------------------------------------------===//

LogicalResult AssembleOp::verify() {
  return verifyParts(*this, getType(), getData().getType(), getScale().getType(), getMore().getTypes());
}

OpFoldResult AssembleOp::fold(FoldAdaptor) {
  auto storage = getData().getDefiningOp<StorageOp>();
  if (storage && storage.getSource().getType() == getType() && getData() == storage.getData() &&
      getScale() == storage.getScale() && llvm::equal(getMore(), storage.getMore()))
    return storage.getSource();
  return {};
}

LogicalResult StorageOp::verify() {
  return verifyParts(*this, getSource().getType(), getData().getType(), getScale().getType(), getMore().getTypes());
}

LogicalResult StorageOp::fold(FoldAdaptor, SmallVectorImpl<OpFoldResult> &results) {
  auto assemble = getSource().getDefiningOp<AssembleOp>();
  if (!assemble || assemble->getOperandTypes() != getResultTypes())
    return failure();
  llvm::append_range(results, assemble->getOperands());
  return success();
}

LogicalResult QuantizeOp::verify() {
  if (!isa<FloatType>(cast<RankedTensorType>(getSource().getType()).getElementType()))
    return emitOpError("source must be floating point, not ") << getSource().getType();
  if (!getAmaxFloor().isFinite() || getAmaxFloor().isNegative())
    return emitOpError("amax_floor must be finite and not negative");
  if (getType().hasZeroPoint() || getType().getZeroConstant())
    return emitOpError("quantization is symmetric: the result cannot have zero points");
  if (getType().hasGlobalScale())
    return emitOpError("quantization is by block: the result cannot have a global scale");
  return verifySameShape(*this, getSource().getType(), getType());
}

LogicalResult DequantizeOp::verify() {
  if (!isa<FloatType>(cast<RankedTensorType>(getType()).getElementType()))
    return emitOpError("result must be floating point, not ") << getType();
  return verifySameShape(*this, getSource().getType(), getType());
}

//===----------------------------------------------------------------------===//
// gather_rows
//===----------------------------------------------------------------------===//

BlockTensorType GatherRowsOp::getGatheredType(BlockTensorType source, Type rows) {
  SmallVector<int64_t> shape(cast<ShapedType>(rows).getShape()), block(source.getBlock());
  shape.push_back(source.getDimSize(source.getRank() - 1));
  block.insert(block.begin(), 1);
  return BlockTensorType::get(shape, source.getStorageType(), block, source.getScaleType(), Type(), source.getKMajorScales());
}

LogicalResult GatherRowsOp::verify() {
  BlockTensorType source = getSource().getType();
  if (source.getRank() != 2 || source.getBlock()[0] != 1 || source.hasZeroPoint() || source.getZeroConstant() ||
      source.hasGlobalScale())
    return emitOpError("takes rows with scales of their own, not ") << source;
  auto rows = cast<RankedTensorType>(getRows().getType());
  if (!rows.getElementType().isInteger(32) || rows.getRank() != 2 || rows.isDynamicDim(1))
    return emitOpError("rows must be i32 of tokens x top_k, not ") << rows;
  if (BlockTensorType gathered = getGatheredType(source, rows); getType() != gathered)
    return emitOpError("the result must be ") << gathered << ", not " << getType();
  return success();
}

//===----------------------------------------------------------------------===//
// gather_columns
//===----------------------------------------------------------------------===//

LogicalResult GatherColumnsOp::verify() {
  auto x = cast<RankedTensorType>(getX().getType()), order = cast<RankedTensorType>(getOrder().getType()), result = getType();
  if (!isa<FloatType>(x.getElementType()) || x.getElementType() != result.getElementType() || x.getRank() < 2)
    return emitOpError("copies rows of floating point, not ") << x << " to " << result;
  bool isGrouped = !getSlots().empty();
  auto isList = [&](ArrayRef<int64_t> shape) { return shape.size() == 2 && shape[0] == 1; };
  if (!order.getElementType().isInteger(32) || !order.hasStaticShape() ||
      (isGrouped ? order.getRank() != 3 || !isList(order.getShape().drop_front()) : !isList(order.getShape())))
    return emitOpError("the order must be i32, ") << (isGrouped ? "experts x 1 x columns" : "1 x columns") << ", not " << order;
  if (order.getShape().back() > x.getShape().back())
    return emitOpError("the order is of ") << order.getShape().back() << " columns, x has " << printed(x.getShape().back());
  if (!isGrouped)
    return x == result ? success() : emitOpError("the result must be ") << x << ", not " << result;
  if (getSlots().size() != 2)
    return emitOpError("slots are ids and rows");
  Type ids = getSlots()[0].getType(), rows = getSlots()[1].getType();
  auto list = cast<RankedTensorType>(rows);
  if (ids != rows || !list.getElementType().isInteger(32) || list.getRank() != 2 || list.isDynamicDim(1))
    return emitOpError("ids and rows must be i32 of tokens x top_k, not ") << ids << " and " << rows;
  int64_t columns = x.getShape().back();
  if (result.getShape() != ArrayRef<int64_t>{list.getDimSize(0), list.getDimSize(1), columns})
    return emitOpError("the result must be tokens x top_k x ") << printed(columns) << ", not " << result;
  if (x.getRank() != 2 && x != result)
    return emitOpError("x must have a row for each token or slot, not ") << x;
  return success();
}

//===----------------------------------------------------------------------===//
// concat, extract_slice
//===----------------------------------------------------------------------===//

LogicalResult ConcatOp::verify() {
  if (getSources().size() < 2)
    return emitOpError("needs at least two sources");
  ArrayRef<int64_t> result = getMatrixShape(getType());
  if (result.size() < 2)
    return emitOpError("joins rows of matrices; the result has rank ") << result.size();
  size_t rowDim = result.size() - 2;
  if (ShapedType::isDynamic(result[rowDim]))
    return emitOpError("the number of rows must be static: ") << getType();
  int64_t rows = 0;
  for (auto [index, source] : llvm::enumerate(getSources())) {
    ArrayRef<int64_t> shape = getMatrixShape(source.getType());
    bool sameForm = isa<BlockTensorType>(source.getType()) == isa<BlockTensorType>(getType());
    if (!sameForm || shape.size() != result.size() || shape.back() != result.back() ||
        shape.take_front(rowDim) != result.take_front(rowDim) || ShapedType::isDynamic(shape[rowDim]))
      return emitOpError("source ") << index << " may differ from the result in its (static) rows only: " << source.getType();
    if (auto type = dyn_cast<BlockTensorType>(source.getType())) {
      if (type.cloneWithShape(result) != getType())
        return emitOpError("source ") << index << " has another quantization scheme: " << type;
      int64_t extent = type.getBlock()[rowDim];
      bool last = index + 1 == getSources().size();
      if (!last && (ShapedType::isDynamic(extent) || shape[rowDim] % extent != 0))
        return emitOpError("source ") << index << " has " << shape[rowDim]
                                      << " rows, which does not end on a block's edge: its scales cannot be joined";
    }
    rows += shape[rowDim];
  }
  if (rows != result[rowDim])
    return emitOpError("sources have ") << rows << " rows together, the result has " << result[rowDim];
  return success();
}

SmallVector<OpFoldResult> ExtractSliceOp::getMixedOffsets() {
  return getMixedValues(getStaticOffsets(), getOffsets(), getContext());
}
SmallVector<OpFoldResult> ExtractSliceOp::getMixedSizes() { return getMixedValues(getStaticSizes(), getSizes(), getContext()); }

void ExtractSliceOp::build(OpBuilder &builder, OperationState &state, Value source, ArrayRef<OpFoldResult> offsets,
                           ArrayRef<OpFoldResult> sizes) {
  SmallVector<Value> dynamicOffsets, dynamicSizes;
  SmallVector<int64_t> staticOffsets, staticSizes;
  dispatchIndexOpFoldResults(offsets, dynamicOffsets, staticOffsets);
  dispatchIndexOpFoldResults(sizes, dynamicSizes, staticSizes);
  Type type = cast<BlockTensorType>(source.getType()).cloneWithShape(staticSizes);
  build(builder, state, type, source, dynamicOffsets, dynamicSizes, staticOffsets, staticSizes);
}

/// Why a slice of dimension `dim` is not one of blocks, or nothing. Each of its blocks must lie in one block of the source:
/// it starts on a block's edge, or ends before the next.
static std::optional<std::string> sliceError(BlockTensorType source, int64_t dim, int64_t offset, int64_t size) {
  int64_t extent = source.getBlock()[dim], sourceSize = source.getDimSize(dim);
  std::string where = "dimension " + std::to_string(dim) + ": ";
  if (!ShapedType::isDynamic(size) && size < 0)
    return where + "negative size " + std::to_string(size);
  if (ShapedType::isDynamic(offset))
    return std::nullopt;
  if (offset < 0)
    return where + "negative offset " + std::to_string(offset);
  if (!ShapedType::isDynamic(size) && !ShapedType::isDynamic(sourceSize) && (offset > sourceSize || size > sourceSize - offset))
    return where + std::to_string(offset) + " + " + std::to_string(size) + " is beyond " + std::to_string(sourceSize);
  bool onEdge = ShapedType::isDynamic(extent) || offset % extent == 0;
  bool inOneBlock = onEdge || (!ShapedType::isDynamic(size) && size <= extent - offset % extent);
  if (!inOneBlock)
    return where + "offset " + std::to_string(offset) + " cuts through a block of " + std::to_string(extent);
  return std::nullopt;
}

LogicalResult ExtractSliceOp::verify() {
  BlockTensorType source = getSource().getType();
  unsigned rank = source.getRank();
  if (failed(verifyListOfOperandsOrIntegers(*this, "offset", rank, getStaticOffsets(), getOffsets())) ||
      failed(verifyListOfOperandsOrIntegers(*this, "size", rank, getStaticSizes(), getSizes())))
    return failure();
  for (unsigned dim = 0; dim < rank; ++dim)
    if (std::optional<std::string> error = sliceError(source, dim, getStaticOffsets()[dim], getStaticSizes()[dim]))
      return emitOpError() << *error;
  if (source.cloneWithShape(getStaticSizes()) != getType())
    return emitOpError("result must be ") << source.cloneWithShape(getStaticSizes());
  return success();
}

OpFoldResult ExtractSliceOp::fold(FoldAdaptor) {
  BlockTensorType source = getSource().getType();
  bool whole = source == getType() && llvm::all_of(getStaticOffsets(), [](int64_t offset) { return offset == 0; });
  if (whole && !ShapedType::isDynamicShape(source.getShape()))
    return getSource();
  // Constant offsets become static ones, unless what they say is wrong (in code that is never reached).
  SmallVector<OpFoldResult> offsets = getMixedOffsets();
  if (failed(foldDynamicIndexList(offsets, /*onlyNonNegative=*/true)))
    return {};
  SmallVector<Value> dynamicOffsets;
  SmallVector<int64_t> staticOffsets;
  dispatchIndexOpFoldResults(offsets, dynamicOffsets, staticOffsets);
  for (auto [dim, offset] : llvm::enumerate(staticOffsets))
    if (sliceError(source, dim, offset, getStaticSizes()[dim]))
      return {};
  getOffsetsMutable().assign(dynamicOffsets);
  setStaticOffsets(staticOffsets);
  return getResult();
}

//===----------------------------------------------------------------------===//
// matmul, grouped_matmul
//===----------------------------------------------------------------------===//

/// Both operands of a matmul are floating point or block-scaled and agree in K, and in the blocks along K.
static LogicalResult verifyContraction(Operation *op, Type x, Type w) {
  for (auto [name, type] : {std::pair<StringRef, Type>("x", x), std::pair<StringRef, Type>("w", w)})
    if (auto tensor = dyn_cast<RankedTensorType>(type); tensor && !isa<FloatType>(tensor.getElementType()))
      return op->emitOpError() << name << " must be floating point or block-scaled, not " << type;
  ArrayRef<int64_t> xShape = getMatrixShape(x), wShape = getMatrixShape(w);
  if (!compatible(xShape.back(), wShape.back()))
    return op->emitOpError("x has K = ") << printed(xShape.back()) << ", w has K = " << printed(wShape.back()) << " (w is N x K)";
  auto xBlock = dyn_cast<BlockTensorType>(x), wBlock = dyn_cast<BlockTensorType>(w);
  if (xBlock && wBlock) {
    int64_t xk = xBlock.getBlockExtent(xShape.size() - 1), wk = wBlock.getBlockExtent(wShape.size() - 1);
    if (xk != wk && xk != xShape.back())
      return op->emitOpError("blocks along K differ: x has ")
             << printed(xk) << ", w has " << printed(wk) << " (x may have one block a row)";
  }
  if (xBlock && !wBlock)
    return op->emitOpError("a block-scaled x needs a block-scaled w");
  return success();
}

/// x is MxK, w NxK and the result MxN.
static LogicalResult verifyMatmul(Operation *op, Type xType, Type wType, Type resultType) {
  ArrayRef<int64_t> x = getMatrixShape(xType), w = getMatrixShape(wType);
  auto result = cast<RankedTensorType>(resultType);
  if (x.size() != 2 || w.size() != 2 || result.getRank() != 2)
    return op->emitOpError("x, w and the result must be matrices");
  if (failed(verifyContraction(op, xType, wType)))
    return failure();
  if (!compatible(result.getDimSize(0), x[0]) || !compatible(result.getDimSize(1), w[0]))
    return op->emitOpError("the result must be ")
           << printed(x[0]) << " x " << printed(w[0]) << " (M of x, N of w), not " << result;
  if (!isa<FloatType>(result.getElementType()))
    return op->emitOpError("the result must be floating point, not ") << result;
  return success();
}

LogicalResult MatmulOp::verify() { return verifyMatmul(*this, getX().getType(), getW().getType(), getType()); }

LogicalResult MatmulAccOp::verify() {
  if (getAcc().getType() != getType())
    return emitOpError("acc must have the result's type ") << getType();
  return verifyMatmul(*this, getX().getType(), getW().getType(), getType());
}

/// w is groups x N x K, and offsets has one more entry than there are groups.
static LogicalResult verifyGroups(Operation *op, Value x, Value w, Value offsetsOperand) {
  ArrayRef<int64_t> shape = getMatrixShape(w.getType());
  auto offsets = cast<RankedTensorType>(offsetsOperand.getType());
  if (shape.size() != 3)
    return op->emitOpError("w must be groups x N x K, not ") << w.getType();
  if (failed(verifyContraction(op, x.getType(), w.getType())))
    return failure();
  int64_t count = ShapedType::isDynamic(shape[0]) ? ShapedType::kDynamic : shape[0] + 1;
  if (!offsets.getElementType().isInteger(32) || offsets.getRank() != 1 || !compatible(offsets.getDimSize(0), count))
    return op->emitOpError("offsets must be tensor<") << printed(count) << "xi32> (groups + 1), not " << offsets;
  return success();
}

LogicalResult GroupedMatmulOp::verify() {
  ArrayRef<int64_t> x = getMatrixShape(getX().getType()), w = getMatrixShape(getW().getType());
  auto result = cast<RankedTensorType>(getType());
  if (w.size() != 3 || ShapedType::isDynamicShape(w))
    return emitOpError("w must be groups x N x K, all static, not ") << getW().getType();
  if (x.size() != 2 && x.size() != 3)
    return emitOpError("x must be rows (x top_k) x K, not ") << getX().getType();
  if (failed(verifyGroups(*this, getX(), getW(), getOffsets())))
    return failure();
  if (result.getRank() != 3 || result.getDimSize(2) != w[1])
    return emitOpError("the result must be rows x top_k x ") << w[1] << ", not " << result;
  if (getRows()) {
    auto rows = cast<RankedTensorType>(getRows().getType());
    if (!rows.getElementType().isInteger(32) || rows.getShape() != result.getShape().drop_back())
      return emitOpError("rows must be i32 with the result's leading shape, not ") << rows;
    if (x.size() != 2)
      return emitOpError("a gathered x must be tokens x K, not ") << getX().getType();
  } else if (x.drop_back() != result.getShape().drop_back()) {
    return emitOpError("x and the result differ in their rows: ") << getX().getType() << " and " << result;
  }
  return success();
}

LogicalResult GroupedSwigluOp::verify() {
  constexpr int64_t kGroup = 128;
  ArrayRef<int64_t> x = getX().getType().getShape(), w = getW().getType().getShape();
  if (x.size() != 3 || w.size() != 3 || ShapedType::isDynamicShape(w) || w[1] % (2 * kGroup) != 0)
    return emitOpError("x must be tokens x top_k x K and w groups x 2 N x K with N a multiple of ")
           << kGroup << ", not " << getX().getType() << " and " << getW().getType();
  if (failed(verifyGroups(*this, getX(), getW(), getOffsets())))
    return failure();
  BlockTensorType result = getType();
  if (result.getShape() != ArrayRef<int64_t>{x[0], x[1], w[1] / 2} || result.getBlock() != ArrayRef<int64_t>{1, 1, kGroup})
    return emitOpError("the result must be rows of ") << w[1] / 2 << " in groups of " << kGroup << ", not " << result;
  return success();
}

LogicalResult GroupedMatmulAccOp::verify() {
  ArrayRef<int64_t> x = getMatrixShape(getX().getType()), w = getMatrixShape(getW().getType());
  auto result = cast<RankedTensorType>(getType());
  if (getAcc().getType() != getType())
    return emitOpError("acc must have the result's type ") << getType();
  if (x.size() != 2)
    return emitOpError("x must be rows x K, not ") << getX().getType();
  if (failed(verifyGroups(*this, getX(), getW(), getOffsets())))
    return failure();
  if (result.getRank() != 2 || !compatible(result.getDimSize(1), w[1]) || !isa<FloatType>(result.getElementType()))
    return emitOpError("the result must be floating point, rows x ") << printed(w[1]) << ", not " << result;
  if (getRows()) {
    auto rows = cast<RankedTensorType>(getRows().getType());
    if (!rows.getElementType().isInteger(32) || rows.getRank() != 1 || !compatible(rows.getDimSize(0), result.getDimSize(0)))
      return emitOpError("rows must be i32, one for each of the result's, not ") << rows;
  } else if (!compatible(x[0], result.getDimSize(0))) {
    return emitOpError("x and the result differ in their rows: ") << getX().getType() << " and " << result;
  }
  return success();
}
