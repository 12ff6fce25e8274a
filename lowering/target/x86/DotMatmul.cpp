//===- DotMatmul.cpp - few rows of x, straight from the weight ---------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "lowering/target/x86/DotMatmul.h"

#include "dialects/rows/NarrowFloats.h"
#include "lowering/target/x86/Decode.h"
#include "lowering/target/x86/TileRegisters.h"

#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "llvm/ADT/STLExtras.h"

#include <limits>

using namespace mlir;
using namespace quant::host;

/// How far ahead of its use a weight is fetched to the first-level cache and to the second.
static constexpr int64_t kNearBytes = 512, kFarBytes = 2048;
/// Weight rows at a time for one row of x, where there are the registers for it.
static constexpr int64_t kStreams = 4;
/// Bytes of x in a chunk of several tokens: half a first-level cache of 32 KB, beside the weights that pass through.
static constexpr int64_t kChunkBytes = 16 << 10;
/// Bytes of the sums of a weight row with a row of x, one for each lane; also of what they start from.
static constexpr int64_t kSumBytes = kLanes * 4;
/// Bytes of a vector of codes.
static constexpr int64_t kVectorBytes = 64;
/// What a copied row may take beyond 4 bytes a column: a rest of 128 columns at most, in pieces of 8 columns or more, each of two
/// vectors of codes and what products start from.
static constexpr int64_t kRestBytes = 128 / 8 * 3 * kVectorBytes;

/// Columns of a vector of codes.
static int64_t vectorColumns(const WeightForm &form) { return isNibbles(form.storage) ? 2 * kVectorBytes : kVectorBytes; }

bool DotMatmul::multipliesBytes(const WeightForm &form, bool hasInt8Inputs, const quant::machine::X86Unit &unit) {
  bool hasWholeVectors = form.hasIntegerSpans() && form.dotSpan % vectorColumns(form) == 0;
  return hasInt8Inputs && unit.hasPackedDots && (form.hasIntegerSums() || hasWholeVectors);
}

DotMatmul::DotMatmul(HostBuilder &b, const WeightForm &form, const MatmulSchedule &sizes, const RowRange &range)
    : RangeMatmul(b, form, sizes, range), shuffled(shuffledColumns(b, form.storage)),
      usesBytes(multipliesBytes(form, range.hasInt8Inputs, b.target)) {
  dotWhole = b.sub(weight.columns, b.size(form.dotRest));
}

/// Weight rows whose products are computed together.
struct DotMatmul::Rows {
  SmallVector<Value> indices, data, scales;
};

/// `count` rows, `stride` apart; where the range ends before, its last one stands in.
DotMatmul::Rows DotMatmul::rowsFrom(Value first, Value stride, int64_t count) {
  Rows rows;
  for (int64_t r = 0; r < count; ++r) {
    rows.indices.push_back(b.min(b.add(first, b.mul(stride, r)), b.sub(range.end, 1)));
    rows.data.push_back(rowData(rows.indices[r]));
    rows.scales.push_back(r > 0 && range.oneScaleRow ? rows.scales[0] : rowScale(rows.indices[r]));
  }
  return rows;
}

/// 16 registers have room for the sums and the decoding of one row; bf16 is one instruction away from f32.
int64_t DotMatmul::streams() const {
  return b.target.registerBits >= 512 || form.storage.getIntOrFloatBitWidth() >= 16 ? kStreams : 1;
}

int64_t DotMatmul::scratchBytes(const MatmulSchedule &sizes, int64_t columns) {
  int64_t rows = std::max(sizes.rows, sizes.callRows) + std::max(kStreams, sizes.dotSums);
  return sizes.dotTokens * (rows * kSumBytes + columns * 4 + kRestBytes);
}

/// Groups of weight rows, whose sums with all tokens are held in registers while they meet a chunk of K. Of several tokens a
/// chunk is small enough to stay in the first-level cache for all rows; sums wait in scratch for the next one. The rows of a
/// group lie far apart, so that each is part of a long stream through the file: processors fetch a few long streams faster than
/// one, or many short ones. Where the rows or the tokens do not fill a group, the last one stands in and is stored twice.
void DotMatmul::emit(int64_t tokens) {
  int64_t count = tokens == 1 ? streams() : std::max<int64_t>(1, sizes.dotSums / tokens);
  Value lastToken = b.sub(range.tokens, b.size(1));
  SmallVector<Value> tokenIndices, sources;
  for (int64_t t = 0; t < tokens; ++t) {
    tokenIndices.push_back(tokens == 1 ? b.size(0) : b.min(b.size(t), lastToken));
    sources.push_back(inputRow(tokenIndices.back()));
  }
  Value stride = b.div(b.add(b.sub(range.end, range.begin), count - 1), count);
  Value inputs = sources.front(), sums = range.scratch;
  if (shuffled || tokens > 1 || range.hasInt8Inputs)
    inputs = copyInputs(sources, b.at(sums, b.mul(stride, count * tokens), kSumBytes));
  b.loop(b.size(0), b.mul(stride, count * tokens), 1,
         [&](Value sum) { b.store(b.splatF32(kLanes, 0.0f), b.at(sums, sum, kSumBytes)); });
  if (hasDeferredNans(b, form.storage))
    largestCode = initialLargestCode(b);
  auto forGroups = [&](function_ref<SmallVector<Value>(const Rows &rows, SmallVector<Value> sums)> add) {
    loopOverCodes(b.size(0), stride, b.size(1), [&](Value group) {
      SmallVector<Value> before;
      auto addressOf = [&](int64_t sum) { return b.at(b.at(sums, group, count * tokens * kSumBytes), sum * kSumBytes, 1); };
      for (int64_t sum = 0; sum < count * tokens; ++sum)
        before.push_back(b.load(sumType(), addressOf(sum)));
      for (auto [sum, value] : llvm::enumerate(add(rowsFrom(b.add(range.begin, group), stride, count), before)))
        b.store(value, addressOf(sum));
    });
  };
  int64_t chunkSpans = std::max<int64_t>(1, kChunkBytes / (copyBytes(form.dotSpan) * tokens));
  Value chunk = tokens == 1 ? b.max(dotWhole, b.size(1)) : b.size(chunkSpans * form.dotSpan);
  loopOverCodes(b.size(0), dotWhole, chunk, [&](Value column) {
    Value end = b.min(b.add(column, chunk), dotWhole);
    forGroups([&](const Rows &rows, SmallVector<Value> sums) { return addSpans(rows, inputs, tokens, column, end, sums); });
  });
  forGroups([&](const Rows &rows, SmallVector<Value> sums) -> SmallVector<Value> {
    if (form.dotRest)
      sums = dotSpan(rows, inputs, tokens, dotWhole, form.dotRest, sums);
    for (auto [r, row] : llvm::enumerate(rows.indices))
      for (int64_t t = 0; t < tokens; ++t)
        b.store(resultOf(sums[r * tokens + t], rows.scales[r], tokenIndices[t]), outputAddress(tokenIndices[t], row));
    return {};
  });
  if (largestCode)
    b.ifThen(hasNans(b, largestCode),
             [&] { b.loop(range.begin, range.end, 1, [&](Value row) { storeNans(row, tokenIndices); }); });
}

/// A loop that carries largestCode, where there is one.
void DotMatmul::loopOverCodes(Value begin, Value end, Value step, function_ref<void(Value index)> body) {
  if (!largestCode)
    return b.loop(begin, end, step, body);
  largestCode = b.loop(begin, end, step, {largestCode}, [&](Value index, ValueRange carried) {
    largestCode = carried.front();
    body(index);
    return SmallVector<Value>{largestCode};
  })[0];
}

/// Where one of the row's codes is NaN, its results are, whatever they were.
void DotMatmul::storeNans(Value row, ArrayRef<Value> tokens) {
  Value data = rowData(row);
  Value found = b.loop(b.size(0), weight.columns, 1, b.size(0), [&](Value column, ValueRange carried) -> SmallVector<Value> {
    Value isNan = b.equal(b.bitAnd(b.load(b.i8(), b.at(data, column, 1)), 0x7F), 0x7F);
    return {b.select(isNan, b.size(1), carried.front())};
  })[0];
  b.ifThen(b.equal(found, 1), [&] {
    for (Value token : tokens)
      b.store(b.number(std::numeric_limits<double>::quiet_NaN()), outputAddress(token, row));
  });
}

/// Integer sums in f32 are exact up to kExactColumns.
Value DotMatmul::resultOf(Value lanes, Value rowScale, Value token) {
  Value inputScale = range.hasInt8Inputs ? this->inputScale(token) : Value();
  if (!hasIntegerSums())
    return scaleSums(b.sumLanes(lanes), {}, inputScale);
  Value integers = usesBytes ? lanes : b.convert(b.i32(), lanes);
  Value sum = vector::ReductionOp::create(b, vector::CombiningKind::ADD, integers);
  return scaleSums(sum, loadScale(rowScale, b.size(0)), inputScale);
}

//===----------------------------------------------------------------------===//
// Rows of x
//===----------------------------------------------------------------------===//

/// Copies rows of x to `copy`, once here instead of in every weight row: a span of one row behind that of the other, so that one
/// address serves all, and each span in the order in which weights are decoded.
Value DotMatmul::copyInputs(ArrayRef<Value> rows, Value copy) {
  forSpans(dotWhole, form.dotSpan, form.dotRest, [&](Value column, int64_t columns) {
    for (auto [index, row] : llvm::enumerate(rows)) {
      Value source = b.at(row, column, inputBytes()), target = copyOf(copy, rows.size(), column, columns, index);
      for (int64_t begin = 0, piece = pieceOf(columns); begin < columns; begin += piece) {
        Value from = b.at(source, begin, inputBytes()), to = b.at(target, begin / piece * pieceBytes(piece), 1);
        int64_t count = std::min(piece, columns - begin);
        usesBytes ? copyCodes(from, to, count) : copyPiece(from, to, count);
      }
    }
  });
  return copy;
}

/// Bytes that a piece of columns takes of a copied row, or a span of them.
int64_t DotMatmul::pieceBytes(int64_t columns) {
  return usesBytes ? llvm::alignTo(columns, vectorColumns(form)) + kSumBytes : 4 * columns;
}
int64_t DotMatmul::copyBytes(int64_t columns) {
  int64_t piece = pieceOf(columns), rest = columns % piece;
  return columns / piece * pieceBytes(piece) + (rest ? pieceBytes(rest) : 0);
}

/// Where the span of `columns` from `column` on of a copied row begins.
Value DotMatmul::copyOf(Value copy, int64_t tokens, Value column, int64_t columns, int64_t token) {
  Value first =
      usesBytes ? b.at(copy, b.div(column, form.dotSpan), copyBytes(form.dotSpan) * tokens) : b.at(copy, column, 4 * tokens);
  return b.at(first, copyBytes(columns) * token, 1);
}

/// Inputs as they meet decoded codes; one is a scalar.
Value DotMatmul::loadScaledInput(Value address, int64_t lanes) {
  Value values = loadInput(address, lanes);
  if (!hasDeferredNans(b, form.storage))
    return values;
  return b.mul(values, lanes == 1 ? b.number(kInputFactor) : b.splatF32(lanes, kInputFactor));
}

void DotMatmul::copyPiece(Value source, Value target, int64_t columns) {
  int64_t offset = 0;
  for (; shuffled && offset + shuffled <= columns; offset += shuffled)
    b.store(shuffle(b, form.storage, loadScaledInput(b.at(source, offset, inputBytes()), shuffled)), b.at(target, offset, 4));
  for (int64_t lanes; offset < columns; offset += lanes) {
    lanes = std::min(kLanes, columns - offset);
    b.store(loadScaledInput(b.at(source, offset, inputBytes()), lanes), b.at(target, offset, 4));
  }
}

/// Bytes at `address`, and zeros up to a whole vector.
Value DotMatmul::loadVector(Value address, int64_t bytes) {
  if (bytes <= 0)
    return b.integer(b.vec(kVectorBytes, b.i8()), 0);
  return widen(b.load(b.vec(std::min(bytes, kVectorBytes), b.i8()), address), kVectorBytes);
}

Value DotMatmul::asDwords(Value bytes) { return vector::BitCastOp::create(b, b.vec(kLanes, b.i32()), bytes); }

/// Codes of x as they meet those of a weight, with zeros up to a whole vector; behind them what products start from: less the
/// weight codes' offset times the codes of x, lane by lane.
void DotMatmul::copyCodes(Value source, Value target, int64_t columns) {
  Value offset = asDwords(b.integer(b.vec(kVectorBytes, b.i8()), codeOffset()));
  Value none = b.integer(b.vec(kLanes, b.i32()), 0), sum = none;
  for (int64_t begin = 0; begin < columns; begin += vectorColumns(form)) {
    SmallVector<Value> vectors = {loadVector(b.at(source, begin, 1), columns - begin)};
    if (isNibbles(form.storage)) {
      vectors.push_back(loadVector(b.at(source, begin + kVectorBytes, 1), columns - begin - kVectorBytes));
      SmallVector<int64_t> even, odd;
      for (int64_t pair = 0; pair < kVectorBytes; ++pair) {
        even.push_back(2 * pair);
        odd.push_back(2 * pair + 1);
      }
      vectors = {vector::ShuffleOp::create(b, vectors[0], vectors[1], even),
                 vector::ShuffleOp::create(b, vectors[0], vectors[1], odd)};
    }
    for (auto [index, codes] : llvm::enumerate(vectors)) {
      b.store(codes, b.at(target, begin + static_cast<int64_t>(index) * kVectorBytes, 1));
      sum = dotBytes(b, sum, offset, asDwords(codes));
    }
  }
  b.store(b.sub(none, sum), b.at(target, llvm::alignTo(columns, vectorColumns(form)), 1));
}

//===----------------------------------------------------------------------===//
// Products
//===----------------------------------------------------------------------===//

/// Adds the products of columns [begin, end), which are whole dot spans, to the sums of each row and token, lane by lane.
SmallVector<Value> DotMatmul::addSpans(const Rows &rows, Value inputs, int64_t tokens, Value begin, Value end,
                                       SmallVector<Value> sums) {
  if (largestCode)
    sums.push_back(largestCode);
  sums = b.loop(begin, end, form.dotSpan, sums, [&](Value column, ValueRange carried) {
    if (largestCode)
      largestCode = carried.back();
    SmallVector<Value> next = dotSpan(rows, inputs, tokens, column, form.dotSpan, carried.take_front(rows.data.size() * tokens));
    if (largestCode)
      next.push_back(largestCode);
    return next;
  });
  if (largestCode)
    largestCode = sums.pop_back_val();
  return sums;
}

/// Whether several blocks meet in so many columns, and each lane of the shuffled order stays within one.
bool DotMatmul::hasLaneScales(int64_t columns) {
  return columns == form.dotSpan && form.dotSpan != form.span && shuffled == form.dotSpan;
}

/// Columns that are scaled alike, or lane by lane.
int64_t DotMatmul::pieceOf(int64_t columns) {
  return form.dotSpan == form.span || hasLaneScales(columns) ? columns : std::min(form.blockColumns, columns);
}

/// The scales or zero points at `base` of a whole dot span, for each lane that of its block.
Value DotMatmul::loadLanes(Type type, Value base, Value rowScale, Value column) {
  int64_t count = form.dotSpan / form.blockColumns;
  Value pointer = b.at(base, scaleIndex(rowScale, column), bytesOf(type));
  Value each = isDecodable(type) ? decode(b, type, pointer, count) : rows::decodeE8M0(b, b.load(b.vec(count, b.i8()), pointer));
  SmallVector<int64_t> mask(kLanes);
  for (int64_t lane = 0; lane < kLanes; ++lane)
    mask[lane] = shuffledColumn(b, form.storage, 0, lane) / form.blockColumns;
  if (globalScale)
    each = b.div(each, b.splat(globalScale, count));
  return vector::ShuffleOp::create(b, each, each, mask);
}

SmallVector<Value> DotMatmul::dotSpan(const Rows &rows, Value input, int64_t tokens, Value column, int64_t columns,
                                      ValueRange acc) {
  SmallVector<Value> result, inputs;
  for (int64_t t = 0; t < tokens; ++t)
    inputs.push_back(copyOf(input, tokens, column, columns, t));
  for (auto [r, data] : llvm::enumerate(rows.data)) {
    Value source = b.at(data, storageOffset(column), 1);
    for (int64_t line = 0; line < storageBytes(form.storage, columns); line += kCacheLine) {
      b.prefetch(b.at(source, kNearBytes + line, 1), 3);
      b.prefetch(b.at(source, kFarBytes + line, 1), 2);
    }
    auto sums = llvm::to_vector(acc.slice(r * tokens, tokens));
    for (int64_t begin = 0, piece = pieceOf(columns); begin < columns; begin += piece)
      sums = dotPiece(
          {b.at(source, storageBytes(form.storage, begin), 1), rows.scales[r], b.add(column, begin)},
          std::min(piece, columns - begin), hasLaneScales(columns),
          llvm::map_to_vector(inputs, [&](Value x) { return begin ? b.at(x, begin / piece * pieceBytes(piece), 1) : x; }), sums);
    llvm::append_range(result, sums);
  }
  return result;
}

/// Some columns of one row: the products of what is scaled alike are summed and then scaled ("promotion"), in the same order for
/// any number of tokens.
SmallVector<Value> DotMatmul::dotPiece(const Place &place, int64_t columns, bool laneScales, ArrayRef<Value> inputs,
                                       SmallVector<Value> acc) {
  Value zero = laneScales && form.zeroType ? loadLanes(form.zeroType, weight.zero, place.rowScale, place.column)
                                           : loadZero(place.rowScale, place.column);
  Value scale = hasIntegerSums() ? Value()
                : laneScales     ? loadLanes(form.scaleType, weight.scale, place.rowScale, place.column)
                                 : loadScale(place.rowScale, place.column);
  Value factor = hasDeferredNans(b, form.storage) ? b.splatF32(kLanes, 1 / (kDeferredFactor * kInputFactor)) : Value();
  Value scales = !scale || laneScales ? scale : b.splat(scale, kLanes);
  if (usesBytes) {
    for (auto [product, sum] : llvm::zip_equal(byteProducts(place.source, columns, inputs), acc))
      sum = scales ? b.fma(b.convert(b.f32(), product), scales, sum) : b.add(product, sum);
    return acc;
  }
  if (!scale && !factor)
    return spanProducts(place.source, columns, zero, inputs, acc);
  SmallVector<Value> none(acc.size(), b.splatF32(kLanes, 0.0f));
  SmallVector<Value> products = spanProducts(place.source, columns, zero, inputs, none);
  for (auto [product, sum] : llvm::zip_equal(products, acc)) {
    Value whole = scales && factor ? b.mul(product, factor) : product;
    sum = b.fma(whole, scales ? scales : factor, sum);
  }
  return acc;
}

/// Adds the products of one row's span with each of `inputs` to `acc`, lane by lane; times kDeferredFactor and kInputFactor
/// where there is hasDeferredNans().
SmallVector<Value> DotMatmul::spanProducts(Value source, int64_t columns, Value zero, ArrayRef<Value> inputs,
                                           SmallVector<Value> acc) {
  forPieces(
      source, columns, /*scale=*/{}, zero,
      [&](int64_t offset, int64_t lanes, Value value) {
        for (auto [input, sum] : llvm::zip_equal(inputs, acc))
          sum = b.fma(widen(value), widen(b.load(b.vecF32(lanes), b.at(input, offset, 4))), sum);
      },
      shuffled > 0, hasDeferredNans(b, form.storage) ? &largestCode : nullptr);
  return acc;
}

/// What a code as an unsigned byte is more than the number it stands for.
int64_t DotMatmul::codeOffset() {
  int64_t ofSign = form.storage.isUnsignedInteger() ? 0 : 1 << (form.storage.getIntOrFloatBitWidth() - 1);
  return ofSign + form.zeroConstant;
}

/// The products of one row's codes with those of each of `inputs`, in i32, lane by lane: unsigned bytes of the weight with signed
/// ones of x (vpdpbusd), from copyCodes()'s start on. Of 4-bit codes the even columns, then the odd ones.
SmallVector<Value> DotMatmul::byteProducts(Value source, int64_t columns, ArrayRef<Value> inputs) {
  int64_t step = vectorColumns(form);
  Type dwords = b.vec(kLanes, b.i32());
  SmallVector<Value> products =
      llvm::map_to_vector(inputs, [&](Value input) { return b.load(dwords, b.at(input, llvm::alignTo(columns, step), 1)); });
  for (int64_t begin = 0; begin < columns; begin += step) {
    int64_t first = storageBytes(form.storage, begin);
    Value codes = loadVector(b.at(source, first, 1), storageBytes(form.storage, columns) - first);
    bool isNibble = isNibbles(form.storage);
    if (!form.storage.isUnsignedInteger())
      codes = b.bitXor(codes, b.integer(codes.getType(), isNibble ? 0x88 : 0x80));
    SmallVector<Value> vectors = {codes};
    if (isNibble)
      vectors = {b.bitAnd(codes, 15), b.shiftRight(codes, 4)};
    for (auto [index, vector] : llvm::enumerate(vectors))
      for (auto [input, product] : llvm::zip_equal(inputs, products)) {
        Value x = b.load(dwords, b.at(input, begin + static_cast<int64_t>(index) * kVectorBytes, 1));
        product = dotBytes(b, product, asDwords(vector), x);
      }
  }
  return products;
}
