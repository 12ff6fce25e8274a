//===- KernelOperands.cpp - where a kernel's operands lie -----------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "lowering/target/x86/KernelOperands.h"

#include "dialects/program/Program.h"
#include "dialects/qblock/QBlock.h"
#include "lowering/target/x86/Decode.h"
#include "runtime/abi/kernel_abi.h"

#include "mlir/Dialect/Tensor/IR/Tensor.h"

using namespace mlir;
using namespace quant;
using namespace quant::host;

KernelOperands::KernelOperands(HostBuilder &b, func::FuncOp kernel, Value table, Value dimTable) : kernel(kernel) {
  int64_t operand = 0;
  auto nextAddress = [&] { return b.load(b.ptr(), b.at(table, operand++, 8)); };
  for (BlockArgument argument : kernel.getArguments())
    if (!argument.getType().isIndex())
      addresses[argument] = nextAddress();
  for (unsigned index = 0; index < kernel.getNumResults(); ++index)
    results.push_back(nextAddress());
  for (int64_t dim = 0; dim < abi::kNumDims; ++dim)
    dims.push_back(b.load(b.i64(), b.at(dimTable, dim, 8)));
}

LogicalResult quant::host::unsupportedOperand(Operation *op) {
  return op->emitError("an operand is no view of the kernel's arguments that the host knows");
}

Value KernelOperands::address(Value argument) const { return addresses.lookup(argument); }

/// Rows of a whole tensor or memref.
static Rows wholeRows(ShapedType type, Value base) {
  int64_t columns = type.getShape().back(), perToken = 1;
  for (int64_t size : type.getShape().drop_back().drop_front(type.getRank() > 1 ? 1 : 0))
    perToken *= size;
  return {base, type.getElementType(), columns, columns, 0, perToken};
}

FailureOr<Rows> KernelOperands::rows(Value tensor) const {
  if (isa<BlockArgument>(tensor) && addresses.contains(tensor))
    return wholeRows(cast<ShapedType>(tensor.getType()), address(tensor));
  if (auto slice = tensor.getDefiningOp<tensor::ExtractSliceOp>()) {
    FailureOr<Rows> source = rows(slice.getSource());
    int64_t offset = slice.getStaticOffsets().back(), size = slice.getStaticSizes().back();
    if (failed(source) || ShapedType::isDynamic(offset) || ShapedType::isDynamic(size) || !slice.hasUnitStride())
      return failure();
    source->offset += offset;
    source->columns = size;
    return source;
  }
  if (auto extend = tensor.getDefiningOp<arith::ExtFOp>())
    return rows(extend.getIn());
  // Rows are counted through all leading dimensions anyway.
  if (auto collapse = tensor.getDefiningOp<tensor::CollapseShapeOp>(); collapse && collapse.getResultType().getRank() == 2)
    return rows(collapse.getSrc());
  return failure();
}

Rows KernelOperands::resultRows(unsigned index) const {
  func::FuncOp function = kernel;
  return wholeRows(cast<ShapedType>(function.getFunctionType().getResult(index)), results[index]);
}

Value KernelOperands::resultRowCount() const {
  func::FuncOp function = kernel;
  return program::getRowDim(function) == program::Dim::Outputs ? outputs() : tokens();
}

FailureOr<Weight> KernelOperands::weight(Value value) const {
  Weight weight = qblock::describeWeight(value);
  for (qblock::WeightPart &part : weight.parts) {
    part.data = address(part.data);
    part.scale = part.scale ? address(part.scale) : Value();
    part.zero = part.zero ? address(part.zero) : Value();
    if (!part.data || (weight.scaleType && !part.scale))
      return failure();
  }
  if (!isDecodable(weight.storage))
    return failure();
  return weight;
}
