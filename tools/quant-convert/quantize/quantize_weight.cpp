//===- quantize_weight.cpp - a weight to a scheme's tensors ---------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/quant-convert/quantize/quantize_weight.h"

#include "runtime/checkpoint/mapped_pages.h"
#include "runtime/support/narrow.h"
#include "tools/quant-convert/quantize/pack.h"
#include "tools/quant-convert/schemes/cast_kernels.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <mutex>
#include <numeric>

using namespace quant;
using namespace quant::convert;

/// Elements of a step, about: 4 MB of values.
static constexpr int64_t kStepElements = 1 << 20;
/// Rows that are encoded at a time in a job of one step.
static constexpr int64_t kPanelRows = 128;

//===----------------------------------------------------------------------===//
// Values
//===----------------------------------------------------------------------===//

Result<WeightRows> WeightRows::create(const Weight &weight) {
  WeightRows rows;
  rows.from = &weight;
  if (weight.linear) {
    rows.shape = {weight.linear->rows(), weight.linear->columns()};
    return rows;
  }
  const checkpoint::TensorInfo &info = *weight.tensor->info;
  if (!isCastable(info.dtype) || info.shape.size() != 2)
    return fail(fmt::format("{}: is {} of {} dimensions, only matrices of BF16, F16 and F32 and quantized ones can be quantized",
                            describe(*weight.tensor), safetensorsName(info.dtype), info.shape.size()));
  rows.shape = {info.shape[0], info.shape[1]};
  return rows;
}

template <typename Code, typename Decode>
static void decodeTo(std::span<const std::byte> bytes, std::span<float> out, Decode decode) {
  for (size_t i = 0; i < out.size(); ++i) {
    Code code; // in the file at any alignment
    std::memcpy(&code, bytes.data() + i * sizeof(Code), sizeof(Code));
    out[i] = decode(code);
  }
}

static void decodePlain(DType dtype, std::span<const std::byte> bytes, std::span<float> out) {
  if (dtype == DType::F32)
    std::memcpy(out.data(), bytes.data(), bytes.size());
  else if (dtype == DType::BF16)
    decodeTo<uint16_t>(bytes, out, fromBf16);
  else
    decodeTo<uint16_t>(bytes, out, fromF16);
}

Result<void> WeightRows::read(int64_t begin, int64_t count, std::span<float> out) const {
  if (from->linear) {
    checkpoint::willRead(from->linear->codeBytes(begin, count));
    checkpoint::willRead(from->linear->scaleBytes(begin, count));
    from->linear->read(static_cast<uint64_t>(begin * columns()), out);
    if (from->linear->isRowMajor())
      checkpoint::doneReading(from->linear->codeBytes(begin, count));
  } else {
    DType dtype = from->tensor->info->dtype;
    int64_t rowBytes = columns() * bitWidth(dtype) / 8;
    auto bytes = from->tensor->data.subspan(static_cast<size_t>(begin * rowBytes), static_cast<size_t>(count * rowBytes));
    checkpoint::willRead(bytes);
    decodePlain(dtype, bytes, out);
    checkpoint::doneReading(bytes);
  }
  for (size_t i = 0; i < out.size(); ++i)
    if (!std::isfinite(out[i]))
      return fail(fmt::format("{}: element [{}, {}] is {}, which has no quantized form; leave the weight as it is",
                              describe(*from->tensor), begin + static_cast<int64_t>(i) / columns(),
                              static_cast<int64_t>(i) % columns(), std::isnan(out[i]) ? "NaN" : "infinite"));
  return {};
}

Result<void> convert::checkFits(const WeightRows &weight, const Scheme &scheme) {
  auto wrong = [&](const std::string &what) {
    return fail(fmt::format("{}: {}; take another scheme or group size for it, or leave it as it is",
                            describe(*weight.weight().tensor), what));
  };
  int64_t rows = weight.rows(), columns = weight.columns();
  if (rows < 1 || columns < 1)
    return wrong("is empty");
  bool isGrouped = scheme.block[0] == 1 && scheme.block[1] > 0;
  if (isGrouped && columns % scheme.block[1] != 0)
    return wrong(fmt::format("has {} columns, which groups of {} do not divide", columns, scheme.block[1]));
  if (scheme.packing == Packing::WordsDown && (rows % 8 != 0 || columns % 8 != 0))
    return wrong(fmt::format("is {}x{}, and GPTQ's words hold 8 rows or 8 columns", rows, columns));
  int64_t perWord = scheme.packing == Packing::WordsInRow ? 32 / bitWidth(scheme.element)
                    : scheme.packing == Packing::Nibbles  ? 2
                                                          : 1;
  if (columns % perWord != 0)
    return wrong(fmt::format("has {} columns, and {} codes share a word or byte", columns, perWord));
  return {};
}

Encoder convert::roundToNearest(const Scheme &scheme, bool zeroPoints, const Clip &clip) {
  NumberFormat format(scheme, zeroPoints);
  return [=](int64_t, const RowBlock &in) -> Result<EncodedRows> { return encodeRows(format, scheme, in, clip); };
}

//===----------------------------------------------------------------------===//
// Jobs
//===----------------------------------------------------------------------===//

namespace {

/// The largest magnitude of a whole weight, found once by the step that needs it first.
class WholeAmax {
public:
  Result<float> of(const WeightRows &weight) {
    std::lock_guard guard(lock);
    if (!found)
      QUANT_TRY(find(weight));
    return *found;
  }

private:
  Result<void> find(const WeightRows &weight) {
    float amax = 0;
    int64_t rows = std::max<int64_t>(1, kStepElements / weight.columns());
    std::vector<float> values;
    for (int64_t begin = 0; begin < weight.rows(); begin += rows) {
      int64_t count = std::min(rows, weight.rows() - begin);
      values.resize(static_cast<size_t>(count * weight.columns()));
      QUANT_TRY(weight.read(begin, count, values));
      for (float value : values)
        amax = std::max(amax, std::abs(value));
    }
    found = amax;
    return {};
  }

  std::mutex lock;
  std::optional<float> found;
};

/// A weight on its way to a scheme.
struct Task {
  WeightRows weight;
  std::string layer;
  Scheme scheme;
  Encoder encode;
  bool needsAmax;
  std::shared_ptr<WholeAmax> amax = std::make_shared<WholeAmax>();

  std::string nameOf(std::string_view suffix) const { return layer + std::string(suffix); }
  Result<EncodedRows> encodeStep(int64_t begin, int64_t count) const;
};

} // namespace

/// The tensor of the scales. compressed-tensors has E8M0 as U8.
static StoredShape scalesOf(const Task &task) {
  StoredShape scales = storedScales(task.scheme, task.weight.rows(), task.weight.columns());
  if (scales.dtype == DType::F8E8M0FNU)
    scales.dtype = DType::U8;
  if (task.scheme.block[0] == 0)
    scales.shape = {1};
  return scales;
}

/// Scales that their type does not hold.
static Result<void> checkScales(const Task &task, int64_t begin, const EncodedRows &encoded) {
  for (size_t i = 0; i < encoded.scales.size(); ++i)
    if (!std::isfinite(encoded.scales[i]))
      return fail(fmt::format("{}: a scale of rows from {} on does not fit into {}; take a scheme with wider scales",
                              describe(*task.weight.weight().tensor), begin, mlirName(task.scheme.scale)));
  return {};
}

Result<EncodedRows> Task::encodeStep(int64_t begin, int64_t count) const {
  std::vector<float> values(static_cast<size_t>(count * weight.columns()));
  QUANT_TRY(weight.read(begin, count, values));
  RowBlock block{values, count, weight.columns(), 0};
  if (needsAmax) {
    QUANT_TRY_ASSIGN(block.amax, amax->of(weight));
  }
  QUANT_TRY_ASSIGN(EncodedRows encoded, encode(begin, block));
  QUANT_TRY(checkScales(*this, begin, encoded));
  return encoded;
}

/// Rows of a step: whole blocks, and whole words of zero points down the rows.
static int64_t stepRows(int64_t rows, int64_t columns, const Scheme &scheme) {
  int64_t unit = std::lcm<int64_t>(blockSides(scheme, rows, columns)[0] == rows ? 1 : scheme.block[0], 8);
  return std::max<int64_t>(1, kStepElements / columns / unit) * unit;
}

int64_t convert::stepWeights(int64_t rows, int64_t columns, const Scheme &scheme) {
  return std::min(rows, scheme.packing == Packing::WordsDown ? kPanelRows : stepRows(rows, columns, scheme)) * columns;
}

int64_t convert::stepBytes(int64_t rows, int64_t columns, const Scheme &scheme) {
  int64_t step = stepWeights(rows, columns, scheme);
  return step * 6 + (scheme.packing == Packing::WordsDown ? rows * columns / 2 : step);
}

static Result<void> putRows(const Task &task, int64_t begin, int64_t count, Sink &sink) {
  QUANT_TRY_ASSIGN(EncodedRows encoded, task.encodeStep(begin, count));
  int64_t rows = task.weight.rows(), columns = task.weight.columns();
  const TensorSuffixes &suffixes = task.scheme.suffixes;
  std::vector<std::byte> codes = packRows(task.scheme, encoded.codes, columns);
  auto rowBytes = codes.size() / static_cast<size_t>(count);
  QUANT_TRY(sink.put(task.nameOf(suffixes.data), static_cast<uint64_t>(begin) * rowBytes, codes));
  std::vector<int64_t> scaleSizes = scaleShape(task.scheme.block, rows, columns);
  int64_t blockRow = begin / blockSides(task.scheme, rows, columns)[0];
  DType stored = scalesOf(task).dtype;
  std::vector<std::byte> scales = packScales(stored, encoded.scales);
  bool isOne = task.scheme.block[0] == 0;
  if (!isOne || begin == 0)
    QUANT_TRY(
        sink.put(task.nameOf(suffixes.scale), static_cast<uint64_t>(blockRow * scaleSizes[1] * bitWidth(stored) / 8), scales));
  if (!encoded.zeros.empty()) {
    int bits = bitWidth(task.scheme.element);
    auto zeros = packZerosDown(encoded.zeros, count, scaleSizes[1], bits);
    QUANT_TRY(sink.put(task.nameOf(suffixes.zeroPoint), static_cast<uint64_t>(begin * bits / 32 * scaleSizes[1] * 4), zeros));
  }
  if (begin != 0)
    return {};
  if (task.scheme.packing == Packing::WordsInRow) {
    std::array<int64_t, 2> shape = {rows, columns};
    QUANT_TRY(sink.put(task.nameOf(".weight_shape"), 0, std::as_bytes(std::span(shape))));
  }
  if (task.scheme.hasGlobalScale())
    return sink.put(task.nameOf(suffixes.globalScale), 0, std::as_bytes(std::span(&encoded.global, 1)));
  return {};
}

static Job rowMajorJob(Task task) {
  int64_t rows = task.weight.rows(), columns = task.weight.columns(), step = stepRows(rows, columns, task.scheme);
  const TensorSuffixes &suffixes = task.scheme.suffixes;
  StoredShape codes = storedCodes(task.scheme, rows, columns), scales = scalesOf(task);
  std::vector<checkpoint::TensorSpec> outputs = {{task.nameOf(suffixes.data), codes.dtype, codes.shape},
                                                 {task.nameOf(suffixes.scale), scales.dtype, scales.shape}};
  if (task.scheme.zeroPoints == ZeroPoints::PackedDown) {
    StoredShape zeros = storedZeros(task.scheme, rows, columns);
    outputs.push_back({task.nameOf(suffixes.zeroPoint), zeros.dtype, zeros.shape});
  }
  if (task.scheme.packing == Packing::WordsInRow)
    outputs.push_back({task.nameOf(".weight_shape"), DType::I64, {2}});
  if (task.scheme.hasGlobalScale())
    outputs.push_back({task.nameOf(suffixes.globalScale), DType::F32, {1}});
  auto run = [task = std::move(task), rows, step](int64_t number, Sink &sink) {
    int64_t begin = number * step;
    return putRows(task, begin, std::min(step, rows - begin), sink);
  };
  return {std::move(outputs), (rows + step - 1) / step, std::move(run)};
}

static Result<void> putGptq(const Task &task, Sink &sink) {
  int64_t rows = task.weight.rows();
  GptqTensors tensors(task.scheme, rows, task.weight.columns());
  for (int64_t begin = 0; begin < rows; begin += kPanelRows) {
    int64_t count = std::min(kPanelRows, rows - begin);
    QUANT_TRY_ASSIGN(EncodedRows encoded, task.encodeStep(begin, count));
    tensors.add(begin, encoded, count);
  }
  QUANT_TRY(sink.put(task.nameOf(".qweight"), 0, std::as_bytes(std::span(tensors.words))));
  QUANT_TRY(sink.put(task.nameOf(".qzeros"), 0, std::as_bytes(std::span(tensors.zeroWords))));
  QUANT_TRY(sink.put(task.nameOf(".scales"), 0, std::as_bytes(std::span(tensors.scales))));
  return sink.put(task.nameOf(".g_idx"), 0, std::as_bytes(std::span(tensors.groupOfColumn)));
}

static Job gptqJob(Task task) {
  int64_t rows = task.weight.rows(), columns = task.weight.columns();
  StoredShape codes = storedCodes(task.scheme, rows, columns), scales = scalesOf(task),
              zeros = storedZeros(task.scheme, rows, columns);
  std::vector<checkpoint::TensorSpec> outputs = {{task.nameOf(".qweight"), codes.dtype, codes.shape},
                                                 {task.nameOf(".qzeros"), zeros.dtype, zeros.shape},
                                                 {task.nameOf(".scales"), scales.dtype, scales.shape},
                                                 {task.nameOf(".g_idx"), DType::I32, {columns}}};
  return {std::move(outputs), 1, [task = std::move(task)](int64_t, Sink &sink) { return putGptq(task, sink); }};
}

Job convert::quantizeWeightJob(const WeightRows &weight, const std::string &layer, const Scheme &scheme, const Encoder &encode) {
  Task task{weight, layer, scheme, encode, scheme.hasGlobalScale() || scheme.block[0] == 0};
  return scheme.packing == Packing::WordsDown ? gptqJob(std::move(task)) : rowMajorJob(std::move(task));
}

Job convert::roundedWeightJob(const WeightRows &weight, const std::string &name, const Scheme &scheme, bool zeroPoints) {
  NumberFormat format(scheme, zeroPoints);
  Task task{weight, name, scheme, roundToNearest(scheme, zeroPoints, {}), scheme.hasGlobalScale() || scheme.block[0] == 0};
  int64_t rows = weight.rows(), columns = weight.columns(), step = stepRows(rows, columns, scheme);
  DType dtype = weight.weight().tensor->info->dtype;
  auto run = [=](int64_t number, Sink &sink) -> Result<void> {
    int64_t begin = number * step, count = std::min(step, rows - begin);
    QUANT_TRY_ASSIGN(EncodedRows encoded, task.encodeStep(begin, count));
    std::vector<float> values = decodeRows(format, scheme, {{}, count, columns, 0}, encoded);
    return sink.put(name, static_cast<uint64_t>(begin * columns * bitWidth(dtype) / 8), packScales(dtype, values));
  };
  return {{{name, dtype, {rows, columns}}}, (rows + step - 1) / step, std::move(run)};
}
