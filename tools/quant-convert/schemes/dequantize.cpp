//===- dequantize.cpp - the values of a tensor of any dtype ---------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/quant-convert/schemes/dequantize.h"

#include "runtime/support/narrow.h"
#include "runtime/support/text.h"
#include "tools/quant-convert/schemes/scales.h"

#include <fmt/core.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

using namespace quant;
using namespace quant::convert;

//===----------------------------------------------------------------------===//
// Names and shapes
//===----------------------------------------------------------------------===//

static constexpr std::string_view kWeight = ".weight", kPacked = ".weight_packed";

bool convert::isPackedInt4(const checkpoint::TensorInfo &tensor) {
  return tensor.dtype == DType::I32 && tensor.name.ends_with(kPacked) && tensor.shape.size() == 2 &&
         std::ranges::all_of(tensor.shape, [](int64_t size) { return size > 0; });
}

const TensorSource::Tensor *convert::packedWeightOf(std::string_view name, const TensorSource &source) {
  for (std::string_view suffix : {"_shape", "_zero_point", "_g_idx"})
    if (name.ends_with(suffix) && name.substr(0, name.size() - suffix.size()).ends_with(kWeight)) {
      std::string weight = std::string(name.substr(0, name.size() - suffix.size() - kWeight.size())) + std::string(kPacked);
      const auto *found = source.find(weight);
      return found && isPackedInt4(*found->info) ? found : nullptr;
    }
  return nullptr;
}

uint64_t convert::storedElements(const checkpoint::TensorInfo &tensor) {
  uint64_t elements = tensor.bytes() * 8 / uint64_t(bitWidth(tensor.dtype));
  return isPackedInt4(tensor) ? elements * 8 : elements;
}

Result<ScaleGrid> convert::scaleGrid(std::span<const int64_t> weight, std::span<const int64_t> scale,
                                     std::array<int64_t, 2> block) {
  if (std::ranges::all_of(scale, [](int64_t size) { return size == 1; })) {
    constexpr int64_t all = std::numeric_limits<int64_t>::max();
    return ScaleGrid{all, all, 1, 1};
  }
  auto blocks = [](int64_t size, int64_t edge) { return size / edge + (size % edge != 0); };
  std::string what = fmt::format("scale of shape {} does not fit a weight of shape {}", shapeText(scale), shapeText(weight));
  if (weight.size() != 2)
    return fail(what + ", which is no matrix");
  block = sidesOf(block, weight);
  int64_t out = weight[0], in = weight[1];
  int64_t rows = scale[0], cols = scale.size() == 1 ? 1 : scale[1];
  int64_t blockRows = blocks(out, block[0]), blockCols = blocks(in, block[1]);
  if (scale.size() == 2 && rows == blockRows && cols == blockCols)
    return ScaleGrid{block[0], block[1], rows, cols};
  if (scale.size() <= 2 && rows == out && cols == 1)
    return ScaleGrid{1, std::max<int64_t>(in, 1), rows, 1};
  if (scale.size() == 2 && rows == out && cols == blockCols)
    return ScaleGrid{1, block[1], rows, cols};
  return fail(fmt::format("{}: blocks of {} need {}x{}", what, shapeText(block), blockRows, blockCols));
}

//===----------------------------------------------------------------------===//
// Elements
//===----------------------------------------------------------------------===//

namespace {

/// The values of a dtype of one byte, null for another.
const CodeValues *codesOf(DType dtype) {
  static const CodeValues e4m3fn = valuesOf(kE4M3FN), e5m2 = valuesOf(kE5M2), e4m3fnuz = valuesOf(kE4M3FNUZ),
                          e5m2fnuz = valuesOf(kE5M2FNUZ);
  switch (dtype) {
  case DType::F8E4M3FN:
    return &e4m3fn;
  case DType::F8E5M2:
    return &e5m2;
  case DType::F8E4M3FNUZ:
    return &e4m3fnuz;
  case DType::F8E5M2FNUZ:
    return &e5m2fnuz;
  case DType::F8E8M0FNU:
    return &e8m0Values();
  default:
    return nullptr;
  }
}

/// Elements of type T, at any alignment, each through `convert`.
template <typename T, typename Convert>
void decodeAs(const std::byte *bytes, std::span<double> out, Convert convert) {
  for (size_t i = 0; i < out.size(); ++i) {
    T element;
    std::memcpy(&element, bytes + i * sizeof(T), sizeof(T));
    out[i] = static_cast<double>(convert(element));
  }
}

template <typename T>
void decodePlain(const std::byte *bytes, std::span<double> out) {
  decodeAs<T>(bytes, out, [](T value) { return value; });
}

bool isOneNumber(DType dtype) { return bitWidth(dtype) >= 8 && dtype != DType::C64; }

} // namespace

void convert::decode(DType dtype, std::span<const std::byte> bytes, std::span<double> out) {
  if (const CodeValues *codes = codesOf(dtype))
    return decodeAs<uint8_t>(bytes.data(), out, [codes](uint8_t code) { return (*codes)[code]; });
  switch (dtype) {
  case DType::BF16:
    return decodeAs<uint16_t>(bytes.data(), out, fromBf16);
  case DType::F16:
    return decodeAs<uint16_t>(bytes.data(), out, fromF16);
  case DType::F32:
    return decodePlain<float>(bytes.data(), out);
  case DType::F64:
    return decodePlain<double>(bytes.data(), out);
  case DType::I8:
    return decodePlain<int8_t>(bytes.data(), out);
  case DType::I16:
    return decodePlain<int16_t>(bytes.data(), out);
  case DType::U16:
    return decodePlain<uint16_t>(bytes.data(), out);
  case DType::I32:
    return decodePlain<int32_t>(bytes.data(), out);
  case DType::U32:
    return decodePlain<uint32_t>(bytes.data(), out);
  case DType::I64:
    return decodePlain<int64_t>(bytes.data(), out);
  case DType::U64:
    return decodePlain<uint64_t>(bytes.data(), out);
  default: // U8 and Bool; the others are kept out by TensorValues::create
    return decodePlain<uint8_t>(bytes.data(), out);
  }
}

static DType scaleType(DType dtype) { return dtype == DType::U8 ? DType::F8E8M0FNU : dtype; }

std::vector<double> convert::decodeScale(const TensorSource::Tensor &scale) {
  DType dtype = scaleType(scale.info->dtype);
  if (!isOneNumber(dtype))
    return {};
  std::vector<double> values(scale.data.size() * 8 / size_t(bitWidth(dtype)));
  decode(dtype, scale.data, values);
  return values;
}

//===----------------------------------------------------------------------===//
// Tensors
//===----------------------------------------------------------------------===//

Result<TensorValues> TensorValues::create(const TensorSource::Tensor &tensor, const TensorSource::Tensor *scale,
                                          std::array<int64_t, 2> block) {
  const checkpoint::TensorInfo &info = *tensor.info;
  std::string type(safetensorsName(info.dtype));
  if (!isOneNumber(info.dtype))
    return fail("is " + type + ", which is not dequantized here");
  if (isPackedInt4(info))
    return fail("is INT4, packed into I32, which is not dequantized here");
  if (isFp8(info.dtype) && !scale)
    return fail("is " + type + " and has no scale (weight_scale_inv or weight_scale)");
  TensorValues values;
  values.dtype = info.dtype;
  values.data = tensor.data;
  values.elementBytes = uint64_t(bitWidth(info.dtype)) / 8;
  values.count = tensor.data.size() / values.elementBytes;
  values.columns = info.shape.empty() ? 1 : uint64_t(info.shape.back());
  if (!scale)
    return values;
  DType dtype = scale->info->dtype;
  bool floating = dtype == DType::F32 || dtype == DType::BF16 || dtype == DType::F16 || dtype == DType::F64;
  if (!floating && scaleType(dtype) != DType::F8E8M0FNU)
    return fail("has a scale of type " + std::string(safetensorsName(dtype)) + "; a float type or ue8m0 is needed");
  auto grid = scaleGrid(info.shape, scale->info->shape, block);
  if (!grid)
    return fail("has a " + grid.error().message);
  values.grid = *grid;
  values.scales = scale->data;
  values.scaleDtype = scaleType(dtype);
  return values;
}

std::span<const std::byte> TensorValues::scaleBytes(uint64_t begin, uint64_t n) const {
  if (scales.empty() || n == 0)
    return {};
  auto rowBytes = uint64_t(grid.cols) * uint64_t(bitWidth(scaleDtype)) / 8;
  uint64_t first = begin / columns / uint64_t(grid.blockRows), last = (begin + n - 1) / columns / uint64_t(grid.blockRows);
  return scales.subspan(first * rowBytes, (last - first + 1) * rowBytes);
}

void TensorValues::read(uint64_t begin, std::span<double> out) const {
  if (scales.empty())
    return decode(dtype, bytes(begin, out.size()), out);
  const CodeValues *codes = codesOf(dtype);
  size_t scaleBytes = size_t(bitWidth(scaleDtype)) / 8;
  while (!out.empty()) {
    uint64_t row = begin / columns, column = begin % columns, edge = uint64_t(grid.blockCols);
    uint64_t blockColumn = column / edge, blockLeft = edge - column % edge;
    size_t n = size_t(std::min({uint64_t(out.size()), columns - column, blockLeft}));
    uint64_t index = row / uint64_t(grid.blockRows) * uint64_t(grid.cols) + blockColumn;
    double value;
    decode(scaleDtype, scales.subspan(index * scaleBytes, scaleBytes), {&value, 1});
    float scale = static_cast<float>(value);
    const std::byte *from = data.data() + begin;
    if (codes)
      decodeAs<uint8_t>(from, out.first(n), [&](uint8_t code) { return (*codes)[code] * scale; });
    else
      decodeAs<int8_t>(from, out.first(n), [&](int8_t code) { return float(code) * scale; });
    out = out.subspan(n);
    begin += n;
  }
}
