//===- dequantize.h - the values of a tensor of any dtype -------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// For tools that look at a checkpoint: every layout of scales that is met in the wild, in f64, at memory speed. Which tensor is
// whose scale is decided by name; the names are those of the schemes in runtime/support/scheme.cpp.
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_TOOLS_QUANT_CONVERT_SCHEMES_DEQUANTIZE_H
#define QUANT_TOOLS_QUANT_CONVERT_SCHEMES_DEQUANTIZE_H

#include "runtime/support/scheme.h"
#include "tools/common/tensor_source.h"
#include "tools/quant-convert/schemes/weights.h"

#include <cstdint>
#include <span>
#include <string>

namespace quant::convert {

using tools::TensorSource;

/// The weight that a tensor of this name is the scale of, were it there; "" if the name is no scale's.
template <typename Source>
std::string weightOfScale(std::string_view name, const Source &source) {
  std::string weight = findWeightName(dtypesOf(source), name);
  const auto *found = source.find(weight);
  return found && found->info->dtype == DType::I32 && !isPacked(found->info->name) ? "" : weight;
}

/// The scale of a weight, or null. Only FP8, I8 and packed weights have scales; that of another is an orphan.
template <typename Source>
const TensorSource::Tensor *findScale(const Source &source, const TensorSource::Tensor &weight) {
  if (weight.info->dtype == DType::I32 && !isPacked(weight.info->name))
    return nullptr;
  return source.find(findScaleName(dtypesOf(source), weight.info->name));
}

/// The values of a weight, or of a tensor that is none. Refers to the tensors' bytes.
class TensorValues {
public:
  /// Fails for a weight that is broken, and for dtypes of no single number (F4, F6, C64). The errors do not name the file, and
  /// the tensor only where that is another than the codes.
  static Result<TensorValues> create(const Weight &weight);

  uint64_t elements() const { return count; }
  /// Rows and columns of a quantized weight, else the tensor's shape.
  std::vector<int64_t> shape() const;
  /// Elements [begin, begin + out.size()) in row-major order.
  void read(uint64_t begin, std::span<double> out) const;
  /// Elements that are best read at a time: 1024, or the rows that GPTQ and AWQ interleave.
  uint64_t chunk() const;
  /// Whether elements that lie together are read from bytes that lie together.
  bool isContiguous() const { return !linear || linear->isRowMajor(); }
  /// The bytes in the file of these elements and of the rows that they are in; of all where !isContiguous().
  std::span<const std::byte> bytes(uint64_t begin, uint64_t n) const;
  /// Those of the scales that read() takes for them.
  std::span<const std::byte> scaleBytes(uint64_t begin, uint64_t n) const;

private:
  TensorValues() = default;

  const TensorSource::Tensor *tensor = nullptr;
  const LinearWeight *linear = nullptr;
  uint64_t count = 0;
};

/// Decodes `out.size()` elements; not F4, F6, C64. U8 is a number here.
void decode(DType dtype, std::span<const std::byte> bytes, std::span<double> out);

/// Decodes every element of a scale; U8 is ue8m0, as some checkpoints have it.
std::vector<double> decodeScale(const TensorSource::Tensor &scale);

} // namespace quant::convert

#endif // QUANT_TOOLS_QUANT_CONVERT_SCHEMES_DEQUANTIZE_H
