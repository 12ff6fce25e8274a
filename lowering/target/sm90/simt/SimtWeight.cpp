//===- SimtWeight.cpp - weights as kernels without tensor cores read them --===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "lowering/target/sm90/simt/SimtWeight.h"

using namespace mlir;

namespace quant::nvvm {

Result<SimtWeight> SimtWeight::of(const KernelOperands &operands, Value value) {
  SimtWeight weight;
  QUANT_TRY_ASSIGN(static_cast<qblock::Weight &>(weight), operands.weight(value));
  // A lane's four columns share a scale.
  if (weight.zeroType || (weight.scaleType && weight.blockColumns % kQuad != 0 && weight.blockColumns < weight.columns))
    return fail("a weight has a scheme that kernels do not know: " + textOf(value.getType()));
  if (!isa<Float32Type, BFloat16Type, Float16Type, Float8E4M3FNType, Float8E5M2Type>(weight.storage))
    return fail("a weight is stored as " + textOf(weight.storage) + ", which kernels do not read");
  return weight;
}

std::pair<WeightPart, Value> SimtWeight::partOf(SimtBuilder &b, Value row) const {
  WeightPart picked = parts.front();
  Value first = b.int32(0);
  for (const WeightPart &part : ArrayRef(parts).drop_front()) {
    Value isHere = b.compare(arith::CmpIPredicate::sge, row, part.firstRow);
    picked.data = b.select(isHere, part.data, picked.data);
    if (part.scale)
      picked.scale = b.select(isHere, part.scale, picked.scale);
    first = b.select(isHere, b.int32(part.firstRow), first);
  }
  return {picked, b.sub(row, first)};
}

rows::Rows SimtWeight::rowsOf(const WeightPart &part) const { return {part.data, storage, columns, columns}; }

Value SimtWeight::scaleAt(SimtBuilder &b, const WeightPart &part, Value row, Value column) const {
  if (!part.scale)
    return {};
  // The lanes beyond the last column take the scale of the last.
  Value inside = columns % kWarpColumns == 0 ? column : b.min(column, columns - 1);
  Value index = b.add(b.mul(b.div(row, blockRows), scaleColumns()), b.div(inside, blockColumns));
  return b.loadNumber(scaleType, b.at(part.scale, scaleType, index));
}

} // namespace quant::nvvm
