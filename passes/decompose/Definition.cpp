//===- Definition.cpp - writing an op's formula as IR -----------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "passes/decompose/Definition.h"

#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"

using namespace mlir;
using namespace quant;

Value Definition::index(int64_t value) { return create<arith::ConstantIndexOp>(value); }
Value Definition::f32(double value) { return create<arith::ConstantOp>(getF32FloatAttr(static_cast<float>(value))); }

Value Definition::add(Value a, Value b) { return create<arith::AddIOp>(a, b); }
Value Definition::sub(Value a, Value b) { return create<arith::SubIOp>(a, b); }
Value Definition::mul(Value a, int64_t b) { return create<arith::MulIOp>(a, index(b)); }
Value Definition::div(Value a, int64_t b) { return create<arith::DivUIOp>(a, index(b)); }
Value Definition::rem(Value a, int64_t b) { return create<arith::RemUIOp>(a, index(b)); }

Value Definition::addF(Value a, Value b) { return create<arith::AddFOp>(a, b); }
Value Definition::subF(Value a, Value b) { return create<arith::SubFOp>(a, b); }
Value Definition::mulF(Value a, Value b) { return create<arith::MulFOp>(a, b); }
Value Definition::divF(Value a, Value b) { return create<arith::DivFOp>(a, b); }
Value Definition::exp(Value a) { return create<math::ExpOp>(a); }

Value Definition::less(Value a, Value b) { return create<arith::CmpIOp>(arith::CmpIPredicate::ult, a, b); }
Value Definition::equal(Value a, Value b) { return create<arith::CmpIOp>(arith::CmpIPredicate::eq, a, b); }
Value Definition::greaterF(Value a, Value b) { return create<arith::CmpFOp>(arith::CmpFPredicate::OGT, a, b); }
Value Definition::both(Value a, Value b) { return create<arith::AndIOp>(a, b); }
Value Definition::either(Value a, Value b) { return create<arith::OrIOp>(a, b); }
Value Definition::select(Value condition, Value then, Value otherwise) {
  return create<arith::SelectOp>(condition, then, otherwise);
}
Value Definition::count(Value condition) { return select(condition, index(1), index(0)); }

Value Definition::dim(Value tensor, int64_t dimension) { return create<tensor::DimOp>(tensor, index(dimension)); }

Value Definition::at(Value tensor, ValueRange indices) {
  Value element = isa<MemRefType>(tensor.getType()) ? create<memref::LoadOp>(tensor, indices).getResult()
                                                    : create<tensor::ExtractOp>(tensor, indices).getResult();
  return element.getType().isF32() ? element : create<arith::ExtFOp>(getF32Type(), element).getResult();
}

Value Definition::indexAt(Value tensor, ValueRange indices) {
  return create<arith::IndexCastOp>(getIndexType(), create<tensor::ExtractOp>(tensor, indices));
}

Value Definition::toI32(Value index) { return create<arith::IndexCastOp>(getI32Type(), index); }

Value Definition::generate(Type type, ValueRange dynamicSizes, Element element) {
  auto op = create<tensor::GenerateOp>(type, dynamicSizes);
  OpBuilder::InsertionGuard guard(*this);
  Block *block = createBlock(&op.getBody());
  for (int64_t i = 0; i < cast<RankedTensorType>(type).getRank(); ++i)
    block->addArgument(getIndexType(), getLoc());
  create<tensor::YieldOp>(element(block->getArguments()));
  return op;
}

Value Definition::generate(ArrayRef<int64_t> shape, ValueRange dynamicSizes, Element element) {
  return generate(RankedTensorType::get(shape, getF32Type()), dynamicSizes, element);
}

Value Definition::fold(Value n, Value init, function_ref<Value(Value, Value)> step) {
  auto body = [&](OpBuilder &builder, Location loc, Value i, ValueRange carried) {
    OpBuilder::InsertionGuard guard(*this);
    setInsertionPoint(builder.getInsertionBlock(), builder.getInsertionPoint());
    create<scf::YieldOp>(step(i, carried[0]));
  };
  return create<scf::ForOp>(index(0), n, index(1), init, body).getResult(0);
}

Value Definition::sum(Value n, Term term) {
  return fold(n, f32(0), [&](Value i, Value acc) { return addF(acc, term(i)); });
}

Value Definition::max(Value n, Term term) {
  Value lowest = f32(-std::numeric_limits<double>::infinity());
  return fold(n, lowest, [&](Value i, Value acc) -> Value { return create<arith::MaximumFOp>(acc, term(i)); });
}

Value Definition::sumIndex(Value n, Term term) {
  return fold(n, index(0), [&](Value i, Value acc) { return add(acc, term(i)); });
}

void Definition::forEach(Value n, function_ref<void(Value)> body) {
  create<scf::ForOp>(index(0), n, index(1), ValueRange(), [&](OpBuilder &builder, Location loc, Value i, ValueRange) {
    OpBuilder::InsertionGuard guard(*this);
    setInsertionPoint(builder.getInsertionBlock(), builder.getInsertionPoint());
    body(i);
    create<scf::YieldOp>();
  });
}
