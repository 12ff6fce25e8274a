//===- KernelOperands.cpp - where a kernel's operands lie -----------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "lowering/common/KernelOperands.h"

#include "dialects/program/Program.h"

#include "mlir/Dialect/Tensor/IR/Tensor.h"

using namespace mlir;
using namespace quant;

std::string quant::textOf(Type type) {
  std::string text;
  llvm::raw_string_ostream(text) << type;
  return text;
}

KernelOperands::KernelOperands(func::FuncOp kernel, Operation *op, ArrayRef<Value> addresses, Value tokens, Value outputs,
                               Value sequences)
    : kernel(kernel), tokenCount(tokens), outputCount(outputs), sequenceCount(sequences) {
  for (auto [argument, address] : llvm::zip(kernel.getArguments(), addresses))
    known[argument] = address;
  llvm::append_range(results, addresses.drop_front(kernel.getNumArguments()));
  unsigned index = 0;
  for (Value result : op->getResults()) {
    if (isa<qblock::BlockTensorType>(result.getType())) {
      quantizedResults[result] = index;
      index += 2;
    } else if (index < results.size()) {
      known[result] = results[index++];
    }
  }
}

Value KernelOperands::rowCount() const {
  func::FuncOp function = kernel;
  return program::getRowDim(function) == program::Dim::Outputs ? outputCount : tokenCount;
}

/// A value that is in memory as another has it: casts, and dimensions joined.
static Value throughViews(Value value) {
  while (isa_and_nonnull<arith::ExtFOp, tensor::CollapseShapeOp>(value.getDefiningOp()))
    value = value.getDefiningOp()->getOperand(0);
  return value;
}

Result<Value> KernelOperands::address(Value value) const {
  auto found = known.find(throughViews(value));
  if (found != known.end())
    return found->second;
  return fail("an operand is no view of the kernel's arguments: " + textOf(value.getType()));
}

Result<rows::Rows> KernelOperands::rows(Value tensor) const {
  tensor = throughViews(tensor);
  if (auto slice = tensor.getDefiningOp<tensor::ExtractSliceOp>()) {
    QUANT_TRY_ASSIGN(rows::Rows source, rows(slice.getSource()));
    int64_t offset = slice.getStaticOffsets().back(), size = slice.getStaticSizes().back();
    if (ShapedType::isDynamic(offset) || ShapedType::isDynamic(size) || !slice.hasUnitStride())
      return fail("an operand is a slice that is not one of columns: " + textOf(slice.getType()));
    return source.slice(offset, size);
  }
  QUANT_TRY_ASSIGN(Value base, address(tensor));
  auto type = cast<ShapedType>(tensor.getType());
  if (!isa<FloatType, IntegerType>(type.getElementType()) || llvm::any_of(type.getShape().drop_front(), ShapedType::isDynamic))
    return fail("an operand has a type that kernels do not take: " + textOf(type));
  rows::Rows result = rows::wholeRows(type, base);
  // A static tensor of rank 3 is a group of weights; row programs take those of one row each.
  result.isTable = type.hasStaticShape() && type.getRank() == 3;
  return result;
}

rows::Rows KernelOperands::resultRows(unsigned index) const {
  func::FuncOp function = kernel;
  return rows::wholeRows(cast<ShapedType>(function.getFunctionType().getResult(index)), results[index]);
}

Result<rows::Quantized> KernelOperands::quantized(Value tensor) const {
  auto type = cast<qblock::BlockTensorType>(tensor.getType());
  rows::Quantized quantized;
  quantized.blockRows = type.getBlockExtent(type.getRank() - 2);
  quantized.blockColumns = type.getBlockExtent(type.getRank() - 1);
  quantized.kMajor = type.getKMajorScales();
  if (auto result = quantizedResults.find(tensor); result != quantizedResults.end()) {
    quantized.codes = resultRows(result->second);
    quantized.scales = resultRows(result->second + 1);
    return quantized;
  }
  auto assemble = tensor.getDefiningOp<qblock::AssembleOp>();
  if (!assemble)
    return fail("a quantized operand is not made of codes and scales: " + textOf(type));
  QUANT_TRY_ASSIGN(quantized.codes, rows(assemble.getData()));
  QUANT_TRY_ASSIGN(quantized.scales, rows(assemble.getScale()));
  return quantized;
}

Result<void> KernelOperands::check(Value value) const {
  if (isa<qblock::BlockTensorType>(value.getType()))
    QUANT_TRY(quantized(value));
  else if (isa<ShapedType>(value.getType()))
    QUANT_TRY(rows(value));
  return {};
}

Result<qblock::Weight> KernelOperands::weight(Value value) const {
  qblock::Weight weight = qblock::describeWeight(value);
  for (qblock::WeightPart &part : weight.parts)
    for (Value *tensor : {&part.data, &part.scale, &part.zero, &part.global})
      if (*tensor) {
        QUANT_TRY_ASSIGN(*tensor, address(*tensor));
      }
  return weight;
}
