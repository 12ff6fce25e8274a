//===- SimtWeight.cpp - weights as kernels without tensor cores read them --===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "lowering/target/sm90/simt/SimtWeight.h"

#include "dialects/rows/NarrowFloats.h"

#include "llvm/Support/FormatVariadic.h"

using namespace mlir;

namespace quant::nvvm {

Result<SimtWeight> SimtWeight::of(const KernelOperands &operands, Value value) {
  SimtWeight weight;
  QUANT_TRY_ASSIGN(static_cast<qblock::Weight &>(weight), operands.weight(value));
  // A lane's four columns share a scale.
  if (weight.scaleType && weight.blockColumns % kQuad != 0 && weight.blockColumns < weight.columns)
    return fail("a weight has a scheme that kernels do not know: " + textOf(value.getType()));
  if (int64_t bits = weight.storage.getIntOrFloatBitWidth(); isa<IntegerType>(weight.storage) || bits == 4) {
    int64_t multiple = bits == 4 ? 8 : kQuad;
    if ((bits != 8 && bits != 4) || weight.columns % multiple != 0)
      return fail(llvm::formatv("a weight is stored as {0} with {1} columns; kernels read rows of a multiple of {2}",
                                weight.storage, weight.columns, multiple)
                      .str());
  } else if (!isa<Float32Type, BFloat16Type, Float16Type, Float8E4M3FNType, Float8E5M2Type>(weight.storage)) {
    return fail("a weight is stored as " + textOf(weight.storage) + ", which kernels do not read");
  }
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
    if (part.zero)
      picked.zero = b.select(isHere, part.zero, picked.zero);
    if (part.global)
      picked.global = b.select(isHere, part.global, picked.global);
    first = b.select(isHere, b.int32(part.firstRow), first);
  }
  return {picked, b.sub(row, first)};
}

Value SimtWeight::rowAddress(SimtBuilder &b, const WeightPart &part, Value row) const {
  if (isWholeFloat())
    return b.rowAddress({part.data, storage, columns, columns}, row);
  int64_t pitch = columns * storage.getIntOrFloatBitWidth() / 8;
  return b.rowAddress({part.data, b.i8(), pitch, pitch}, row);
}

/// Four codes from a column that is a multiple of four on, in one load, as i32.
Value SimtWeight::loadCodes(SimtBuilder &b, Value rowAddress, Value column) const {
  bool isUnsigned = storage.isUnsignedInteger();
  if (storage.getIntOrFloatBitWidth() == 8) {
    Value codes = b.load(VectorType::get(kQuad, b.i8()), b.at(rowAddress, b.i8(), column), kQuad);
    return isUnsigned ? b.zeroExtend(b.i32(), codes) : b.convert(b.i32(), codes);
  }
  Value pair = b.load(b.getI16Type(), b.at(rowAddress, b.i8(), b.div(column, 2)), 2);
  VectorType words = VectorType::get(kQuad, b.i32());
  Value shifts = arith::ConstantOp::create(b, DenseElementsAttr::get(words, ArrayRef<int32_t>{0, 4, 8, 12}));
  Value codes = b.bitAnd(b.shiftRight(b.spread(b.zeroExtend(b.i32(), pair), kQuad), shifts), 15);
  return isUnsigned || isa<FloatType>(storage) ? codes : b.sub(b.bitXor(codes, b.integer(words, 8)), 8);
}

Value SimtWeight::loadColumns(SimtBuilder &b, const WeightPart &part, Value row, Value rowAddress,
                              const rows::Column &column) const {
  if (isWholeFloat())
    return b.loadColumns({{}, storage, columns, columns}, rowAddress, column);
  Value first = column.mayExceed ? b.min(column.first.value, columns - kQuad) : column.first.value;
  Value codes = loadCodes(b, rowAddress, first);
  Value values = isa<FloatType>(storage) ? rows::decodeE2M1(b, codes) : b.convert(b.f32(), codes);
  if (zeroConstant)
    values = b.sub(values, b.number(static_cast<double>(zeroConstant), kQuad));
  if (part.zero) {
    Value zero = b.load(b.i8(), b.at(part.zero, b.i8(), scaleIndex(b, row, first)));
    zero = b.convert(b.f32(), zeroType.isUnsignedInteger() ? b.zeroExtend(b.i32(), zero) : zero);
    values = b.sub(values, b.spread(zero, kQuad));
  }
  return b.inside(column, values, b.number(0.0, kQuad));
}

Value SimtWeight::scaleIndex(SimtBuilder &b, Value row, Value column) const {
  // The lanes beyond the last column take the scale of the last.
  Value inside = columns % kWarpColumns == 0 ? column : b.min(column, columns - 1);
  return b.add(b.mul(b.div(row, blockRows), scaleColumns()), b.div(inside, blockColumns));
}

Value SimtWeight::scaleAt(SimtBuilder &b, const WeightPart &part, Value row, Value column) const {
  if (!part.scale)
    return {};
  Value scale = b.loadNumber(scaleType, b.at(part.scale, scaleType, scaleIndex(b, row, column)));
  return part.global ? b.div(scale, b.loadNumber(b.f32(), part.global)) : scale;
}

} // namespace quant::nvvm
