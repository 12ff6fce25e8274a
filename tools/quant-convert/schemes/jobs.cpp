//===- jobs.cpp - how tensors are copied, quantized, dequantized ----------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/quant-convert/schemes/jobs.h"

#include "runtime/checkpoint/mapped_pages.h"
#include "runtime/support/narrow.h"
#include "runtime/support/text.h"
#include "tools/quant-convert/schemes/cast_kernels.h"
#include "tools/quant-convert/schemes/scales.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

using namespace quant;
using namespace quant::convert;

/// What a step reads or writes, about: enough to be worth a system call, little enough to stay in the cache.
static constexpr int64_t kStepBytes = 2 << 20;

namespace {

/// A tensor's rows in steps of whole blocks.
struct Rows {
  int64_t rows, perStep;

  /// @pre blockRows > 0
  Rows(int64_t rows, int64_t rowBytes, int64_t blockRows) : rows(rows) {
    int64_t blocks = kStepBytes / std::max<int64_t>(1, rowBytes) / blockRows;
    perStep = std::max<int64_t>(1, std::min(blocks, rows / blockRows + 1)) * blockRows;
  }
  int64_t steps() const { return rows / perStep + (rows % perStep != 0); }
  int64_t begin(int64_t step) const { return step * perStep; }
  int64_t end(int64_t step) const { return std::min(rows, (step + 1) * perStep); }
};

/// Memory of this thread, for one step; `slot` tells buffers in use at the same time apart.
template <typename T>
std::span<T> scratch(int slot, int64_t count) {
  thread_local std::vector<T> buffers[2];
  if (buffers[slot].size() < static_cast<size_t>(count))
    buffers[slot].resize(static_cast<size_t>(count));
  return std::span(buffers[slot]).first(static_cast<size_t>(count));
}

int64_t elementBytes(const Tensor &tensor) { return bitWidth(tensor.info->dtype) / 8; }

/// The bytes of scales [begin, begin + count).
std::span<const std::byte> scalesOf(const Tensor &scale, int64_t begin, int64_t count) {
  int64_t width = elementBytes(scale);
  return scale.data.subspan(static_cast<size_t>(begin * width), static_cast<size_t>(count * width));
}

} // namespace

//===----------------------------------------------------------------------===//
// Copies
//===----------------------------------------------------------------------===//

Job convert::copyJob(const Tensor &tensor, std::string name) {
  int64_t bytes = static_cast<int64_t>(tensor.data.size());
  Rows parts(bytes, 1, 1);
  auto run = [=](int64_t step, Sink &sink) -> Result<void> {
    auto begin = static_cast<size_t>(parts.begin(step)), end = static_cast<size_t>(parts.end(step));
    auto part = tensor.data.subspan(begin, end - begin);
    checkpoint::willRead(part);
    auto put = sink.put(name, begin, part);
    checkpoint::doneReading(part);
    return put;
  };
  return {{{name, tensor.info->dtype, tensor.info->shape}}, parts.steps(), run};
}

Job convert::copyPieceJob(const Tensor &tensor, std::string name, const Piece &piece) {
  int64_t width = elementBytes(tensor), rowBytes = piece.columns * width, stride = tensor.info->shape[1] * width;
  Rows parts(piece.rows, rowBytes, 1);
  auto run = [=](int64_t step, Sink &sink) -> Result<void> {
    int64_t begin = parts.begin(step), rows = parts.end(step) - begin;
    auto out = scratch<std::byte>(0, rows * rowBytes);
    auto in = tensor.data.subspan(static_cast<size_t>((piece.row + begin) * stride), static_cast<size_t>(rows * stride));
    checkpoint::willRead(in);
    for (int64_t r = 0; r < rows; ++r)
      std::memcpy(out.data() + r * rowBytes, in.data() + r * stride + piece.column * width, static_cast<size_t>(rowBytes));
    checkpoint::doneReading(in);
    return sink.put(name, static_cast<uint64_t>(begin * rowBytes), out);
  };
  return {{{name, tensor.info->dtype, {piece.rows, piece.columns}}}, parts.steps(), run};
}

//===----------------------------------------------------------------------===//
// To FP8
//===----------------------------------------------------------------------===//

std::optional<uint64_t> convert::quantizeBlockRow(const BlockRow &in, const Scheme &scheme, uint8_t *codes,
                                                  std::span<float> scales) {
  const QuantizeKernels &kernels = quantizeKernels(in.dtype);
  int64_t rowBytes = in.columns * bitWidth(in.dtype) / 8;
  std::vector<uint32_t> magnitudes(scales.size());
  for (int64_t r = 0; r < in.rows; ++r)
    kernels.amaxRow(in.data + r * rowBytes, in.columns, scheme.block[1], magnitudes.data());
  std::vector<float> divisors(scales.size());
  uint64_t kept = 0;
  for (size_t b = 0; b < scales.size(); ++b) {
    float amax = magnitudeValue(in.dtype, magnitudes[b]);
    if (!std::isfinite(amax))
      return std::nullopt;
    bool keep = !in.reused.empty() && scaleFits(in.reused[b], amax, scheme.scaleFmt);
    kept += keep;
    scales[b] = keep ? in.reused[b] : blockScale(amax, scheme.scaleFmt);
    divisors[b] = scales[b] == 0 ? 1 : scales[b]; // zeros stay zeros, with their signs
  }
  for (int64_t r = 0; r < in.rows; ++r)
    kernels.quantizeRow(in.data + r * rowBytes, in.columns, scheme.block[1], divisors.data(), codes + r * in.columns);
  return kept;
}

/// The error for the first element of these rows that is NaN or infinite.
static Result<void> failNonFinite(const Tensor &weight, int64_t begin, int64_t end) {
  int64_t columns = weight.info->shape[1], width = elementBytes(weight);
  for (int64_t i = begin * columns; i < end * columns; ++i) {
    uint32_t magnitude = 0;
    quantizeKernels(weight.info->dtype, Isa::Baseline).amaxRow(weight.data.data() + i * width, 1, 1, &magnitude);
    float value = magnitudeValue(weight.info->dtype, magnitude);
    if (!std::isfinite(value))
      return fail(fmt::format("{}: element [{}, {}] is {}, which has no FP8 form; leave the weight as it is with --ignore",
                              describe(weight), i / columns, i % columns, std::isnan(value) ? "NaN" : "infinite"));
  }
  return fail(describe(weight) + ": changed while it was read");
}

Job convert::quantizeJob(const Tensor &weight, std::string name, std::string scaleName, const Scheme &scheme,
                         const Tensor *reused, std::shared_ptr<ReuseCount> count) {
  int64_t columns = weight.info->shape[1], rowBytes = columns * elementBytes(weight), blockRows = scheme.block[0];
  auto scales = scaleShape(scheme.block, weight.info->shape[0], weight.info->shape[1]);
  Rows parts(weight.info->shape[0], rowBytes, blockRows);
  auto run = [=](int64_t step, Sink &sink) -> Result<void> {
    int64_t begin = parts.begin(step), rows = parts.end(step) - begin, blocks = (rows + blockRows - 1) / blockRows;
    int64_t firstScale = begin / blockRows * scales[1];
    auto codes = scratch<uint8_t>(0, rows * columns);
    auto out = scratch<float>(0, blocks * scales[1]), keep = scratch<float>(1, reused ? blocks * scales[1] : 0);
    if (reused) {
      checkpoint::willRead(scalesOf(*reused, firstScale, blocks * scales[1]));
      readScales(*reused, firstScale, keep);
    }
    auto in = weight.data.subspan(static_cast<size_t>(begin * rowBytes), static_cast<size_t>(rows * rowBytes));
    checkpoint::willRead(in);
    uint64_t kept = 0;
    for (int64_t b = 0; b < blocks; ++b) {
      auto range = [&](std::span<float> all) { return all.subspan(static_cast<size_t>(b * scales[1]), scales[1]); };
      BlockRow row{weight.info->dtype, in.data() + b * blockRows * rowBytes, std::min(blockRows, rows - b * blockRows), columns,
                   reused ? range(keep) : std::span<float>()};
      auto keptHere = quantizeBlockRow(row, scheme, codes.data() + b * blockRows * columns, range(out));
      if (!keptHere)
        return failNonFinite(weight, begin, begin + rows);
      kept += *keptHere;
    }
    checkpoint::doneReading(in);
    if (count && sink.isWriting()) {
      count->kept += kept;
      count->fresh += out.size() - kept;
    }
    QUANT_TRY(sink.put(name, static_cast<uint64_t>(begin * columns), std::as_bytes(codes)));
    return sink.put(scaleName, static_cast<uint64_t>(firstScale) * sizeof(float), std::as_bytes(out));
  };
  return {{{name, DType::F8E4M3FN, weight.info->shape}, {scaleName, DType::F32, scales}}, parts.steps(), run};
}

//===----------------------------------------------------------------------===//
// From FP8
//===----------------------------------------------------------------------===//

/// The error for the first code of these rows that is NaN, or whose product with its scale overflows.
static Result<void> failNoProduct(const Tensor &weight, const Tensor &scale, const Block &block, int64_t begin, int64_t end) {
  int64_t columns = weight.info->shape[1];
  for (int64_t i = begin * columns; i < end * columns; ++i) {
    int64_t row = i / columns, column = i % columns;
    float factor;
    readScales(scale, row / block[0] * ((columns + block[1] - 1) / block[1]) + column / block[1], std::span(&factor, 1));
    std::byte ignored[4];
    if (dequantizeRow(DType::BF16, Isa::Baseline)(&weight.data[static_cast<size_t>(i)], 1, 1, &factor, ignored))
      continue;
    bool isNaN = (weight.data[static_cast<size_t>(i)] & std::byte{0x7F}) == std::byte{0x7F};
    return fail(
        fmt::format("{}: element [{}, {}] {}", describe(weight), row, column,
                    isNaN ? "is NaN; is the file damaged?" : "times its scale does not fit into bf16; is the scale damaged?"));
  }
  return fail(describe(weight) + ": changed while it was read");
}

/// Rows [begin, begin + rows) times their scales, to `out`. They are read ahead, and given back.
static bool dequantizeRows(const Tensor &weight, const Tensor &scale, const Block &block, int64_t begin, int64_t rows,
                           DType dtype, std::byte *out) {
  DequantizeRow kernel = dequantizeRow(dtype);
  int64_t columns = weight.info->shape[1], scaleColumns = (columns + block[1] - 1) / block[1], current = -1;
  std::vector<float> scales(static_cast<size_t>(scaleColumns));
  auto in = weight.data.subspan(static_cast<size_t>(begin * columns), static_cast<size_t>(rows * columns));
  int64_t firstBlockRow = begin / block[0], endBlockRow = (begin + rows + block[0] - 1) / block[0];
  checkpoint::willRead(in);
  checkpoint::willRead(scalesOf(scale, firstBlockRow * scaleColumns, (endBlockRow - firstBlockRow) * scaleColumns));
  bool finite = true;
  for (int64_t r = 0; r < rows; ++r) {
    if (int64_t blockRow = (begin + r) / block[0]; blockRow != current) {
      current = blockRow;
      readScales(scale, blockRow * scaleColumns, scales);
    }
    finite &= kernel(in.data() + r * columns, columns, block[1], scales.data(), out + r * columns * bitWidth(dtype) / 8);
  }
  checkpoint::doneReading(in);
  return finite;
}

Job convert::dequantizeJob(const Tensor &weight, const Tensor &scale, const Block &shape, std::string name, DType out) {
  Block block = sidesOf(shape, weight.info->shape);
  int64_t columns = weight.info->shape[1], width = bitWidth(out) / 8;
  Rows parts(weight.info->shape[0], width * columns, std::min<int64_t>(block[0], 128));
  auto run = [=](int64_t step, Sink &sink) -> Result<void> {
    int64_t begin = parts.begin(step), rows = parts.end(step) - begin;
    auto values = scratch<std::byte>(0, rows * columns * width);
    if (!dequantizeRows(weight, scale, block, begin, rows, out, values.data()))
      return failNoProduct(weight, scale, block, begin, begin + rows);
    return sink.put(name, static_cast<uint64_t>(begin * columns * width), values);
  };
  return {{{name, out, weight.info->shape}}, parts.steps(), run};
}

Job convert::requantizeJob(const Tensor &weight, const Tensor &scale, std::string name, std::string scaleName, const Piece &piece,
                           const Scheme &scheme) {
  std::vector<int64_t> shape = {piece.rows, piece.columns}, scales = scaleShape(scheme.block, piece.rows, piece.columns);
  auto run = [=](int64_t step, Sink &sink) -> Result<void> {
    int64_t begin = step * scheme.block[0], rows = std::min(scheme.block[0], piece.rows - begin);
    int64_t columns = weight.info->shape[1], first = piece.row + begin;
    auto whole = scratch<float>(0, rows * columns), out = scratch<float>(1, scales[1]);
    if (!dequantizeRows(weight, scale, scheme.block, first, rows, DType::F32, std::as_writable_bytes(whole).data()))
      return failNoProduct(weight, scale, scheme.block, first, first + rows);
    for (int64_t r = 0; r < rows; ++r) // closes up the piece's columns, front to back
      std::memmove(&whole[r * piece.columns], &whole[r * columns + piece.column], piece.columns * sizeof(float));
    auto codes = scratch<uint8_t>(0, rows * piece.columns);
    quantizeBlockRow({DType::F32, std::as_bytes(whole).data(), rows, piece.columns, {}}, scheme, codes.data(), out);
    QUANT_TRY(sink.put(name, static_cast<uint64_t>(begin * piece.columns), std::as_bytes(codes)));
    return sink.put(scaleName, static_cast<uint64_t>(step * scales[1]) * sizeof(float), std::as_bytes(out));
  };
  return {{{name, DType::F8E4M3FN, shape}, {scaleName, DType::F32, scales}}, scales[0], run};
}

//===----------------------------------------------------------------------===//
// From any scheme
//===----------------------------------------------------------------------===//

/// Rounds f32 to `out`'s type; false where a value is NaN or does not fit.
static bool roundTo(DType out, std::span<const float> values, std::span<std::byte> bytes) {
  bool finite = true;
  if (out == DType::F32) {
    for (float value : values)
      finite &= std::isfinite(value);
    std::memcpy(bytes.data(), values.data(), bytes.size());
    return finite;
  }
  for (size_t i = 0; i < values.size(); ++i) {
    uint16_t half = toBf16(values[i]);
    finite &= (half & 0x7F80) != 0x7F80;
    std::memcpy(bytes.data() + 2 * i, &half, sizeof(half));
  }
  return finite;
}

static Result<void> failNotFinite(const LinearWeight &weight, int64_t begin, std::span<const float> values, DType out) {
  for (size_t i = 0; i < values.size(); ++i) {
    std::array<std::byte, 4> bytes;
    if (roundTo(out, values.subspan(i, 1), std::span(bytes).first(static_cast<size_t>(bitWidth(out)) / 8)))
      continue;
    auto at = static_cast<int64_t>(i);
    return fail(fmt::format(
        "{}: element [{}, {}] {}", describe(*weight.tensors().codes), begin + at / weight.columns(), at % weight.columns(),
        std::isnan(values[i]) ? "is NaN; is the file damaged?"
                              : fmt::format("times its scale does not fit into {}; is the scale damaged?", mlirName(out))));
  }
  return fail(describe(*weight.tensors().codes) + ": changed while it was read");
}

Job convert::decodeJob(const LinearWeight &weight, std::string name, DType out) {
  int64_t columns = weight.columns(), width = bitWidth(out) / 8, steps = 0;
  Rows parts(weight.rows(), columns * width, weight.isRowMajor() ? 1 : LinearWeight::kPanelRows);
  steps = parts.steps();
  // Interleaved rows are read again and again: their pages are given back with the last step.
  auto done = std::make_shared<std::atomic<int64_t>>(0);
  auto run = [=, &weight](int64_t step, Sink &sink) -> Result<void> {
    int64_t begin = parts.begin(step), rows = parts.end(step) - begin;
    auto values = scratch<float>(0, rows * columns);
    auto bytes = scratch<std::byte>(0, rows * columns * width);
    checkpoint::willRead(weight.codeBytes(begin, rows));
    checkpoint::willRead(weight.scaleBytes(begin, rows));
    weight.read(static_cast<uint64_t>(begin * columns), values);
    if (weight.isRowMajor() || ++*done % steps == 0)
      checkpoint::doneReading(weight.codeBytes(begin, rows));
    if (!roundTo(out, values, bytes))
      return failNotFinite(weight, begin, values, out);
    return sink.put(name, static_cast<uint64_t>(begin * columns * width), bytes);
  };
  bool isPlain = weight.scheme().packing == Packing::Elements;
  return {{{name, out, isPlain ? weight.tensors().codes->info->shape : std::vector{weight.rows(), columns}}}, steps, run};
}
