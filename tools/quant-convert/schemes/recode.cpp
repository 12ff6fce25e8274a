//===- recode.cpp - from one scheme to another without loss ---------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/quant-convert/schemes/recode.h"

#include "runtime/checkpoint/mapped_pages.h"
#include "runtime/support/narrow.h"
#include "tools/quant-convert/schemes/cast_kernels.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>

using namespace quant;
using namespace quant::convert;

namespace {

/// Rows of a weight that share scales.
struct Rows {
  int64_t begin, count;
  std::vector<float> values;
};

/// Those of a step of 128 rows.
Rows readRows(const LinearWeight &weight, int64_t step) {
  constexpr int64_t kRows = LinearWeight::kPanelRows;
  Rows rows{step * kRows, std::min(kRows, weight.rows() - step * kRows), {}};
  rows.values.resize(static_cast<size_t>(rows.count * weight.columns()));
  checkpoint::willRead(weight.codeBytes(rows.begin, rows.count));
  checkpoint::willRead(weight.scaleBytes(rows.begin, rows.count));
  weight.read(static_cast<uint64_t>(rows.begin * weight.columns()), rows.values);
  if (weight.isRowMajor())
    checkpoint::doneReading(weight.codeBytes(rows.begin, rows.count));
  return rows;
}

/// Steps of readRows().
int64_t stepsOf(const LinearWeight &weight) { return (weight.rows() + LinearWeight::kPanelRows - 1) / LinearWeight::kPanelRows; }

/// The first value that is another than before.
Result<void> failChanged(const LinearWeight &weight, const Rows &rows, std::span<const float> after, std::string_view as) {
  for (size_t i = 0; i < after.size(); ++i) {
    if (rows.values[i] == after[i])
      continue;
    auto at = static_cast<int64_t>(i);
    return fail(fmt::format("{}: element [{}, {}] is {:g}, which is no {} beside the others that share its scale; dequantize it "
                            "and cast it with loss",
                            describe(*weight.tensors().codes), rows.begin + at / weight.columns(), at % weight.columns(),
                            rows.values[i], as));
  }
  return fail(describe(*weight.tensors().codes) + ": changed while it was read");
}

bool isUnchanged(const Rows &rows, std::span<const float> after) {
  return std::equal(after.begin(), after.end(), rows.values.begin());
}

} // namespace

//===----------------------------------------------------------------------===//
// FP8
//===----------------------------------------------------------------------===//

Job convert::recodeFp8Job(const LinearWeight &weight, const std::string &name) {
  Scheme scheme = deepSeekFp8(ScaleFmt::UE8M0);
  std::string scaleName = scaleNameOf(scheme, name);
  int64_t columns = weight.columns();
  std::vector<int64_t> scaleSizes = scaleShape(scheme.block, weight.rows(), columns);
  auto run = [=, &weight](int64_t step, Sink &sink) -> Result<void> {
    Rows rows = readRows(weight, step);
    std::vector<uint8_t> codes(rows.values.size());
    std::vector<float> scales(static_cast<size_t>(scaleSizes[1])), after(rows.values.size());
    BlockRow row{DType::F32, std::as_bytes(std::span(rows.values)).data(), rows.count, columns, {}};
    if (!quantizeBlockRow(row, scheme, codes.data(), scales)) {
      std::ranges::copy_if(rows.values, after.begin(), [](float value) { return std::isfinite(value); });
      return failChanged(weight, rows, after, "finite number");
    }
    for (int64_t r = 0; r < rows.count; ++r)
      dequantizeRow(DType::F32)(std::as_bytes(std::span(codes)).data() + r * columns, columns, scheme.block[1], scales.data(),
                                std::as_writable_bytes(std::span(after)).data() + r * columns * 4);
    if (!isUnchanged(rows, after))
      return failChanged(weight, rows, after, "e4m3");
    QUANT_TRY(sink.put(name, static_cast<uint64_t>(rows.begin * columns), std::as_bytes(std::span(codes))));
    return sink.put(scaleName, static_cast<uint64_t>(step * scaleSizes[1]) * sizeof(float), std::as_bytes(std::span(scales)));
  };
  return {{{name, DType::F8E4M3FN, {weight.rows(), columns}}, {scaleName, DType::F32, scaleSizes}}, stepsOf(weight), run};
}

//===----------------------------------------------------------------------===//
// MXFP4
//===----------------------------------------------------------------------===//

/// The codes of a group of a row; returns its scale. `after` is what they mean.
static uint8_t recodeGroup(std::span<const float> values, size_t column, std::span<std::byte> codes, std::span<float> after) {
  float amax = 0;
  for (float value : values)
    amax = std::max(amax, std::abs(value));
  uint8_t scale = encodeE8M0Up(amax / 6);
  float step = decodeE8M0(scale);
  for (size_t i = 0; i < values.size(); ++i) {
    auto code = static_cast<uint8_t>(encodeFloat(values[i] / step, kE2M1FN));
    setNibble(codes, column + i, NibbleOrder::LowFirst, code);
    after[i] = static_cast<float>(decodeFloat(code, kE2M1FN)) * step;
  }
  return scale;
}

Job convert::recodeMxfp4Job(const LinearWeight &weight, const std::string &name) {
  const Scheme &scheme = *findScheme("ct-mxfp4");
  std::string layer = name.substr(0, name.size() - std::string_view(".weight").size());
  std::string codesName = layer + std::string(scheme.suffixes.data), scaleName = layer + std::string(scheme.suffixes.scale);
  int64_t columns = weight.columns(), group = scheme.block[1], groups = (columns + group - 1) / group;
  auto run = [=, &weight](int64_t step, Sink &sink) -> Result<void> {
    Rows rows = readRows(weight, step);
    std::vector<std::byte> codes(rows.values.size() / 2), scales(static_cast<size_t>(rows.count * groups));
    std::vector<float> after(rows.values.size());
    for (size_t i = 0; i < scales.size(); ++i) {
      auto row = static_cast<int64_t>(i) / groups, column = static_cast<int64_t>(i) % groups * group;
      auto begin = static_cast<size_t>(row * columns + column), count = static_cast<size_t>(std::min(group, columns - column));
      scales[i] =
          std::byte{recodeGroup(std::span(rows.values).subspan(begin, count), begin, codes, std::span(after).subspan(begin))};
    }
    if (!isUnchanged(rows, after))
      return failChanged(weight, rows, after, "e2m1");
    QUANT_TRY(sink.put(codesName, static_cast<uint64_t>(rows.begin * columns / 2), codes));
    return sink.put(scaleName, static_cast<uint64_t>(rows.begin * groups), scales);
  };
  return {{{codesName, DType::U8, {weight.rows(), columns / 2}}, {scaleName, DType::U8, {weight.rows(), groups}}},
          stepsOf(weight),
          run};
}
