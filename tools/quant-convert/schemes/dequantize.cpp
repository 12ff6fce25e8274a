//===- dequantize.cpp - the values of a tensor of any dtype ---------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/quant-convert/schemes/dequantize.h"

#include "runtime/support/narrow.h"
#include "runtime/support/text.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

using namespace quant;
using namespace quant::convert;

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

Result<TensorValues> TensorValues::create(const Weight &weight) {
  const checkpoint::TensorInfo &info = *weight.tensor->info;
  if (const auto &fault = weight.fault)
    return fail((fault->tensor == weight.tensor ? "" : "tensor " + quote(fault->tensor->info->name) + " ") + fault->message);
  TensorValues values;
  values.tensor = weight.tensor;
  if (weight.linear) {
    if (auto sound = weight.linear->checkIndices(); !sound)
      return fail("tensor " + quote(sound.error().tensor->info->name) + " " + sound.error().message);
    values.linear = &*weight.linear;
    values.count = uint64_t(weight.linear->rows()) * uint64_t(weight.linear->columns());
    return values;
  }
  if (!isOneNumber(info.dtype))
    return fail("is " + std::string(safetensorsName(info.dtype)) + ", which is not dequantized here");
  values.count = weight.tensor->data.size() * 8 / uint64_t(bitWidth(info.dtype));
  return values;
}

std::vector<int64_t> TensorValues::shape() const {
  bool isPlain = !linear || linear->scheme().packing == Packing::Elements;
  return isPlain ? tensor->info->shape : std::vector{linear->rows(), linear->columns()};
}

uint64_t TensorValues::chunk() const {
  return isContiguous() ? 1024 : uint64_t(LinearWeight::kPanelRows) * uint64_t(linear->columns());
}

std::span<const std::byte> TensorValues::bytes(uint64_t begin, uint64_t n) const {
  if (!linear) {
    auto width = uint64_t(bitWidth(tensor->info->dtype)) / 8;
    return tensor->data.subspan(begin * width, n * width);
  }
  auto columns = uint64_t(linear->columns());
  if (n == 0)
    return {};
  uint64_t first = begin / columns, last = (begin + n - 1) / columns;
  return linear->codeBytes(int64_t(first), int64_t(last - first + 1));
}

std::span<const std::byte> TensorValues::scaleBytes(uint64_t begin, uint64_t n) const {
  if (!linear || n == 0)
    return {};
  auto columns = uint64_t(linear->columns());
  uint64_t first = begin / columns, last = (begin + n - 1) / columns;
  return linear->scaleBytes(int64_t(first), int64_t(last - first + 1));
}

void TensorValues::read(uint64_t begin, std::span<double> out) const {
  if (!linear)
    return decode(tensor->info->dtype, bytes(begin, out.size()), out);
  thread_local std::vector<float> values;
  values.resize(out.size());
  linear->read(begin, values);
  std::ranges::copy(values, out.begin());
}
