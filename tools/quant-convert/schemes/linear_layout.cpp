//===- linear_layout.cpp - the rules of the layouts of weights ------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/checkpoint/mapped_pages.h"
#include "runtime/support/block_scale.h"
#include "runtime/support/narrow.h"
#include "runtime/support/text.h"
#include "tools/quant-convert/schemes/linear_weight.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

using namespace quant;
using namespace quant::convert;

Error LayoutFault::error() const { return {describe(*tensor) + ": " + message}; }

static tl::unexpected<LayoutFault> broken(const Tensor &tensor, std::string kind, std::string message) {
  return tl::unexpected(LayoutFault{&tensor, std::move(kind), std::move(message)});
}

static std::string typeOf(const Tensor &tensor) { return std::string(safetensorsName(tensor.info->dtype)); }

/// "I32 3x4".
static std::string typeAndShape(const Tensor &tensor) { return typeOf(tensor) + " " + shapeText(tensor.info->shape); }

static int64_t blocks(int64_t size, int64_t edge) { return size / edge + (size % edge != 0); }

static bool isMatrix(const Tensor &tensor) {
  return tensor.info->shape.size() == 2 && tensor.info->shape[0] > 0 && tensor.info->shape[1] > 0;
}

//===----------------------------------------------------------------------===//
// Scales over weights
//===----------------------------------------------------------------------===//

Result<ScaleGrid> convert::scaleGrid(std::span<const int64_t> weight, std::span<const int64_t> scale, Block block) {
  if (std::ranges::all_of(scale, [](int64_t size) { return size == 1; })) {
    constexpr int64_t all = std::numeric_limits<int64_t>::max();
    return ScaleGrid{all, all, 1, 1};
  }
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

Layout<void> LinearWeight::checkScaleLayout() {
  const Tensor &codes = *parts.codes;
  if (!parts.scale)
    return broken(codes, "missing_scale",
                  fmt::format("is {} and has no scale (weight_scale_inv or weight_scale)",
                              stored.packing == Packing::Elements ? typeOf(codes) : std::string(stored.name)));
  const auto &info = *parts.scale->info;
  DType dtype = scaleType(info.dtype);
  if (!holdsScales(dtype, stored.hasGlobalScale()))
    return broken(codes, "scale_dtype",
                  fmt::format("has a scale of type {}; F32, BF16, F16{} or ue8m0 is needed", safetensorsName(info.dtype),
                              stored.hasGlobalScale() ? ", F8_E4M3" : ""));
  groupColumns = sidesOf(stored.block, shape)[1];
  groups = blocks(shape[1], groupColumns);
  if (!isRowMajor()) {
    if (info.shape != std::vector{groups, shape[0]})
      return broken(*parts.scale, "misshaped_scale",
                    fmt::format("has shape {}; the weight's {} in groups of {} needs {}x{}", shapeText(info.shape),
                                shapeText(shape), groupColumns, groups, shape[0]));
    scaleBlocks = {groupColumns, 1, groups, shape[0]};
    return {};
  }
  bool isPlain = stored.packing == Packing::Elements;
  auto grid = scaleGrid(isPlain ? std::span<const int64_t>(codes.info->shape) : shape, info.shape, stored.block);
  if (!grid)
    return broken(codes, "misshaped_scale", "has a " + grid.error().message);
  if (!isPlain && grid->cols != groups)
    return broken(codes, "misshaped_scale",
                  fmt::format("has a scale of shape {}; its {} in groups of {} needs {}x{}", shapeText(info.shape),
                              shapeText(shape), groupColumns, shape[0], groups));
  scaleBlocks = *grid;
  groups = grid->cols;
  groupColumns = std::min(grid->blockCols, std::max<int64_t>(shape[1], 1));
  return {};
}

//===----------------------------------------------------------------------===//
// Codes
//===----------------------------------------------------------------------===//

/// GPTQ and AWQ keep no shape: g_idx has an element for each column, qweight a column for each row or eight of them.
Layout<void> LinearWeight::findTransposedShape() {
  const Tensor &codes = *parts.codes;
  int64_t perWord = 32 / bitWidth(stored.element);
  const auto &size = codes.info->shape;
  if (stored.packing == Packing::WordsAcross) {
    shape = {size[1] * perWord, size[0]};
    return {};
  }
  shape = {size[1], size[0] * perWord};
  if (const Tensor *index = parts.groupIndex; index && index->info->shape.size() == 1) {
    shape[1] = index->info->shape[0];
    if (blocks(shape[1], perWord) != size[0])
      return broken(*index, "wrong_g_idx",
                    fmt::format("has {} columns; {} is {}, which holds {}", shape[1], quote(codes.info->name), shapeText(size),
                                size[0] * perWord));
  }
  return {};
}

Layout<void> LinearWeight::findShape() {
  const Tensor &codes = *parts.codes;
  DType dtype = codes.info->dtype;
  bool inWords = stored.packing != Packing::Elements && stored.packing != Packing::Nibbles;
  bool fits = inWords                              ? dtype == DType::I32
              : stored.packing == Packing::Nibbles ? dtype == DType::U8 || dtype == DType::I8
                                                   : dtype == stored.element;
  if (!fits)
    return broken(codes, "wrong_codes",
                  fmt::format("is {}; {} ({}) needs {}", typeOf(codes), stored.name, stored.describe,
                              safetensorsName(storedCodes(stored, 1, 1).dtype)));
  const auto &size = codes.info->shape;
  if (stored.packing == Packing::Elements) { // a scale of one number goes with any shape
    int64_t columns = size.empty() ? 1 : size.back();
    shape = {columns == 0 ? 0 : static_cast<int64_t>(codes.data.size()) / columns, columns};
    return {};
  }
  if (!isMatrix(codes))
    return broken(codes, "wrong_codes", fmt::format("has shape {}; packed codes are a matrix", shapeText(size)));
  if (!isRowMajor())
    return findTransposedShape();
  shape = {size[0], stored.packing == Packing::Nibbles ? size[1] * 2 : size[1] * (32 / bitWidth(stored.element))};
  return parts.shape ? checkSaidShape() : Layout<void>();
}

/// weight_shape: how wide the weight was before it was filled up to whole words.
Layout<void> LinearWeight::checkSaidShape() {
  const Tensor &tensor = *parts.shape;
  std::string needs =
      fmt::format("does not say the shape of {}, which holds {} codes", quote(parts.codes->info->name), shapeText(shape));
  std::array<int64_t, 2> said;
  if (tensor.info->dtype != DType::I64 || tensor.data.size() != sizeof(said))
    return broken(tensor, "wrong_weight_shape", needs);
  checkpoint::willRead(tensor.data);
  std::memcpy(said.data(), tensor.data.data(), sizeof(said));
  bool fits = said[0] == shape[0] && said[1] > 0 && said[1] <= shape[1] &&
              storedCodes(stored, said[0], said[1]).shape == parts.codes->info->shape;
  if (!fits)
    return broken(tensor, "wrong_weight_shape", needs + ": it says " + shapeText(said));
  shape = said;
  return {};
}

//===----------------------------------------------------------------------===//
// Zero points and the rest
//===----------------------------------------------------------------------===//

Layout<void> LinearWeight::checkZeroLayout() const {
  const Tensor *zeros = parts.zeroPoint;
  if (stored.zeroPoints == ZeroPoints::None && zeros)
    return broken(*zeros, "extra_zero_point",
                  fmt::format("are zero points, and {} ({}) has none; is config.json's \"symmetric\" right?", stored.name,
                              stored.describe));
  if (stored.zeroPoints == ZeroPoints::None)
    return {};
  if (!zeros)
    return broken(*parts.codes, "missing_zero_point",
                  fmt::format("has no {}, which {} ({}) needs; is the download complete?",
                              quote(stored.suffixes.zeroPoint.substr(1)), stored.name, stored.describe));
  int64_t words = blocks(shape[0] * bitWidth(stored.element), 32);
  std::vector<int64_t> needed = {groups, words};
  if (stored.zeroPoints == ZeroPoints::PackedDown)
    std::ranges::reverse(needed);
  if (zeros->info->dtype != DType::I32 || zeros->info->shape != needed)
    return broken(*zeros, "misshaped_zero_point",
                  fmt::format("is {}; the weight's {} with {} scales a row needs I32 {}", typeAndShape(*zeros), shapeText(shape),
                              groups, shapeText(needed)));
  return {};
}

Layout<void> LinearWeight::checkOthers() {
  const Tensor *global = parts.globalScale, *index = parts.groupIndex;
  if (stored.hasGlobalScale() && !global)
    return broken(*parts.codes, "missing_global_scale",
                  fmt::format("has no {}, which {} ({}) needs; is the download complete?",
                              quote(stored.suffixes.globalScale.substr(1)), stored.name, stored.describe));
  if (!stored.hasGlobalScale() && global)
    return broken(
        *global, "extra_global_scale",
        fmt::format("is a global scale, and {} ({}) has none; is config.json's \"format\" right?", stored.name, stored.describe));
  if (global && (global->info->dtype != DType::F32 || global->data.size() != sizeof(float)))
    return broken(*global, "wrong_global_scale", fmt::format("is {}; one F32 is needed", typeAndShape(*global)));
  if (index && (index->info->dtype != DType::I32 || index->info->shape != std::vector{shape[1]}))
    return broken(*index, "wrong_g_idx",
                  fmt::format("is {}; a group for each of {} columns is needed, I32", typeAndShape(*index), shape[1]));
  if (global) {
    checkpoint::willRead(global->data);
    std::memcpy(&globalScale, global->data.data(), sizeof(float));
  }
  return {};
}

Layout<LinearWeight> LinearWeight::create(const Scheme &scheme, const LinearTensors &tensors) {
  LinearWeight weight;
  weight.stored = scheme;
  weight.parts = tensors;
  QUANT_TRY(weight.findShape());
  QUANT_TRY(weight.checkScaleLayout());
  QUANT_TRY(weight.checkZeroLayout());
  QUANT_TRY(weight.checkOthers());
  weight.numbers = numbersOf(scheme);
  return weight;
}

//===----------------------------------------------------------------------===//
// Values
//===----------------------------------------------------------------------===//

Layout<void> LinearWeight::checkScales() const {
  const Tensor &scale = *parts.scale;
  DType dtype = scaleType(scale.info->dtype);
  std::optional<size_t> at = firstBrokenScale(dtype, scale.data);
  if (!at)
    return {};
  auto columns = static_cast<size_t>(scale.info->shape.empty() ? 1 : scale.info->shape.back());
  return broken(scale, "broken_scale",
                fmt::format("block [{}, {}] has scale {:g}, {}", *at / columns, *at % columns,
                            quant::scaleAt(dtype, scale.data, *at), kScaleRule));
}

Layout<void> LinearWeight::checkIndices() const {
  if (parts.globalScale && !(globalScale > 0 && std::isfinite(globalScale)))
    return broken(*parts.globalScale, "wrong_global_scale",
                  fmt::format("is {:g}, by which scales are divided; it must be finite and above zero", globalScale));
  for (int64_t column = 0; parts.groupIndex && column < shape[1]; ++column)
    if (int64_t group = groupOf(column); group < 0 || group >= groups)
      return broken(*parts.groupIndex, "wrong_g_idx",
                    fmt::format("has group {} for column {}, and there are {} groups", group, column, groups));
  return {};
}
