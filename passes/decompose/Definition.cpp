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

Value Definition::dim(Value tensor, int64_t dimension) { return tensor::DimOp::create(*this, tensor, size(dimension)); }

Value Definition::at(Value tensor, ValueRange indices) {
  Value element = isa<MemRefType>(tensor.getType()) ? memref::LoadOp::create(*this, tensor, indices).getResult()
                                                    : tensor::ExtractOp::create(*this, tensor, indices).getResult();
  return element.getType().isF32() ? element : arith::ExtFOp::create(*this, getF32Type(), element).getResult();
}

Value Definition::indexAt(Value tensor, ValueRange indices) {
  return convert(getIndexType(), tensor::ExtractOp::create(*this, tensor, indices).getResult());
}

Value Definition::generate(Type type, ValueRange dynamicSizes, Element element) {
  auto op = tensor::GenerateOp::create(*this, type, dynamicSizes);
  OpBuilder::InsertionGuard guard(*this);
  Block *block = createBlock(&op.getBody());
  for (int64_t i = 0; i < cast<RankedTensorType>(type).getRank(); ++i)
    block->addArgument(getIndexType(), getLoc());
  tensor::YieldOp::create(*this, convert(cast<RankedTensorType>(type).getElementType(), element(block->getArguments())));
  return op;
}

Value Definition::generate(ArrayRef<int64_t> shape, ValueRange dynamicSizes, Element element) {
  return generate(RankedTensorType::get(shape, getF32Type()), dynamicSizes, element);
}

Value Definition::fold(Value n, Value init, function_ref<Value(Value, Value)> step) {
  return loop(size(0), n, 1, init, [&](Value i, ValueRange carried) { return SmallVector<Value>{step(i, carried[0])}; })[0];
}

Value Definition::sum(Value n, Term term) {
  return fold(n, number(0), [&](Value i, Value acc) { return add(acc, term(i)); });
}

Value Definition::max(Value n, Term term) {
  Value lowest = number(-std::numeric_limits<double>::infinity());
  return fold(n, lowest, [&](Value i, Value acc) -> Value { return arith::MaximumFOp::create(*this, acc, term(i)); });
}

Value Definition::maxIndex(Value n, Term term) {
  return fold(n, size(0), [&](Value i, Value acc) -> Value { return arith::MaxSIOp::create(*this, acc, term(i)); });
}
