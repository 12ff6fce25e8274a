//===- WeightReader.cpp - rows of a weight, decoded --------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "lowering/target/x86/WeightReader.h"

#include "lowering/target/x86/Decode.h"

#include "llvm/Support/raw_ostream.h"

#include <numeric>

using namespace mlir;
using namespace quant;
using namespace quant::host;

/// Columns of a span at most: enough straight code to hide the latencies of decoding.
static constexpr int64_t kMaxSpan = 128;

static int64_t spanColumns(const Weight &weight) {
  if (!weight.scaleType || weight.blockColumns >= weight.columns)
    return std::min(kMaxSpan, weight.columns);
  return weight.blockColumns <= kMaxSpan ? weight.blockColumns : std::gcd(weight.blockColumns, kMaxSpan);
}

/// As many columns as are decoded at once in another order, where each of its lanes stays within one block.
static int64_t dotSpanOf(Type storage, int64_t blockColumns, int64_t span) {
  bool isNarrow = blockColumns > 0 && span == blockColumns;
  if (isNibbles(storage) && isNarrow && blockColumns % 8 == 0 && 128 % blockColumns == 0)
    return 128;
  if (isa<Float8E4M3FNType, Float8E5M2Type>(storage) && isNarrow && blockColumns % 16 == 0 && 64 % blockColumns == 0)
    return 64;
  return span;
}

WeightForm::WeightForm(const Weight &weight)
    : storage(weight.storage), scaleType(weight.scaleType), zeroType(weight.zeroType), zeroConstant(weight.zeroConstant),
      hasGlobalScale(weight.hasGlobalScale), blockRows(weight.scaleType ? weight.blockRows : 1),
      blockColumns(weight.scaleType && weight.blockColumns < weight.columns ? weight.blockColumns : 0), span(spanColumns(weight)),
      rest(weight.columns % span), dotSpan(dotSpanOf(storage, blockColumns, span)), dotRest(weight.columns % dotSpan) {}

/// Whether codes, less the zero point that all have, are integers of 8 bits.
static bool isInt8(const WeightForm &form) {
  constexpr int64_t kMiddle = 128;
  auto type = dyn_cast<IntegerType>(form.storage);
  bool fits = type && (type.getWidth() == 4 || form.zeroConstant == (type.isUnsigned() ? kMiddle : 0));
  return fits && form.scaleType && !form.zeroType;
}

bool WeightForm::hasIntegerSums() const { return isInt8(*this) && !blockColumns; }

bool WeightForm::hasIntegerSpans() const { return isInt8(*this) && blockColumns; }

std::string WeightForm::name() const {
  std::string name;
  llvm::raw_string_ostream out(name);
  out << storage;
  for (Type type : {scaleType, zeroType})
    if (type)
      out << "_" << type;
  if (hasGlobalScale)
    out << "_global";
  if (zeroConstant)
    out << "_z" << zeroConstant;
  if (scaleType)
    out << "_" << blockRows << "x" << (blockColumns ? std::to_string(blockColumns) : "K");
  if (span != kMaxSpan && span != blockColumns)
    out << "_span" << span;
  if (rest)
    out << "_rest" << rest;
  if (dotRest != rest)
    out << "_dot" << dotRest;
  return name;
}

WeightReader::WeightReader(HostBuilder &b, const WeightForm &form, const WeightData &weight) : b(b), form(form), weight(weight) {
  whole = b.sub(weight.columns, b.size(form.rest));
  rowBytes = storageOffset(weight.columns);
  if (form.hasGlobalScale)
    globalScale = b.load(b.f32(), weight.global);
}

Value WeightReader::storageOffset(Value elements) {
  unsigned bits = form.storage.getIntOrFloatBitWidth();
  return bits < 8 ? b.div(elements, 8 / bits) : b.mul(elements, bits / 8);
}

Value WeightReader::rowData(Value row) { return b.at(weight.data, b.mul(row, rowBytes), 1); }

Value WeightReader::rowScale(Value row) { return b.mul(b.div(row, form.blockRows), weight.scaleColumns); }

Value WeightReader::scaleIndex(Value rowScale, Value column) {
  return form.blockColumns ? b.add(rowScale, b.div(column, form.blockColumns)) : rowScale;
}

Value WeightReader::loadScale(Value rowScale, Value column) {
  if (!form.scaleType)
    return {};
  Value scale = b.loadNumber(form.scaleType, b.at(weight.scale, scaleIndex(rowScale, column), bytesOf(form.scaleType)));
  return globalScale ? b.div(scale, globalScale) : scale;
}

Value WeightReader::loadZero(Value rowScale, Value column) {
  if (form.zeroConstant)
    return b.number(static_cast<double>(form.zeroConstant));
  if (!form.zeroType)
    return {};
  Value code = b.load(b.i8(), b.at(weight.zero, scaleIndex(rowScale, column), 1));
  return b.convert(b.f32(), form.zeroType.isUnsignedInteger() ? b.zeroExtend(b.i32(), code) : code);
}

void WeightReader::forPieces(Value source, int64_t columns, Value scale, Value zero, Piece body, bool shuffled,
                             Value *largestCode) {
  int64_t offset = 0;
  auto address = [&] { return b.at(source, storageBytes(form.storage, offset), 1); };
  auto piece = [&](int64_t first, int64_t lanes, Value value, Value zero) {
    if (zero)
      value = b.sub(value, isa<VectorType>(zero.getType()) ? zero : b.splat(zero, lanes));
    if (scale)
      value = b.mul(value, b.splat(scale, lanes));
    body(first, lanes, value);
  };
  int64_t together = shuffled ? shuffledColumns(b, form.storage) : 0;
  for (; together && offset + together <= columns; offset += together)
    for (auto [part, value] : llvm::enumerate(decodeShuffled(b, form.storage, address(), form.zeroConstant, largestCode)))
      piece(offset + kLanes * part, kLanes, value, form.zeroConstant ? Value() : zero);
  for (; !shuffled && hasDecode64(b, form.storage) && offset + 64 <= columns; offset += 64)
    for (auto [quarter, value] : llvm::enumerate(decode64(b, form.storage, address())))
      piece(offset + kLanes * quarter, kLanes, value, zero);
  while (offset < columns) {
    int64_t lanes = std::min(kLanes, columns - offset);
    Value value = decode(b, form.storage, address(), lanes);
    piece(offset, lanes, largestCode ? b.mul(value, b.splatF32(lanes, kDeferredFactor)) : value, zero);
    offset += lanes;
  }
}

void WeightReader::forSpans(Value whole, int64_t span, int64_t rest, function_ref<void(Value column, int64_t columns)> body) {
  b.loop(b.size(0), whole, span, [&](Value column) { body(column, span); });
  if (rest)
    body(whole, rest);
}

void WeightReader::decodeRow(Value row, Value target) {
  Value data = rowData(row), scales = rowScale(row);
  forSpans(whole, form.span, form.rest, [&](Value column, int64_t columns) {
    Value scale = loadScale(scales, column), zero = loadZero(scales, column);
    forPieces(b.at(data, storageOffset(column), 1), columns, scale, zero,
              [&](int64_t offset, int64_t lanes, Value value) { b.store(value, b.at(target, b.add(column, offset), 4)); });
  });
}
