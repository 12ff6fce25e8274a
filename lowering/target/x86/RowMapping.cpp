//===- RowMapping.cpp - row programs on the lanes of vectors --------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "lowering/target/x86/RowMapping.h"

using namespace mlir;
using namespace quant;
using namespace quant::host;
using rows::Column, rows::Group, rows::Num;

//===----------------------------------------------------------------------===//
// Columns
//===----------------------------------------------------------------------===//

Num HostRows::load(const Rows &rows, const Column &column) {
  return num(host.loadLanes(rows.element, address(rows, column.first), column.lanes));
}

void HostRows::store(const Rows &rows, const Column &column, const Num &value) {
  host.storeLanes(rows.element, address(rows, column.first), host.spread(value.value, column.lanes));
}

Rows HostRows::scratch(int64_t count, Type element) {
  return rows::scratchAt(context.allocate(count * bytesOf(element)), element, count);
}

void HostRows::forColumns(const Group &group, Body<Column> body) {
  host.chunks(group.columns,
              [&](Value offset, int64_t lanes) { body({group.first + num(offset), lanes, group.columns, false}); });
}

void HostRows::forConstants(ArrayRef<double> values, function_ref<void(Column, Num)> body) {
  constexpr int64_t kDoubles = 8;
  for (int64_t first = 0, count = values.size(); first < count; first += kDoubles) {
    int64_t lanes = std::min(kDoubles, count - first);
    auto type = VectorType::get(lanes, host.getF64Type());
    Value part = arith::ConstantOp::create(host, DenseElementsAttr::get(type, values.slice(first, lanes)));
    body({size(first), lanes, count, false}, num(lanes == 1 ? host.extract(part, 0) : part));
  }
}

Num HostRows::reduce(const Group &group, const Num &init, Fold fold, function_ref<Value(Value)> combine,
                     function_ref<Value(Value, Value)> join) {
  int64_t whole = group.columns / kLanes * kLanes, rest = group.columns - whole;
  auto next = [&](Value offset, int64_t lanes, Value sum) {
    return fold({group.first + num(offset), lanes, group.columns, false}, num(sum)).value;
  };
  Value result;
  if (whole > 0)
    result =
        combine(host.loop(host.size(0), host.size(whole), kLanes, {host.splat(init.value, kLanes)},
                          [&](Value offset, ValueRange sum) { return SmallVector<Value>{next(offset, kLanes, sum[0])}; })[0]);
  if (rest > 0) {
    // A vector of one element is a scalar in row programs.
    Value tail = next(host.size(whole), rest, host.spread(init.value, rest));
    tail = rest == 1 ? tail : combine(tail);
    result = result ? join(result, tail) : tail;
  }
  return num(result ? result : init.value);
}

Num HostRows::sum(int64_t count, Fold fold) {
  return reduce(
      wholeRow(count), constant(0.0), fold, [&](Value vector) { return host.sumLanes(vector); },
      [&](Value left, Value right) { return host.add(left, right); });
}

Num HostRows::max(const Group &group, const Num &least, Fold fold) {
  return reduce(
      group, least, fold, [&](Value vector) { return host.maxLanes(vector); },
      [&](Value left, Value right) { return host.max(left, right); });
}

//===----------------------------------------------------------------------===//
// Kernels
//===----------------------------------------------------------------------===//

LogicalResult quant::host::unsupportedOperand(Operation *op) {
  return op->emitError("an operand is no view of the kernel's arguments that the host knows");
}

/// Whether the host knows how this op's values are stored.
static LogicalResult checkQuantized(Operation *op) {
  if (auto quantize = dyn_cast<qblock::QuantizeOp>(op)) {
    qblock::BlockTensorType type = quantize.getType();
    bool scaleFits = isa<Float32Type, Float8E8M0FNUType>(type.getScaleType()),
         isInt8 = type.getStorageType().isSignlessInteger(8);
    bool fits = (isa<Float8E4M3FNType>(type.getStorageType()) || isInt8) && !type.hasZeroPoint();
    if (!fits || !scaleFits || type.getBlockExtent(type.getRank() - 2) != 1)
      return op->emitError("the host quantizes rows to f8E4M3FN or i8 with f32 or f8E8M0FNU scales, not to ") << type;
  }
  if (auto dequantize = dyn_cast<qblock::DequantizeOp>(op)) {
    qblock::BlockTensorType type = dequantize.getSource().getType();
    bool ours = dequantize.getSource().getDefiningOp<qblock::AssembleOp>() && isa<Float8E4M3FNType>(type.getStorageType()) &&
                type.getBlockExtent(type.getRank() - 2) == 1;
    if (!ours || !cast<RankedTensorType>(dequantize.getType()).getElementType().isF32())
      return op->emitError("the host dequantizes rows of f8E4M3FN to f32, not ") << type << " to " << dequantize.getType();
  }
  return success();
}

LogicalResult quant::host::emitRowOp(KernelContext &context, rows::RowOpInterface op, Value token) {
  if (failed(checkQuantized(op)))
    return failure();
  for (Value operand : op->getOperands())
    if (!context.operands.check(operand))
      return unsupportedOperand(op);
  HostBuilder &b = context.b;
  auto emit = [&](Value row) {
    HostRows rows(context, row);
    op.buildRow(rows);
  };
  int64_t perToken = rows::rowsPerToken(op);
  if (perToken == 1)
    emit(token);
  else
    b.loop(b.mul(token, perToken), b.add(b.mul(token, perToken), perToken), 1, emit);
  return success();
}
