//===- HopperMathOps.cpp - verifiers of math and attention ----------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "dialects/hopper/Hopper.h"

#include "mlir/IR/Builders.h"

using namespace mlir;
using namespace quant::hopper;

//===----------------------------------------------------------------------===//
// Products, scales and promotion
//===----------------------------------------------------------------------===//

/// What wgmma can read from shared memory.
static LogicalResult verifyWgmmaTile(WgmmaOp op, TileType tile) {
  Type element = tile.getElementType();
  bool isRead = isa<Float8E4M3FNType, BFloat16Type>(element) || element.isSignlessInteger(8);
  if (!isRead || tile.getSwizzle() != 128 || tile.getCopies() != 1)
    return op.emitOpError("operand ") << tile << " must be rows of f8E4M3FN, i8 or bf16 with a 128-byte swizzle";
  return success();
}

LogicalResult WgmmaOp::verify() {
  TileType b = getB().getType();
  auto a = dyn_cast<TileType>(getA().getType());
  if (failed(verifyWgmmaTile(*this, b)) || (a && failed(verifyWgmmaTile(*this, a))))
    return failure();
  bool isBf16 = b.getElementType().isBF16();
  if (!isBf16 && (getTransposed() || !a))
    return emitOpError("of ") << b
                              << " takes both operands as rows in shared memory: only bf16 can be transposed or in registers";
  if (a && a.getElementType() != b.getElementType())
    return emitOpError("operands ") << a << " and " << b << " differ in type";
  AccumulatorType result = getType();
  int64_t rows = a ? a.getRows() : cast<OperandType>(getA().getType()).getRows();
  int64_t columns = a ? a.getColumns() : cast<OperandType>(getA().getType()).getColumns();
  int64_t n = getTransposed() ? b.getColumns() : b.getRows(), k = getTransposed() ? b.getRows() : b.getColumns();
  if (columns != k)
    return emitOpError("multiplies ") << columns << " columns of A by " << k << " of B";
  if (rows != kSm90a.wgmmaRows || result.getColumns() != n)
    return emitOpError("of ") << rows << " by " << n << " rows is not " << result << ", and A has " << kSm90a.wgmmaRows
                              << " rows";
  if (getOver() && getInto())
    return emitOpError("goes on `into` a sum or begins `over` one, not both");
  // PTX ISA, "Asynchronous Warpgroup Level Matrix Multiply-Accumulate": what .s8 has for N.
  if (b.getElementType().isInteger() && n % 16 && n != 8 && n != 24)
    return emitOpError("of i8 has 8, 24 or a multiple of 16 columns, not ") << n;
  Type sum = b.getElementType().isInteger() ? Type(IntegerType::get(getContext(), 32)) : Float32Type::get(getContext());
  if (result.getElementType() != sum)
    return emitOpError("of ") << b << " sums up " << sum << ", not " << result;
  auto sums = FragmentType::get(getContext(), rows, n, sum);
  if (getOver() && getOver().getType() != sums)
    return emitOpError("over ") << getOver().getType() << " cannot take its registers for " << result;
  if (getInto() && getInto().getType() != sums && getInto().getType() != result)
    return emitOpError("into ") << getInto().getType() << " does not give " << result;
  return success();
}

LogicalResult WgmmaWaitOp::verify() {
  AccumulatorType sums = getAccumulator().getType();
  if (FragmentType::get(getContext(), sums.getRows(), sums.getColumns(), sums.getElementType()) != getType())
    return emitOpError("of ") << getAccumulator().getType() << " is not " << getType();
  return success();
}

LogicalResult LoadIndexOp::verify() {
  if (!getPointer().getType().getElementType().isInteger(32))
    return emitOpError("reads i32, not ") << getPointer().getType().getElementType();
  return success();
}

LogicalResult LoadScalesOp::verify() {
  Type element = getPointer().getType().getElementType();
  if (!element.isF32() && !element.isBF16() && !element.isF16())
    return emitOpError("reads f32, bf16 or f16, not ") << element;
  return success();
}

LogicalResult PromoteOp::verify() {
  int64_t columns = getType().getColumns();
  if (!isa<RowScalesType>(getRows().getType()) && !getRows().getType().isF32())
    return emitOpError("rows must be row_scales or f32, not ") << getRows().getType();
  if (getColumns().size() == 1)
    if (auto scales = dyn_cast<ColumnScalesType>(getColumns()[0].getType())) {
      if (scales.getColumns() != columns)
        return emitOpError("has ") << columns << " columns and scales for " << scales.getColumns();
      return success();
    }
  if (getColumns().empty() || columns % (8 * getColumns().size()) ||
      llvm::any_of(getColumns().getTypes(), [](Type type) { return !type.isF32(); }))
    return emitOpError("columns must be column_scales, or f32 that each take an equal share, a multiple of 8, of ") << columns;
  return success();
}

LogicalResult SwigluQuantizeOp::verify() {
  constexpr int64_t kGroup = 128;
  if (getGate().getType().getColumns() != kGroup)
    return emitOpError("gives a scale to each row of ") << kGroup << " columns, not of " << getGate().getType().getColumns();
  return success();
}

//===----------------------------------------------------------------------===//
// Attention
//===----------------------------------------------------------------------===//

void ForQueriesOp::getAsmBlockArgumentNames(Region &region, OpAsmSetValueNameFn setName) {
  for (auto [argument, name] :
       llvm::zip(region.getArguments(), ArrayRef<StringRef>{"row", "until", "sequence", "keys", "part", "slot"}))
    setName(argument, name);
}

static LogicalResult verifyIndices(Operation *op, GlobalType list) {
  if (!list.getElementType().isInteger(32))
    return op->emitOpError("reads i32, not ") << list.getElementType();
  return success();
}

LogicalResult ForQueriesOp::verifyRegions() {
  if (failed(verifyIndices(*this, getPositions().getType())) || failed(verifyIndices(*this, getSequences().getType())))
    return failure();
  Block &body = getBody().front();
  SmallVector<Type> expected(kTileArguments, IntegerType::get(getContext(), 32));
  llvm::append_range(expected, getInit().getTypes());
  if (body.getArgumentTypes() != TypeRange(expected))
    return emitOpError(
        "body takes the tile's first row, the row behind its last, the sequence, its keys and the part (i32), then "
        "what is carried");
  if (body.getTerminator()->getOperandTypes() != getResultTypes() || getInit().getTypes() != getResultTypes())
    return emitOpError("carries ") << getInit().getTypes() << " but yields " << body.getTerminator()->getOperandTypes();
  return success();
}

LogicalResult LoadRowKeysOp::verify() { return verifyIndices(*this, getPositions().getType()); }

LogicalResult StoreRowsOp::verify() {
  if (!getPointer().getType().getElementType().isF32())
    return emitOpError("stores f32, not ") << getPointer().getType().getElementType();
  return success();
}

LogicalResult OperandOfOp::verify() {
  if (getFragment().getType().getColumns() != getType().getColumns())
    return emitOpError("of ") << getFragment().getType() << " is not " << getType();
  return success();
}

LogicalResult ClearRowsOp::verify() {
  TileType tile = getTile().getType();
  if (tile.getCopies() != 1 || tile.getSwizzle() != 128)
    return emitOpError("clears rows of 128-byte panels, not of ") << tile;
  return success();
}
