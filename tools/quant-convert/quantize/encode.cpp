//===- encode.cpp - rows of a weight in few bits --------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/quant-convert/quantize/encode.h"

#include <algorithm>
#include <cmath>

using namespace quant;
using namespace quant::convert;

namespace {

/// A block of some rows: which columns of which rows share the parameters.
struct Group {
  const RowBlock &in;
  int64_t row, rows, column, columns;

  std::span<const float> part(int64_t r) const {
    return in.values.subspan(static_cast<size_t>((row + r) * in.columns + column), static_cast<size_t>(columns));
  }
  size_t offset(int64_t r) const { return static_cast<size_t>((row + r) * in.columns + column); }
};

/// Least and greatest value, widened to contain 0.
struct Range {
  float low = 0, high = 0;
};

Range rangeOf(const Group &group) {
  Range range;
  for (int64_t r = 0; r < group.rows; ++r)
    for (float value : group.part(r)) {
      range.low = value < range.low ? value : range.low;
      range.high = value > range.high ? value : range.high;
    }
  return range;
}

/// Sum of the squared errors under the parameters.
double squaredError(const NumberFormat &format, const Group &group, const Parameters &parameters, float global) {
  thread_local std::vector<uint8_t> codes;
  thread_local std::vector<float> rounded;
  codes.resize(static_cast<size_t>(group.columns));
  rounded.resize(codes.size());
  double sum = 0;
  for (int64_t r = 0; r < group.rows; ++r) {
    auto values = group.part(r);
    format.encode(values, parameters, global, codes.data());
    format.decode(codes, parameters, global, rounded.data());
    float row = 0;
    for (size_t i = 0; i < codes.size(); ++i)
      row += (values[i] - rounded[i]) * (values[i] - rounded[i]);
    sum += row;
  }
  return sum;
}

Parameters fitByError(const NumberFormat &format, const Group &group, const Range &range, float global) {
  Parameters best = format.fit(range.low, range.high, global);
  double least = squaredError(format, group, best, global);
  for (int percent = 99; percent >= 20 && least > 0; --percent) {
    auto share = static_cast<float>(percent) / 100;
    Parameters tried = format.fit(range.low * share, range.high * share, global);
    if (double error = squaredError(format, group, tried, global); error < least) {
      least = error;
      best = tried;
    }
  }
  return best;
}

Parameters fitByPercentile(const NumberFormat &format, const Group &group, const Range &range, double percent, float global) {
  std::vector<float> magnitudes;
  for (int64_t r = 0; r < group.rows; ++r)
    for (float value : group.part(r))
      magnitudes.push_back(std::abs(value));
  float limit = percentileOf(std::move(magnitudes), percent);
  return format.fit(std::max(range.low, -limit), std::min(range.high, limit), global);
}

Parameters fitGroup(const NumberFormat &format, const Group &group, const Clip &clip, float global) {
  Range range = rangeOf(group);
  switch (clip.method) {
  case ClipMethod::None:
    return format.fit(range.low, range.high, global);
  case ClipMethod::Mse:
    return fitByError(format, group, range, global);
  case ClipMethod::Percentile:
    return fitByPercentile(format, group, range, clip.percentile, global);
  }
  return {};
}

/// Calls `take(index, group)` with every block, row of blocks after row of blocks.
template <typename Take>
void forGroups(const RowBlock &in, const std::array<int64_t, 2> &sides, Take take) {
  size_t index = 0;
  for (int64_t row = 0; row < in.rows; row += sides[0])
    for (int64_t column = 0; column < in.columns; column += sides[1])
      take(index++, Group{in, row, std::min(sides[0], in.rows - row), column, std::min(sides[1], in.columns - column)});
}

} // namespace

float convert::percentileOf(std::vector<float> magnitudes, double percent) {
  double at = percent / 100 * static_cast<double>(magnitudes.size() - 1);
  auto below = static_cast<std::ptrdiff_t>(at);
  std::ranges::nth_element(magnitudes, magnitudes.begin() + below);
  float low = magnitudes[static_cast<size_t>(below)];
  if (static_cast<size_t>(below) + 1 == magnitudes.size())
    return low;
  float high = *std::ranges::min_element(magnitudes.begin() + below + 1, magnitudes.end());
  return static_cast<float>(low + (high - low) * (at - static_cast<double>(below)));
}

std::array<int64_t, 2> convert::blockSides(const Scheme &scheme, int64_t rows, int64_t columns) {
  auto side = [](int64_t asked, int64_t whole) { return std::max<int64_t>(1, asked == 0 ? whole : std::min(asked, whole)); };
  return {side(scheme.block[0], rows), side(scheme.block[1], columns)};
}

EncodedRows convert::encodeRows(const NumberFormat &format, const Scheme &scheme, const RowBlock &in, const Clip &clip) {
  EncodedRows out;
  out.codes.resize(in.values.size());
  if (format.hasGlobalScale())
    out.global = NumberFormat::globalScale(in.amax);
  bool isWhole = scheme.block[0] == 0;
  forGroups(in, blockSides(scheme, in.rows, in.columns), [&](size_t, const Group &group) {
    Parameters parameters = isWhole ? format.fit(-in.amax, in.amax, out.global) : fitGroup(format, group, clip, out.global);
    out.scales.push_back(parameters.scale);
    if (format.hasZeroPoints())
      out.zeros.push_back(static_cast<int8_t>(parameters.zero));
    for (int64_t r = 0; r < group.rows; ++r)
      format.encode(group.part(r), parameters, out.global, out.codes.data() + group.offset(r));
  });
  return out;
}

std::vector<float> convert::decodeRows(const NumberFormat &format, const Scheme &scheme, const RowBlock &in,
                                       const EncodedRows &encoded) {
  std::vector<float> values(encoded.codes.size());
  forGroups(in, blockSides(scheme, in.rows, in.columns), [&](size_t index, const Group &group) {
    Parameters parameters = {encoded.scales[index], encoded.zeros.empty() ? 0 : encoded.zeros[index]};
    for (int64_t r = 0; r < group.rows; ++r)
      format.decode(std::span(encoded.codes).subspan(group.offset(r), static_cast<size_t>(group.columns)), parameters,
                    encoded.global, values.data() + group.offset(r));
  });
  return values;
}
