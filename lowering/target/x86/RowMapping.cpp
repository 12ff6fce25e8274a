//===- RowMapping.cpp - row programs on the lanes of vectors --------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "lowering/target/x86/RowMapping.h"

#include "dialects/rows/NarrowFloats.h"
#include "lowering/target/x86/Decode.h"

using namespace mlir;
using namespace quant;
using namespace quant::host;
using rows::Column, rows::Group, rows::Num, rows::Quantized;

/// A vector of one element is a scalar in row programs.
static Value fromVector(HostBuilder &b, Value vector, int64_t lanes) { return lanes == 1 ? b.extract(vector, 0) : vector; }
static Value toVector(HostBuilder &b, Value value, int64_t lanes) { return lanes == 1 ? b.splat(value, 1) : value; }

//===----------------------------------------------------------------------===//
// Memory
//===----------------------------------------------------------------------===//

Value HostRows::address(const Rows &rows, const Num &column) {
  return host.at(host.rowAddress(rows, rowOf(rows).value), column.value, bytesOf(rows.element));
}

Num HostRows::load(const Rows &rows, const Column &column) {
  Value vector = decode(host, rows.element, address(rows, column.first), column.lanes);
  return num(fromVector(host, vector, column.lanes));
}

void HostRows::store(const Rows &rows, const Column &column, const Num &value) {
  Value wide = host.spread(value.value, column.lanes);
  if (isa<Float8E4M3FNType>(rows.element))
    wide = rows::encodeE4M3(host, wide);
  host.store(wide, address(rows, column.first));
}

Num HostRows::at(const Rows &rows, const Num &column) {
  Value place = address(rows, column);
  return num(rows.element.isInteger(32) ? host.loadIndex(place) : host.loadScalarAsF32(rows.element, place));
}

void HostRows::put(const Rows &rows, const Num &column, const Num &value) {
  bool isPower = isa<Float8E8M0FNUType>(rows.element);
  host.store(isPower ? rows::encodeE8M0(host, value.value) : host.convert(rows.element, value.value), address(rows, column));
}

Num HostRows::loadScale(const Quantized &quantized, const Group &group) {
  return at(quantized.scales.ofRow(row() / quantized.blockRows), group.index);
}

void HostRows::storeScale(const Quantized &quantized, const Group &group, const Num &scale) {
  put(quantized.scales, group.index, scale);
}

Rows HostRows::scratch(int64_t count, Type element) {
  Rows list = rows::listAt(context.allocate(count * bytesOf(element)), element, count);
  list.isScratch = true;
  return list;
}

//===----------------------------------------------------------------------===//
// Columns
//===----------------------------------------------------------------------===//

void HostRows::forColumns(const Group &group, Body<Column> body) {
  host.chunks(group.columns,
              [&](Value offset, int64_t lanes) { body({group.first + num(offset), lanes, group.columns, false}); });
}

void HostRows::forGroups(int64_t count, int64_t columns, Body<const Group &> body) {
  int64_t whole = count / columns;
  host.loop(host.size(0), host.size(whole), 1, [&](Value index) { body({num(index), num(index) * columns, columns}); });
  if (int64_t rest = count % columns)
    body({size(whole), size(whole * columns), rest});
}

void HostRows::forEach(const Num &begin, const Num &end, Body<Num> body) {
  host.loop(begin.value, end.value, 1, [&](Value index) { body(num(index)); });
}

void HostRows::forConstants(ArrayRef<double> values, function_ref<void(Column, Num)> body) {
  constexpr int64_t kDoubles = 8;
  for (int64_t first = 0, count = values.size(); first < count; first += kDoubles) {
    int64_t lanes = std::min(kDoubles, count - first);
    auto type = VectorType::get(lanes, host.getF64Type());
    Value part = arith::ConstantOp::create(host, DenseElementsAttr::get(type, values.slice(first, lanes)));
    body({size(first), lanes, count, false}, num(fromVector(host, part, lanes)));
  }
}

Num HostRows::reduce(const Group &group, const Num &init, Fold fold, function_ref<Value(Value)> combine,
                     function_ref<Value(Value, Value)> join) {
  auto step = [&](Value offset, int64_t lanes, Value sum) {
    Num next = fold({group.first + num(offset), lanes, group.columns, false}, num(fromVector(host, sum, lanes)));
    return toVector(host, next.value, lanes);
  };
  return num(host.reduceChunks(group.columns, init.value, step, combine, join));
}

Num HostRows::sum(int64_t count, Fold fold) {
  return reduce({size(0), size(0), count}, constant(0.0), fold, [&](Value vector) { return host.sumLanes(vector); },
                [&](Value left, Value right) { return host.add(left, right); });
}

Num HostRows::max(const Group &group, const Num &least, Fold fold) {
  return reduce(group, least, fold, [&](Value vector) { return host.maxLanes(vector); },
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
    bool scaleFits = isa<Float32Type, Float8E8M0FNUType>(type.getScaleType());
    if (!isa<Float8E4M3FNType>(type.getStorageType()) || !scaleFits || type.getBlockExtent(type.getRank() - 2) != 1)
      return op->emitError("the host quantizes rows to f8E4M3FN with f32 or f8E8M0FNU scales, not to ") << type;
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
  for (Value operand : op->getOperands()) {
    bool found = isa<ShapedType>(operand.getType())              ? context.operands.rows(operand).has_value()
                 : isa<qblock::BlockTensorType>(operand.getType()) ? context.operands.quantized(operand).has_value()
                                                                   : true;
    if (!found)
      return unsupportedOperand(op);
  }
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
