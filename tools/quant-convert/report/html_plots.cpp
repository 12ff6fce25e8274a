//===- html_plots.cpp - plots as inline SVG -------------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/quant-convert/report/html.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <numeric>
#include <optional>

using namespace quant;
using namespace quant::convert;

namespace {

/// Of the drawing, in its own units: the page scales it.
constexpr double kWidth = 1100, kHeight = 380, kLeft = 58, kRight = 14, kTop = 34, kBottom = 44;

std::string text(double value) {
  char buffer[32];
  std::snprintf(buffer, sizeof(buffer), "%.5g", std::abs(value) < 1e-9 ? 0 : value);
  return buffer;
}

/// "key=\"value\"" pairs.
std::string attributes(std::initializer_list<std::pair<const char *, double>> list) {
  std::string out;
  for (const auto &[key, value] : list)
    out += std::string(" ") + key + "=\"" + text(value) + "\"";
  return out;
}

std::string line(double x1, double y1, double x2, double y2, const char *style = "axis") {
  return std::string("<line class=\"") + style + "\"" + attributes({{"x1", x1}, {"y1", y1}, {"x2", x2}, {"y2", y2}}) + "/>\n";
}

std::string label(double x, double y, const char *anchor, std::string_view words) {
  return std::string("<text text-anchor=\"") + anchor + "\"" + attributes({{"x", x}, {"y", y}}) + ">" + escapeHtml(words) +
         "</text>\n";
}

/// The y axis' title stands above it: upright words are read sooner.
std::string frame(std::string_view name, std::string_view xTitle, std::string_view yTitle) {
  return "<svg role=\"img\" aria-label=\"" + escapeHtml(name) + "\" viewBox=\"0 0 " + text(kWidth) + " " + text(kHeight) +
         "\">\n" + label(kWidth - kRight, kHeight - 8, "end", xTitle) + label(4, 14, "start", yTitle);
}

/// A range of values on a stretch of the drawing, with ticks at round numbers.
struct Axis {
  double low, high, from, to, step;

  Axis(double least, double most, double from, double to, int ticks) : from(from), to(to) {
    if (!(most > least))
      most = least + 1;
    double raw = (most - least) / ticks, power = std::pow(10, std::floor(std::log10(raw)));
    step = power;
    for (double factor : {2.0, 5.0, 10.0})
      if (step < raw)
        step = power * factor;
    low = std::floor(least / step) * step;
    high = std::ceil(most / step) * step;
  }

  double at(double value) const { return from + (std::clamp(value, low, high) - low) / (high - low) * (to - from); }
  int ticks() const { return int(std::lround((high - low) / step)); }
  double tick(int i) const { return low + step * i; }
};

/// One axis, or two with a break between: most values on one side of a gap, a few far above it.
struct BrokenAxis {
  Axis main;
  std::optional<Axis> upper;

  BrokenAxis(std::vector<double> values, double from, double to, int ticks) : main(0, 1, from, to, ticks) {
    if (values.empty())
      return;
    std::ranges::sort(values);
    size_t above = 0; // the first value above the widest gap
    for (size_t i = 1; i < values.size(); ++i)
      if (above == 0 || values[i] - values[i - 1] > values[above] - values[above - 1])
        above = i;
    double range = values.back() - values.front();
    if (above == 0 || values[above] - values[above - 1] < 0.4 * range || range < 1) {
      main = Axis(values.front(), values.back(), from, to, ticks);
      return;
    }
    // Room by the values' number, but enough for a tick or two.
    double share = std::clamp(double(above) / double(values.size()), 0.25, 0.75), gap = (to - from) * 0.04;
    double middle = from + (to - from) * share;
    main = Axis(values.front(), values[above - 1], from, middle - gap, std::max(2, int(ticks * share)));
    upper = Axis(values[above], values.back(), middle + gap, to, std::max(1, int(ticks * (1 - share))));
  }

  const Axis &of(double value) const { return upper && value >= upper->low ? *upper : main; }
  double at(double value) const { return of(value).at(value); }
  std::vector<Axis> parts() const { return upper ? std::vector<Axis>{main, *upper} : std::vector<Axis>{main}; }
  /// The middle of the break.
  std::optional<double> gap() const { return upper ? std::optional((main.to + upper->from) / 2) : std::nullopt; }
};

std::string yTicks(const Axis &axis) {
  std::string out;
  for (int i = 0; i <= axis.ticks(); ++i) {
    double y = axis.at(axis.tick(i));
    out += line(kLeft, y, kWidth - kRight, y) + label(kLeft - 8, y + 4, "end", text(axis.tick(i)));
  }
  return out;
}

/// A marker of about 10 units around the origin: shapes tell the series apart without colours.
std::string marker(size_t series, double x, double y, double scale, bool alarm) {
  static constexpr std::array<const char *, kMaxSeries> shapes = {"M-4.2 0a4.2 4.2 0 1 0 8.4 0a4.2 4.2 0 1 0-8.4 0z",
                                                                  "M-3.8-3.8h7.6v7.6h-7.6z",
                                                                  "M0-5.2L5.2 0L0 5.2L-5.2 0z",
                                                                  "M0-5L4.8 3.8h-9.6z",
                                                                  "M0 5L4.8-3.8h-9.6z",
                                                                  "M-5-1.7h3.3v-3.3h3.4v3.3h3.3v3.4h-3.3v3.3h-3.4v-3.3h-3.3z",
                                                                  "M-5-3h10v6h-10z"};
  return std::string("<path class=\"mark") + (alarm ? " alarm" : "") + "\" d=\"" + shapes[series] + "\" transform=\"translate(" +
         text(x) + " " + text(y) + ")" + (scale < 1 ? " scale(" + text(scale) + ")" : "") + "\">";
}

/// Left to right within a layer's column, so that the series do not cover each other.
double shift(size_t series, double column) {
  return (double(series) - (kMaxSeries - 1) / 2.0) * std::min(9.0, column * 0.85 / kMaxSeries);
}

/// Smaller where there are many layers.
double markerScale(double column) { return std::clamp(column / 38, 0.55, 1.0); }

} // namespace

std::string convert::scatterSvg(const std::vector<PlotPoint> &points, std::string_view yTitle, std::string_view aboveTitle) {
  constexpr double aboveRow = kTop + 6;
  std::vector<double> values;
  int64_t first = 0, last = 0;
  for (const PlotPoint &point : points) {
    first = std::min(first, point.x);
    last = std::max(last, point.x);
    for (double y : {point.low, point.y})
      if (std::isfinite(y))
        values.push_back(y);
  }
  BrokenAxis axis(values, kHeight - kBottom, kTop + 28, 6);
  double column = (kWidth - kLeft - kRight) / double(last - first + 1);
  auto center = [&](int64_t x) { return kLeft + (double(x - first) + 0.5) * column; };

  std::string out = frame("SQNR over the layers", "layer", yTitle);
  for (const Axis &part : axis.parts())
    out += values.empty() ? "" : yTicks(part);
  if (auto gap = axis.gap())
    out += line(kLeft, *gap, kWidth - kRight, *gap, "break");
  out += line(kLeft, aboveRow, kWidth - kRight, aboveRow) + label(kLeft - 8, aboveRow + 4, "end", aboveTitle);
  int64_t every = std::max<int64_t>(1, int64_t(std::ceil(34 / column)));
  for (int64_t x = first; x <= last; ++x)
    if (x < 0 || x % every == 0)
      out += label(center(x), kHeight - kBottom + 18, "middle", x < 0 ? "none" : std::to_string(x));
  for (const PlotPoint &point : points) {
    double x = center(point.x) + shift(point.series, column);
    double y = point.y == INFINITY ? aboveRow : axis.at(point.y);
    out += "<g class=\"s" + std::to_string(point.series) + "\">";
    if (point.low < point.y)
      out += line(x, axis.at(point.low), x, y, "range");
    out += marker(point.series, x, y, markerScale(column), point.alarm) + "<title>" + escapeHtml(point.tip) +
           "</title></path></g>\n";
  }
  return out + "</svg>\n";
}

namespace {

/// Bins of one axis, with the count of every series.
struct Bins {
  const Axis &axis;
  std::vector<std::array<uint64_t, kMaxSeries>> counts;

  /// Some 16 units wide each.
  explicit Bins(const Axis &axis) : axis(axis), counts(size_t(std::max(4.0, (axis.to - axis.from) / 16))) {}

  double width() const { return (axis.to - axis.from) / double(counts.size()); }
  double lowOf(size_t bin) const { return axis.low + (axis.high - axis.low) * double(bin) / double(counts.size()); }
  void add(const HistogramValue &value) {
    double share = (value.value - axis.low) / (axis.high - axis.low);
    ++counts[std::min(counts.size() - 1, size_t(share * double(counts.size())))][value.series];
  }
  uint64_t highest() const {
    uint64_t highest = 0;
    for (const auto &bin : counts)
      highest = std::max(highest, std::accumulate(bin.begin(), bin.end(), uint64_t(0)));
    return highest;
  }
};

std::string barsSvg(const Bins &bins, const Axis &y) {
  std::string out;
  for (size_t bin = 0; bin < bins.counts.size(); ++bin) {
    uint64_t below = 0;
    for (size_t series = 0; series < kMaxSeries; ++series) {
      uint64_t count = bins.counts[bin][series];
      if (count == 0)
        continue;
      // A few tensors beside thousands are still to be seen.
      double bottom = y.at(double(below)), top = std::min(y.at(double(below + count)), bottom - 2);
      double x = bins.axis.from + bins.width() * double(bin) + 0.5;
      out += "<g class=\"s" + std::to_string(series) + "\"><rect class=\"bar\"" +
             attributes({{"x", x}, {"y", top}, {"width", bins.width() - 1}, {"height", bottom - top}}) + "><title>" +
             std::to_string(count) + " from " + text(bins.lowOf(bin)) + " to " + text(bins.lowOf(bin + 1)) +
             "</title></rect></g>\n";
      below += count;
    }
  }
  return out;
}

} // namespace

std::string convert::histogramSvg(const std::vector<HistogramValue> &values, std::string_view xTitle, std::string_view yTitle) {
  if (values.empty())
    return "";
  std::vector<double> numbers;
  for (const HistogramValue &value : values)
    numbers.push_back(value.value);
  BrokenAxis x(numbers, kLeft, kWidth - kRight, 12);
  auto parts = x.parts();
  std::vector<Bins> bins(parts.begin(), parts.end());
  uint64_t highest = 0;
  for (const HistogramValue &value : values)
    bins[&x.of(value.value) == &x.main ? 0 : 1].add(value);
  for (const Bins &part : bins)
    highest = std::max(highest, part.highest());

  Axis y(0, double(highest), kHeight - kBottom, kTop, 5);
  std::string out = frame("histogram of the SQNR", xTitle, yTitle) + yTicks(y);
  for (const Bins &part : bins) {
    for (int i = 0; i <= part.axis.ticks(); ++i)
      out += label(part.axis.at(part.axis.tick(i)), kHeight - kBottom + 18, "middle", text(part.axis.tick(i)));
    out += barsSvg(part, y);
  }
  if (auto gap = x.gap())
    out += line(*gap, kTop, *gap, kHeight - kBottom, "break");
  return out + "</svg>\n";
}

std::string convert::legendHtml(const std::vector<std::string> &names) {
  std::string out = "<div class=\"legend\">";
  for (size_t i = 0; i < names.size(); ++i)
    if (!names[i].empty())
      out += "<button aria-pressed=\"true\" data-series=\"" + std::to_string(i) +
             "\"><svg class=\"key\" viewBox=\"-7 -7 14 14\" aria-hidden=\"true\"><g class=\"s" + std::to_string(i) + "\">" +
             marker(i, 0, 0, 1, false) + "</path></g></svg>" + escapeHtml(names[i]) + "</button>";
  return out + "</div>\n";
}
