//===- linear_weight.h - a weight in any scheme, decoded --------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The values of a weight W [rows, columns] = [out, in], whatever scheme of runtime/support/scheme.cpp it is stored in:
//   W = (code - zero) * scale, in f32 and in this order, with scale / global scale in f32 where there is a global one.
// These are the numbers that compressed-tensors, AutoGPTQ and AutoAWQ compute, before they round them to the type of the scales
// (test/interop/make_schemes.py).
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_TOOLS_QUANT_CONVERT_SCHEMES_LINEAR_WEIGHT_H
#define QUANT_TOOLS_QUANT_CONVERT_SCHEMES_LINEAR_WEIGHT_H

#include "tools/quant-convert/schemes/scales.h"

#include <array>
#include <cstdint>
#include <span>
#include <string>

namespace quant::convert {

/// Which elements share a scale.
struct ScaleGrid {
  int64_t blockRows, blockCols; ///< of the weight
  int64_t rows, cols;           ///< of the scale: the blocks at the right and at the bottom may be ragged
};

/// How a scale of that shape lies over a weight of that shape: in blocks of `block`, per row ([out, 1] or [out]), per group of
/// `block[1]` in a row ([out, ceil(in / block[1])]), or one for all. A side of 0 of `block` is all of
/// the weight's. The error names the shapes, and the one that is needed.
Result<ScaleGrid> scaleGrid(std::span<const int64_t> weight, std::span<const int64_t> scale, Block block);

/// The type of the elements of a scale: U8 is ue8m0, as compressed-tensors has it.
DType scaleType(DType dtype);

/// The tensors of one weight; null where there is none.
struct LinearTensors {
  const Tensor *codes = nullptr;
  const Tensor *scale = nullptr;
  const Tensor *zeroPoint = nullptr;   ///< weight_zero_point, qzeros
  const Tensor *globalScale = nullptr; ///< weight_global_scale, F32 of one element
  const Tensor *groupIndex = nullptr;  ///< weight_g_idx, g_idx: the group of each column, I32 [columns]
  const Tensor *shape = nullptr;       ///< weight_shape, I64 [2]: rows and columns, where the words have room for more
};

/// A rule of a layout that a tensor breaks.
struct LayoutFault {
  const Tensor *tensor;
  std::string kind;    ///< one word or two for machines: "misshaped_scale"
  std::string message; ///< without the tensor's name

  /// "FILE: tensor 'NAME': MESSAGE".
  Error error() const;
};
template <typename T>
using Layout = tl::expected<T, LayoutFault>;

/// A weight and how to decode it. Refers to the tensors' bytes.
class LinearWeight {
public:
  /// Checks dtypes and shapes against the scheme and against each other, and reads weight_shape, 16 bytes. Other values are
  /// looked at by checkScales() and checkIndices(). @pre tensors.codes
  static Layout<LinearWeight> create(const Scheme &scheme, const LinearTensors &tensors);

  const Scheme &scheme() const { return stored; }
  const LinearTensors &tensors() const { return parts; }
  int64_t rows() const { return shape[0]; }
  int64_t columns() const { return shape[1]; }
  /// How the scale lies; of its own shape, [groups, rows], where !isRowMajor().
  const ScaleGrid &grid() const { return scaleBlocks; }

  /// Scales are finite and not negative.
  Layout<void> checkScales() const;
  /// A global scale is finite and above zero, a group index names a group.
  Layout<void> checkIndices() const;

  /// Elements [begin, begin + out.size()) in row-major order. @pre checkIndices()
  void read(uint64_t begin, std::span<float> out) const;

  /// Whether the codes of a row lie together. Else those of all rows are interleaved (GPTQ, AWQ), and many rows should be read at
  /// a time: kPanelRows.
  bool isRowMajor() const { return stored.packing != Packing::WordsDown && stored.packing != Packing::WordsAcross; }
  static constexpr int64_t kPanelRows = 128;
  /// The bytes of the codes of these rows; all codes where !isRowMajor().
  std::span<const std::byte> codeBytes(int64_t begin, int64_t count) const;
  /// Those of their scales.
  std::span<const std::byte> scaleBytes(int64_t begin, int64_t count) const;

private:
  struct Panel;

  LinearWeight() = default;
  Layout<void> findShape();
  Layout<void> findTransposedShape();
  Layout<void> checkSaidShape();
  Layout<void> checkScaleLayout();
  Layout<void> checkZeroLayout() const;
  Layout<void> checkOthers();
  static std::span<const float> numbersOf(const Scheme &scheme);
  int64_t groupOf(int64_t column) const;
  float scaleAt(int64_t row, int64_t group) const;
  int zeroAt(int64_t row, int64_t group) const;
  void readRow(int64_t row, int64_t begin, std::span<float> out) const;
  void readRun(int64_t row, int64_t begin, std::span<float> out) const;
  void readPanel(const Panel &panel) const;

  Scheme stored;
  LinearTensors parts;
  std::array<int64_t, 2> shape{};
  ScaleGrid scaleBlocks{};
  int64_t groups = 1, groupColumns = 1;
  float globalScale = 1;
  std::span<const float> numbers; ///< what each code means, without its zero point
};

} // namespace quant::convert

#endif // QUANT_TOOLS_QUANT_CONVERT_SCHEMES_LINEAR_WEIGHT_H
