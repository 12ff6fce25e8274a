//===- inspect_values.cpp - a look at every byte of a checkpoint ----------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/checkpoint/finite.h"
#include "runtime/checkpoint/mapped_pages.h"
#include "tools/common/parallel.h"
#include "tools/common/progress.h"
#include "tools/quant-convert/check/inspect.h"
#include "tools/quant-convert/schemes/dequantize.h"

#include <fmt/core.h>

#include <algorithm>
#include <cstring>

using namespace quant;
using namespace quant::convert;

/// Bytes that are read ahead, looked at and given back at a time.
static constexpr size_t kSlab = 16 << 20;

namespace {

struct Counts {
  uint64_t fp8NaN = 0, zeroBlocks = 0, blocks = 0, nan = 0, inf = 0;
};

} // namespace

//===----------------------------------------------------------------------===//
// Plain floats
//===----------------------------------------------------------------------===//

/// Counts elements whose exponent is all ones: T is as wide as the float, `infinity` its code without the sign.
template <typename T>
static void countFloats(std::span<const std::byte> bytes, T infinity, Counts &counts) {
  constexpr T sign = T(T(1) << (sizeof(T) * 8 - 1));
  uint64_t nan = 0, inf = 0;
  for (size_t i = 0; i + sizeof(T) <= bytes.size(); i += sizeof(T)) {
    T code;
    std::memcpy(&code, bytes.data() + i, sizeof(T));
    code &= T(~sign);
    nan += code > infinity;
    inf += code == infinity;
  }
  counts.nan += nan;
  counts.inf += inf;
}

static void countFloats(DType dtype, std::span<const std::byte> bytes, Counts &counts) {
  if (dtype == DType::BF16)
    countFloats<uint16_t>(bytes, 0x7F80, counts);
  else if (dtype == DType::F16)
    countFloats<uint16_t>(bytes, 0x7C00, counts);
  else if (dtype == DType::F32 || dtype == DType::C64)
    countFloats<uint32_t>(bytes, 0x7F800000, counts);
  else if (dtype == DType::F64)
    countFloats<uint64_t>(bytes, 0x7FF0000000000000, counts);
}

//===----------------------------------------------------------------------===//
// FP8
//===----------------------------------------------------------------------===//

static void countCodes(DType dtype, std::span<const std::byte> bytes, Counts &counts) {
  bool fnuz = dtype == DType::F8E4M3FNUZ || dtype == DType::F8E5M2FNUZ;
  // Codes without the sign from here on are NaN; E5M2 has Inf right below.
  auto first = uint8_t(dtype == DType::F8E5M2 ? 0x7D : 0x7F);
  uint64_t nan = 0, inf = 0;
  for (std::byte byte : bytes) {
    auto code = std::to_integer<uint8_t>(byte);
    nan += fnuz ? code == 0x80 : (code & 0x7F) >= first;
    inf += dtype == DType::F8E5M2 && (code & 0x7F) == 0x7C;
  }
  counts.fp8NaN += nan;
  counts.inf += inf;
}

/// Blocks in which every code is a zero. `rows` are those of one row of blocks.
static void countZeroBlocks(std::span<const std::byte> rows, size_t columns, size_t blockColumns, Counts &counts) {
  size_t blocks = (columns + blockColumns - 1) / blockColumns;
  std::vector<uint8_t> used(blocks);
  for (size_t row = 0; row < rows.size(); row += columns)
    for (size_t block = 0; block < blocks; ++block) {
      size_t begin = block * blockColumns, end = std::min(begin + blockColumns, columns);
      uint8_t any = 0;
      for (size_t column = begin; column < end; ++column)
        any |= std::to_integer<uint8_t>(rows[row + column]);
      used[block] |= any & 0x7F;
    }
  counts.blocks += blocks;
  counts.zeroBlocks += uint64_t(std::ranges::count(used, 0));
}

//===----------------------------------------------------------------------===//
// Tensors
//===----------------------------------------------------------------------===//

/// Slabs of `step` bytes, each counted and given back.
template <typename Count>
static void forSlabs(std::span<const std::byte> data, size_t step, tools::Progress &progress, Count count) {
  for (size_t begin = 0; begin < data.size(); begin += step) {
    auto slab = data.subspan(begin, std::min(step, data.size() - begin));
    checkpoint::willRead(slab);
    count(slab);
    checkpoint::doneReading(slab);
    progress.add(slab.size());
  }
}

static Counts countTensor(const TensorSource::Tensor &tensor, const Weights &weights, tools::Progress &progress) {
  Counts counts;
  const checkpoint::TensorInfo &info = *tensor.info;
  if (!isFp8(info.dtype) || weights.isPart(tensor)) {
    forSlabs(tensor.data, kSlab, progress, [&](auto slab) { countFloats(info.dtype, slab, counts); });
    return counts;
  }
  // A slab is some rows of blocks, so that no block lies in two.
  const auto &linear = weights.of(tensor).linear;
  const ScaleGrid *grid = linear ? &linear->grid() : nullptr;
  bool blocks = grid && info.shape.size() == 2 && grid->blockRows < info.shape[0] + 128;
  size_t columns = blocks ? size_t(info.shape[1]) : 1;
  size_t blockRow = blocks ? columns * size_t(grid->blockRows) : 1;
  forSlabs(tensor.data, std::max<size_t>(kSlab / blockRow, 1) * blockRow, progress, [&](auto slab) {
    countCodes(info.dtype, slab, counts);
    for (size_t begin = 0; blocks && begin < slab.size(); begin += blockRow)
      countZeroBlocks(slab.subspan(begin, std::min(blockRow, slab.size() - begin)), columns, size_t(grid->blockCols), counts);
  });
  return counts;
}

static void reportCounts(const checkpoint::TensorInfo &info, const Counts &counts, Inspection &inspection) {
  std::string of = fmt::format(" of {} values", info.bytes() * 8 / uint64_t(bitWidth(info.dtype)));
  if (counts.fp8NaN)
    inspection.report(true, "fp8_nan", info.name, fmt::format("has NaN codes: {}{}", counts.fp8NaN, of));
  if (counts.nan)
    inspection.report(true, "nan", info.name, fmt::format("has NaN: {}{}", counts.nan, of));
  if (counts.inf)
    inspection.report(true, "inf", info.name, fmt::format("has Inf: {}{}", counts.inf, of));
  if (counts.zeroBlocks)
    inspection.report(false, "zero_block", info.name,
                      fmt::format("has blocks of zeros only: {} of {}", counts.zeroBlocks, counts.blocks));
}

void convert::inspectVectors(const TensorSource &source, Inspection &inspection, unsigned threads) {
  std::vector<const TensorSource::Tensor *> vectors;
  for (const auto &tensor : source.tensors())
    if (checkpoint::isVector(*tensor.info) && weightOfScale(tensor.info->name, source).empty())
      vectors.push_back(&tensor);
  std::vector<Counts> counts(vectors.size());
  tools::forScattered(vectors, threads, [&](size_t i) { countFloats(vectors[i]->info->dtype, vectors[i]->data, counts[i]); });
  for (size_t i = 0; i < vectors.size(); ++i)
    reportCounts(*vectors[i]->info, counts[i], inspection);
}

void convert::checkValues(const TensorSource &source, Inspection &inspection, unsigned threads) {
  const auto &tensors = source.tensors();
  // The largest first, so that no thread is left alone with one at the end.
  std::vector<size_t> order(tensors.size());
  for (size_t i = 0; i < order.size(); ++i)
    order[i] = i;
  std::ranges::sort(order, std::ranges::greater(), [&](size_t i) { return tensors[i].data.size(); });

  std::vector<Counts> counts(tensors.size());
  ValueTotals totals{inspection.bytes};
  {
    tools::Progress progress("checking", inspection.bytes);
    tools::parallelFor(order.size(), threads,
                       [&](size_t i) { counts[order[i]] = countTensor(tensors[order[i]], *inspection.weights, progress); });
    totals.seconds = progress.seconds();
  }
  for (size_t i = 0; i < tensors.size(); ++i) {
    totals.fp8NaN += counts[i].fp8NaN;
    totals.zeroBlocks += counts[i].zeroBlocks;
    // The scales' NaN and Inf are counted and reported as such.
    if (!weightOfScale(tensors[i].info->name, source).empty())
      continue;
    totals.nan += counts[i].nan;
    totals.inf += counts[i].inf;
    if (!checkpoint::isVector(*tensors[i].info)) // inspectVectors has
      reportCounts(*tensors[i].info, counts[i], inspection);
  }
  inspection.values = totals;
}
