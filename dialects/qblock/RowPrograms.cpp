//===- RowPrograms.cpp - quantizing a row ---------------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "dialects/qblock/RowPrograms.h"

#include "dialects/qblock/QBlock.h"

using namespace mlir;
using namespace quant;
using namespace quant::qblock;
using namespace quant::rows;

//===----------------------------------------------------------------------===//
// Words
//===----------------------------------------------------------------------===//

static void quantizeGroup(RowBuilder &b, const Group &group, const Quantization &to, RowValue value) {
  constexpr double kLargestE4M3 = 448.0, kLargestInt8 = 127.0;
  bool isInteger = isa<IntegerType>(to.target.codes.element);
  Num amax = b.max(group, b.constant(to.amaxFloor), [&](Column column, Num largest) { return max(abs(value(column)), largest); });
  Num scale = amax / (isInteger ? kLargestInt8 : kLargestE4M3);
  if (to.powerOfTwo)
    scale = b.roundUpToPowerOfTwo(scale);
  b.forColumns(group, [&](Column column) {
    Num code = b.divide(value(column), scale);
    b.store(to.target.codes, column, isInteger ? roundEven(code) : code);
  });
  b.storeScale(to.target, group, scale);
}

void quant::qblock::quantizeRow(RowBuilder &b, const Quantization &to, RowValue value) {
  b.forGroups(to.target.codes.columns, to.target.blockColumns, [&](const Group &group) { quantizeGroup(b, group, to, value); });
}

void quant::qblock::storeRow(RowBuilder &b, const Rows &target, const std::optional<Quantization> &to, RowValue value) {
  if (!to)
    return b.forColumns(target.columns, [&](Column column) { b.store(target, column, value(column)); });
  b.forGroups(target.columns, to->target.blockColumns, [&](const Group &group) {
    b.forColumns(group, [&](Column column) { b.store(target, column, value(column)); });
    quantizeGroup(b, group, *to, value);
  });
}

void quant::qblock::dequantizeRow(RowBuilder &b, const Quantized &source, const Rows &target) {
  b.forGroups(target.columns, source.blockColumns, [&](const Group &group) {
    Num scale = b.loadScale(source, group);
    b.forColumns(group, [&](Column column) { b.store(target, column, b.load(source.codes, column) * scale); });
  });
}

//===----------------------------------------------------------------------===//
// Ops
//===----------------------------------------------------------------------===//

void QuantizeOp::buildRow(RowBuilder &b) {
  Rows x = b.rows(getSource());
  bool powerOfTwo = getPowerOfTwo() || isa<Float8E8M0FNUType>(getType().getScaleType());
  quantizeRow(b, {b.quantized(getResult()), getAmaxFloor().convertToDouble(), powerOfTwo},
              [&](Column column) { return b.load(x, column); });
}

Value GatherRowsOp::getRowSource() { return getRows(); }
ArrayRef<int64_t> GatherRowsOp::getRowShape() { return getType().getShape(); }

void GatherRowsOp::buildRow(RowBuilder &b) {
  Rows list = b.rows(getRows());
  Quantized target = b.quantized(getResult());
  Quantized source = b.quantized(getSource()).ofRow(b.at(list.asList(), b.row()) / list.columns);
  b.forGroups(target.codes.columns, target.blockColumns, [&](const Group &group) {
    b.forColumns(group, [&](Column column) { b.store(target.codes, column, b.load(source.codes, column)); });
    b.storeScale(target, group, b.loadScale(source, group));
  });
}

void GatherColumnsOp::buildRow(RowBuilder &b) {
  Rows x = b.rows(getX()), order = b.rows(getOrder()), target = b.rows(getResult());
  if (getSlots().empty()) {
    order = order.asList();
  } else {
    Rows ids = b.rows(getSlots()[0]), rows = b.rows(getSlots()[1]);
    Num slot = b.at(rows.asList(), b.row());
    order = order.ofRow(b.at(ids.asList(), slot));
    if (cast<RankedTensorType>(getX().getType()).getRank() == 2)
      x = x.ofRow(slot / rows.columns);
  }
  b.forEach(order.columns, [&](Num column) { b.put(target, column, b.at(x, b.at(order, column))); });
  int64_t rest = x.columns - order.columns;
  if (rest == 0)
    return;
  Rows from = x.slice(order.columns, rest), to = target.slice(order.columns, rest);
  b.forColumns(rest, [&](Column column) { b.store(to, column, b.load(from, column)); });
}

void DequantizeOp::buildRow(RowBuilder &b) { dequantizeRow(b, b.quantized(getSource()), b.rows(getResult())); }

int64_t QuantizeOp::getIndependentColumns() { return getType().getBlockExtent(getType().getRank() - 1); }
int64_t DequantizeOp::getIndependentColumns() {
  BlockTensorType type = getSource().getType();
  return type.getBlockExtent(type.getRank() - 1);
}
