//===- RowOps.cpp - the interface of ops that go row by row ---------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "dialects/rows/RowOps.h"

#include "dialects/rows/RowBuilder.h"

using namespace mlir;
using namespace quant::rows;

#include "dialects/rows/RowOps.cpp.inc"

namespace {

struct AddRows : RowOpInterface::ExternalModel<AddRows, arith::AddFOp> {
  int64_t getIndependentColumns(Operation *) const { return 128; }
  void buildRow(Operation *op, RowBuilder &b) const {
    Rows left = b.rows(op->getOperand(0)), right = b.rows(op->getOperand(1)), sum = b.rows(op->getResult(0));
    b.forColumns(sum.columns, [&](Column column) { b.store(sum, column, b.load(left, column) + b.load(right, column)); });
  }
};

struct RoundRows : RowOpInterface::ExternalModel<RoundRows, arith::TruncFOp> {
  int64_t getIndependentColumns(Operation *) const { return 128; }
  void buildRow(Operation *op, RowBuilder &b) const {
    Rows from = b.rows(op->getOperand(0)), to = b.rows(op->getResult(0));
    b.forColumns(to.columns, [&](Column column) { b.store(to, column, b.load(from, column)); });
  }
};

} // namespace

void quant::rows::registerArithRows(DialectRegistry &registry) {
  registry.addExtension(+[](MLIRContext *context, arith::ArithDialect *) {
    arith::AddFOp::attachInterface<AddRows>(*context);
    arith::TruncFOp::attachInterface<RoundRows>(*context);
  });
}

RowOpInterface quant::rows::rowOpOf(Operation *op) {
  if (isa<arith::AddFOp, arith::TruncFOp>(op)) {
    auto type = dyn_cast<RankedTensorType>(op->getResult(0).getType());
    if (!type || type.getRank() < 2)
      return {};
  }
  return dyn_cast<RowOpInterface>(op);
}

int64_t quant::rows::rowsPerToken(RowOpInterface op) {
  if (ArrayRef<int64_t> shape = op.getRowShape(); !shape.empty())
    return llvm::product_of(shape.drop_front().drop_back());
  for (Type type : llvm::concat<Type>(llvm::to_vector(op->getResultTypes()), llvm::to_vector(op->getOperandTypes())))
    if (auto shaped = dyn_cast<ShapedType>(type))
      return wholeRows(shaped, Value()).perToken;
  return 1;
}

int64_t quant::rows::widestRow(RowOpInterface op) {
  if (ArrayRef<int64_t> shape = op.getRowShape(); !shape.empty())
    return shape.back();
  int64_t widest = 1;
  for (Type type : llvm::concat<Type>(llvm::to_vector(op->getResultTypes()), llvm::to_vector(op->getOperandTypes())))
    if (auto shaped = dyn_cast<ShapedType>(type); shaped && shaped.getRank() > 1)
      widest = std::max(widest, shaped.getShape().back());
  return widest;
}
