//===- LatentCache.cpp - rows of the latent cache -------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "dialects/deepseek/LatentCache.h"

#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace quant;
using namespace quant::deepseek;
using namespace quant::rows;

/// The least amax that a scale is made of, as everywhere (DeepSeek's act_quant).
static constexpr double kAmaxFloor = 1e-4;
static constexpr int64_t kInt4Group = 32, kInt4Half = kInt4Group / 2;

//===----------------------------------------------------------------------===//
// Layout
//===----------------------------------------------------------------------===//

namespace {
/// Where a row's parts begin, in bytes; columns of a scale.
struct Layout {
  int64_t scales, ropes, bytes, groupColumns;
};
} // namespace

static int64_t groupsOf(int64_t latent, int64_t columns) { return llvm::divideCeil(latent, columns); }

static Layout layoutOf(CacheFormat format, int64_t latent, int64_t rope) {
  constexpr int64_t kF32 = 4, kTwoBytes = 2, kFp8Group = 128;
  int64_t scales = 0, ropes = 0, group = 0, alignment = kTwoBytes;
  if (format == CacheFormat::FP8) {
    group = kFp8Group;
    scales = llvm::alignTo(latent, kF32);
    ropes = scales + groupsOf(latent, group) * kF32;
    alignment = kF32;
  } else if (format == CacheFormat::INT8) {
    group = latent;
    scales = llvm::alignTo(latent, kTwoBytes);
    ropes = scales + kTwoBytes;
  } else {
    group = kInt4Group;
    scales = groupsOf(latent, group) * kInt4Half;
    ropes = scales + groupsOf(latent, group) * kTwoBytes;
  }
  return {scales, ropes, static_cast<int64_t>(llvm::alignTo(ropes + rope * kTwoBytes, alignment)), group};
}

static bool isOfBytes(CacheFormat format) { return format != CacheFormat::F32 && format != CacheFormat::BF16; }

MemRefType quant::deepseek::cacheType(MLIRContext *context, CacheFormat format, int64_t latent, int64_t rope) {
  Builder b(context);
  if (isOfBytes(format))
    return MemRefType::get({ShapedType::kDynamic, layoutOf(format, latent, rope).bytes}, b.getI8Type());
  return MemRefType::get({ShapedType::kDynamic, latent + rope},
                         format == CacheFormat::BF16 ? Type(b.getBF16Type()) : b.getF32Type());
}

/// `count` numbers of each row of bytes, from byte `first` on.
static Rows part(const Rows &bytes, Type element, int64_t first, int64_t count) {
  int64_t size = (element.getIntOrFloatBitWidth() + 7) / 8;
  Rows numbers = bytes;
  numbers.element = element;
  numbers.columns = count;
  numbers.stride = bytes.stride / size;
  numbers.offset = first / size;
  return numbers;
}

LatentCache::LatentCache(const Rows &cache, std::optional<CacheFormat> format, int64_t latent, int64_t rope)
    : latent(latent), ropes(cache.slice(latent, rope)), format(format), codes(cache.slice(0, latent)) {
  if (!format)
    return;
  Layout layout = layoutOf(*format, latent, rope);
  Builder b(cache.element.getContext());
  groupColumns = layout.groupColumns;
  bool isFp8 = format == CacheFormat::FP8;
  codes = part(cache, isFp8 ? Type(b.getType<Float8E4M3FNType>()) : b.getI8Type(), 0,
               format == CacheFormat::INT4 ? layout.scales : latent);
  scales = part(cache, isFp8 ? b.getF32Type() : b.getF16Type(), layout.scales, groupsOf(latent, groupColumns));
  ropes = part(cache, b.getBF16Type(), layout.ropes, rope);
}

//===----------------------------------------------------------------------===//
// Words
//===----------------------------------------------------------------------===//

/// Codes of int4 at `column`, out of the bytes that hold them: each is 16 * high + low + 8, a signed number.
static Num loadInt4(RowBuilder &b, const Rows &bytes, const Column &column) {
  Num inGroup = column.first % kInt4Group;
  Num first = column.first / kInt4Group * kInt4Half + inGroup % kInt4Half;
  Num pairs = b.load(bytes, {first, column.lanes, bytes.columns, column.mayExceed});
  // 16 * high + low + 8 - 7.5 is nearest to 16 * high for each low from -8 to 7.
  Num high = roundEven((pairs - 7.5) * 0.0625), low = fma(high, -16.0, pairs) - 8.0;
  return select(inGroup < kInt4Half, low, high);
}

Num LatentCache::load(RowBuilder &b, const Num &row, const Column &column) const {
  Rows stored = codes.ofRow(row);
  if (!format)
    return b.load(stored, column);
  Num first = column.mayExceed ? select(column.first < latent, column.first, latent - 1) : column.first;
  Num scale = b.at(scales.ofRow(row), first / groupColumns);
  return (format == CacheFormat::INT4 ? loadInt4(b, stored, column) : b.load(stored, column)) * scale;
}

/// max(amax, floor) / largest, as f16 stores it.
static Num scaleOf(const Num &amax, double largest) {
  constexpr double kLargestF16 = 65504.0;
  KernelBuilder &b = *amax.b;
  Num scale = amax / largest;
  scale = select(scale < kLargestF16, scale, kLargestF16);
  return {b, b.convert(b.f32(), b.convert(b.getF16Type(), scale.value))};
}

/// A number as a code from `least` to `largest`.
static Num codeOf(RowBuilder &b, const Num &value, const Num &scale, double least, double largest) {
  Num code = max(roundEven(b.divide(value, scale)), least);
  return select(code < largest, code, largest);
}

void LatentCache::storeInt8(RowBuilder &b, const Num &row, qblock::RowValue value) const {
  constexpr double kLeast = -128, kLargest = 127;
  Num amax = b.max(latent, b.constant(kAmaxFloor), [&](Column column, Num largest) { return max(abs(value(column)), largest); });
  Num scale = scaleOf(amax, kLargest);
  b.once([&] { b.put(scales.ofRow(row), b.size(0), scale); });
  b.forColumns(latent,
               [&](Column column) { b.store(codes.ofRow(row), column, codeOf(b, value(column), scale, kLeast, kLargest)); });
}

void LatentCache::storeInt4(RowBuilder &b, const Num &row, qblock::RowValue value) const {
  constexpr double kLeast = -8, kLargest = 7;
  int64_t padded = scales.columns * kInt4Group;
  Rows numbers = b.scratch(padded);
  b.forColumns(latent, [&](Column column) { b.store(numbers, column, value(column)); });
  b.forEach(b.size(latent), b.size(padded), [&](Num index) { b.put(numbers, index, b.constant(0.0)); });
  b.forEach(scales.columns, [&](Num group) {
    Num start = group * kInt4Group;
    Num amax = b.loop(b.size(0), b.size(kInt4Group), {b.constant(kAmaxFloor)}, [&](Num index, ArrayRef<Num> largest) {
      return SmallVector<Num>{max(abs(b.at(numbers, start + index)), largest[0])};
    })[0];
    Num scale = scaleOf(amax, kLargest);
    b.put(scales.ofRow(row), group, scale);
    b.loop(kInt4Half, [&](Num index) {
      auto code = [&](const Num &at) { return codeOf(b, b.at(numbers, at), scale, kLeast, kLargest); };
      Num low = code(start + index), high = code(start + index + kInt4Half);
      b.put(codes.ofRow(row), group * kInt4Half + index, fma(high, 16.0, low) + 8.0);
    });
  });
}

void LatentCache::store(RowBuilder &b, const Num &row, qblock::RowValue value) const {
  if (format == CacheFormat::FP8)
    return qblock::quantizeRow(b, {{codes.ofRow(row), scales.ofRow(row), 1, groupColumns}, kAmaxFloor, false}, value);
  if (format == CacheFormat::INT8)
    return storeInt8(b, row, value);
  if (format == CacheFormat::INT4)
    return storeInt4(b, row, value);
  b.forColumns(latent, [&](Column column) { b.store(codes.ofRow(row), column, value(column)); });
}
