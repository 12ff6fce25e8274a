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

#include <array>
#include <cstdint>
#include <span>
#include <string>

namespace quant::convert {

using tools::TensorSource;

/// compressed-tensors' pack-quantized: eight INT4 codes in each I32 of "X.weight_packed".
bool isPackedInt4(const checkpoint::TensorInfo &tensor);

/// What goes along with a packed weight and is none itself: its weight_shape, weight_zero_point or weight_g_idx. Null: `name` is
/// no such tensor.
const TensorSource::Tensor *packedWeightOf(std::string_view name, const TensorSource &source);

/// The numbers that a tensor holds: eight for each I32 of a packed weight.
uint64_t storedElements(const checkpoint::TensorInfo &tensor);

/// The weight that a tensor of this name is the scale of, were it there; "" if the name is no scale's.
template <typename Source>
std::string weightOfScale(std::string_view name, const Source &source) {
  std::string weight = findWeightName(dtypesOf(source), name);
  const auto *found = source.find(weight);
  return found && found->info->dtype == DType::I32 && !isPackedInt4(*found->info) ? "" : weight;
}

/// The scale of a weight, or null. Only FP8, I8 and packed INT4 weights have scales; that of another is an orphan.
template <typename Source>
const TensorSource::Tensor *findScale(const Source &source, const TensorSource::Tensor &weight) {
  if (weight.info->dtype == DType::I32 && !isPackedInt4(*weight.info))
    return nullptr;
  return source.find(findScaleName(dtypesOf(source), weight.info->name));
}

/// Which elements share a scale.
struct ScaleGrid {
  int64_t blockRows, blockCols; ///< of the weight
  int64_t rows, cols;           ///< of the scale: the blocks at the right and at the bottom may be ragged
};

/// How a scale of that shape lies over a weight of that shape: in blocks of `block`, per row ([out, 1] or [out]), per group of
/// `block[1]` in a row ([out, ceil(in / block[1])]), or one for all. A side of 0 of `block` is all of
/// the weight's. The error names the shapes, and the one that is needed.
Result<ScaleGrid> scaleGrid(std::span<const int64_t> weight, std::span<const int64_t> scale, std::array<int64_t, 2> block);

/// A tensor's values: its elements, multiplied in f32 with their scale where there is one. Refers to the tensors' bytes.
class TensorValues {
public:
  /// Fails for an FP8 tensor without a scale, for a scale that does not fit, and for dtypes of no single number (F4, F6, C64).
  /// The errors do not name the file.
  static Result<TensorValues> create(const TensorSource::Tensor &tensor, const TensorSource::Tensor *scale,
                                     std::array<int64_t, 2> block);

  uint64_t elements() const { return count; }
  /// Elements [begin, begin + out.size()) in row-major order.
  void read(uint64_t begin, std::span<double> out) const;
  /// Their bytes in the file.
  std::span<const std::byte> bytes(uint64_t begin, uint64_t n) const {
    return data.subspan(begin * elementBytes, n * elementBytes);
  }
  /// Those of the scales that read() takes for them.
  std::span<const std::byte> scaleBytes(uint64_t begin, uint64_t n) const;

private:
  TensorValues() = default;

  DType dtype = DType::F32, scaleDtype = DType::F32;
  std::span<const std::byte> data, scales;
  uint64_t count = 0, elementBytes = 0, columns = 0;
  ScaleGrid grid{};
};

/// Decodes `out.size()` elements; not F4, F6, C64. U8 is a number here.
void decode(DType dtype, std::span<const std::byte> bytes, std::span<double> out);

/// Decodes every element of a scale; U8 is ue8m0, as some checkpoints have it.
std::vector<double> decodeScale(const TensorSource::Tensor &scale);

} // namespace quant::convert

#endif // QUANT_TOOLS_QUANT_CONVERT_SCHEMES_DEQUANTIZE_H
