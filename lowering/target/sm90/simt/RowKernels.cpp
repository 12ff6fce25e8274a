//===- RowKernels.cpp - kernels with a block for each row --------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "lowering/target/sm90/simt/E4M3.h"
#include "lowering/target/sm90/simt/SimtKernels.h"

using namespace mlir;

namespace quant::nvvm {

namespace {

/// Writes a row's groups of 128 columns in quantized form. All lanes of a warp must be there.
class GroupQuantizer {
public:
  GroupQuantizer(SimtBuilder &b, const Quantized &target, double amaxFloor, bool powerOfTwo)
      : b(b), target(target), amaxFloor(amaxFloor), powerOfTwo(powerOfTwo || isa<Float8E8M0FNUType>(target.scaleType)) {}

  void store(Value row, Value group, Value column, ArrayRef<Value> values) const {
    Value amax = b.maxWarp(largestMagnitude(b, values, amaxFloor));
    GroupScale scale = groupScale(b, amax, powerOfTwo);
    Quad quotients;
    for (Value value : values)
      quotients.push_back(divideByScale(b, value, scale));
    target.codes.store(b, target.codes.row(b, row), column, quotients);
    b.ifThen(b.equal(b.lane, b.constI32(0)), [&] {
      Value address = target.scaleAddress(b, row, group);
      if (target.scaleType.isF32())
        return b.store(scale.scale, address);
      Value exponent = b.create<arith::TruncIOp>(b.getI8Type(), b.shiftRight(b.bitsOf(scale.scale), 23));
      b.store(exponent, address);
    });
  }

private:
  SimtBuilder &b;
  Quantized target;
  double amaxFloor;
  bool powerOfTwo;
};

} // namespace

/// Copies one row to another, rounding to the target's type.
static void copyRow(SimtBuilder &b, const Rows &source, Value sourceRow, const Rows &target, Value targetRow) {
  Value from = source.row(b, sourceRow), to = target.row(b, targetRow);
  b.forGroups(target.columns, [&](Value, Value column) { target.store(b, to, column, source.load(b, from, column)); });
}

Result<void> emitEmbed(SimtContext &context, deepseek::EmbedOp op) {
  SimtBuilder &b = context.b;
  Result<Rows> table = context.operands.rows(op.getTable());
  Result<Value> ids = context.operands.address(op.getIds());
  if (!table || !ids)
    return tl::unexpected(table ? ids.error() : table.error());
  copyRow(b, *table, b.loadI32(b.at(*ids, b.getI32Type(), b.block)), context.operands.resultRows(0), b.block);
  return {};
}

Result<void> emitLastTokens(SimtContext &context, deepseek::LastTokensOp op) {
  SimtBuilder &b = context.b;
  Result<Rows> x = context.operands.rows(op.getX());
  if (!x)
    return tl::unexpected(x.error());
  Value first = b.sub(context.operands.tokens(), context.operands.outputs());
  copyRow(b, *x, b.add(first, b.block), context.operands.resultRows(0), b.block);
  return {};
}

//===----------------------------------------------------------------------===//
// Norm
//===----------------------------------------------------------------------===//

Value emitInverseNorm(SimtBuilder &b, const Rows &x, Value row, int64_t columns, double eps) {
  Rows part = x;
  part.columns = columns;
  SmallVector<Value> sums = b.forGroups(columns, b.constF32(0.0), [&](Value, Value column, ValueRange carried) {
    Value sum = carried[0];
    for (Value value : part.load(b, row, column))
      sum = b.fma(value, value, sum);
    return SmallVector<Value>{sum};
  });
  Value mean = b.divF(b.sumBlock(sums[0]), b.constF32(static_cast<double>(columns)));
  return b.reciprocal(b.sqrt(b.addF(mean, b.constF32(eps))));
}

Result<void> emitRmsNorm(SimtContext &context, deepseek::RmsNormOp op) {
  SimtBuilder &b = context.b;
  Result<Rows> x = context.operands.rows(op.getX()), gamma = context.operands.rows(op.getGamma());
  if (!x || !gamma)
    return tl::unexpected(x ? gamma.error() : x.error());
  std::optional<GroupQuantizer> quantizer;
  if (op.getQuantized()) {
    Result<Quantized> target = context.operands.resultQuantized(1, cast<qblock::BlockTensorType>(op.getQuantized().getType()));
    if (!target)
      return tl::unexpected(target.error());
    quantizer.emplace(b, *target, op.getAmaxFloor().convertToDouble(), op.getPowerOfTwo());
  }
  Rows out = context.operands.resultRows(0);
  Value source = x->row(b, b.block), weights = gamma->row(b, b.constI32(0)), target = out.row(b, b.block);
  Value scale = emitInverseNorm(b, *x, source, out.columns, op.getEps().convertToDouble());
  b.forGroups(out.columns, [&](Value group, Value column) {
    Quad values = x->load(b, source, column), factors = gamma->load(b, weights, column);
    for (auto [value, factor] : llvm::zip_equal(values, factors))
      value = b.mulF32(b.mulF32(value, scale), factor);
    out.store(b, target, column, values);
    if (quantizer)
      quantizer->store(b.block, group, column, values);
  });
  return {};
}

//===----------------------------------------------------------------------===//
// Elementwise
//===----------------------------------------------------------------------===//

/// An op of two operands, element by element; `store` gets four values of a row.
static Result<void> emitElementwise(SimtContext &context, Operation *op, function_ref<Value(Value, Value)> combine,
                                    const GroupQuantizer *quantizer) {
  SimtBuilder &b = context.b;
  Result<Rows> left = context.operands.rows(op->getOperand(0)), right = context.operands.rows(op->getOperand(1));
  if (!left || !right)
    return tl::unexpected(left ? right.error() : left.error());
  Rows out = context.operands.resultRows(0);
  Value leftRow = left->row(b, b.block), rightRow = right->row(b, b.block), target = out.row(b, b.block);
  b.forGroups(out.columns, [&](Value group, Value column) {
    Quad values = left->load(b, leftRow, column);
    for (auto [value, other] : llvm::zip_equal(values, right->load(b, rightRow, column)))
      value = combine(value, other);
    out.store(b, target, column, values);
    if (quantizer)
      quantizer->store(b.block, group, column, values);
  });
  return {};
}

Result<void> emitAdd(SimtContext &context, arith::AddFOp op) {
  return emitElementwise(context, op, [&](Value left, Value right) { return context.b.addF(left, right); }, nullptr);
}

Result<void> emitSwiglu(SimtContext &context, deepseek::SwigluOp op) {
  SimtBuilder &b = context.b;
  auto swiglu = [&](Value gate, Value up) { return b.mulF32(b.divF(gate, b.addF(b.constF32(1.0), b.exp(b.negF(gate)))), up); };
  if (!op.getQuantized())
    return emitElementwise(context, op, swiglu, nullptr);
  Result<Quantized> target = context.operands.resultQuantized(1, cast<qblock::BlockTensorType>(op.getQuantized().getType()));
  if (!target)
    return tl::unexpected(target.error());
  GroupQuantizer quantizer(b, *target, op.getAmaxFloor().convertToDouble(), op.getPowerOfTwo());
  return emitElementwise(context, op, swiglu, &quantizer);
}

//===----------------------------------------------------------------------===//
// Quantize, dequantize
//===----------------------------------------------------------------------===//

Result<void> emitQuantize(SimtContext &context, qblock::QuantizeOp op) {
  SimtBuilder &b = context.b;
  Result<Rows> x = context.operands.rows(op.getSource());
  Result<Quantized> target = context.operands.resultQuantized(0, op.getType());
  if (!x || !target)
    return tl::unexpected(x ? target.error() : x.error());
  GroupQuantizer quantizer(b, *target, op.getAmaxFloor().convertToDouble(), op.getPowerOfTwo());
  Value source = x->row(b, b.block);
  b.forGroups(x->columns,
              [&](Value group, Value column) { quantizer.store(b.block, group, column, x->load(b, source, column)); });
  return {};
}

Result<void> emitDequantize(SimtContext &context, qblock::DequantizeOp op) {
  SimtBuilder &b = context.b;
  Result<Quantized> source = context.operands.quantized(op.getSource());
  if (!source)
    return tl::unexpected(source.error());
  Rows out = context.operands.resultRows(0);
  Value codes = source->codes.row(b, b.block), target = out.row(b, b.block);
  b.forGroups(out.columns, [&](Value group, Value column) {
    Value scale = b.loadScale(source->scaleType, source->scaleAddress(b, b.block, group));
    Quad values = source->codes.load(b, codes, column);
    for (Value &value : values)
      value = b.mulF32(value, scale);
    out.store(b, target, column, values);
  });
  return {};
}

} // namespace quant::nvvm
