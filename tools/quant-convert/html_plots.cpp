//===- html_plots.cpp - plots as inline SVG -------------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/quant-convert/html.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstdio>

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

std::string yTicks(const Axis &axis) {
  std::string out;
  for (int i = 0; i <= axis.ticks(); ++i) {
    double y = axis.at(axis.tick(i));
    out += line(kLeft, y, kWidth - kRight, y) + label(kLeft - 8, y + 4, "end", text(axis.tick(i)));
  }
  return out;
}

/// A marker of about 10 units around the origin: shapes tell the series apart without colours.
std::string marker(size_t series, double x, double y, bool alarm) {
  static constexpr std::array<const char *, kMaxSeries> shapes = {"M-4.2 0a4.2 4.2 0 1 0 8.4 0a4.2 4.2 0 1 0-8.4 0z",
                                                                  "M-3.8-3.8h7.6v7.6h-7.6z",
                                                                  "M0-5.2L5.2 0L0 5.2L-5.2 0z",
                                                                  "M0-5L4.8 3.8h-9.6z",
                                                                  "M0 5L4.8-3.8h-9.6z",
                                                                  "M-5-1.7h3.3v-3.3h3.4v3.3h3.3v3.4h-3.3v3.3h-3.4v-3.3h-3.3z",
                                                                  "M-5-3h10v6h-10z"};
  return std::string("<path class=\"mark") + (alarm ? " alarm" : "") + "\" d=\"" + shapes[series] + "\" transform=\"translate(" +
         text(x) + " " + text(y) + ")\">";
}

/// Left to right within a layer's column, so that the series do not cover each other.
double shift(size_t series, double column) {
  return (double(series) - (kMaxSeries - 1) / 2.0) * std::min(9.0, column * 0.7 / kMaxSeries);
}

} // namespace

std::string convert::scatterSvg(const std::vector<PlotPoint> &points, std::string_view yTitle, std::string_view aboveTitle) {
  double low = INFINITY, high = -INFINITY;
  int64_t first = 0, last = 0;
  for (const PlotPoint &point : points) {
    first = std::min(first, point.x);
    last = std::max(last, point.x);
    for (double y : {point.low, point.y, point.high})
      if (std::isfinite(y)) {
        low = std::min(low, y);
        high = std::max(high, y);
      }
  }
  constexpr double aboveRow = kTop + 6;
  bool anyFinite = low <= high;
  Axis axis(anyFinite ? low : 0, anyFinite ? high : 1, kHeight - kBottom, kTop + 28, 6);
  double column = (kWidth - kLeft - kRight) / double(last - first + 1);
  auto center = [&](int64_t x) { return kLeft + (double(x - first) + 0.5) * column; };

  std::string out = frame("SQNR over the layers", "layer", yTitle) + (anyFinite ? yTicks(axis) : "");
  out += line(kLeft, aboveRow, kWidth - kRight, aboveRow) + label(kLeft - 8, aboveRow + 4, "end", aboveTitle);
  int64_t every = std::max<int64_t>(1, int64_t(std::ceil(34 / column)));
  for (int64_t x = first; x <= last; ++x)
    if (x < 0 || x % every == 0)
      out += label(center(x), kHeight - kBottom + 18, "middle", x < 0 ? "none" : std::to_string(x));
  for (const PlotPoint &point : points) {
    double x = center(point.x) + shift(point.series, column);
    double y = point.y == INFINITY ? aboveRow : axis.at(point.y);
    out += "<g class=\"s" + std::to_string(point.series) + "\">";
    if (std::isfinite(point.y) && point.low < point.high)
      out += line(x, axis.at(point.low), x, axis.at(point.high), "range");
    out += marker(point.series, x, y, point.alarm) + "<title>" + escapeHtml(point.tip) + "</title></path></g>\n";
  }
  return out + "</svg>\n";
}

std::string convert::histogramSvg(const std::vector<HistogramValue> &values, std::string_view xTitle, std::string_view yTitle) {
  constexpr size_t bins = 60;
  if (values.empty())
    return "";
  auto [least, most] = std::ranges::minmax(values, {}, &HistogramValue::value);
  Axis x(least.value, most.value, kLeft, kWidth - kRight, 10);
  std::vector<std::array<uint64_t, kMaxSeries>> counts(bins);
  for (const HistogramValue &value : values) {
    double share = (value.value - x.low) / (x.high - x.low);
    ++counts[std::min(bins - 1, size_t(share * bins))][value.series];
  }
  uint64_t highest = 0;
  for (const auto &bin : counts) {
    uint64_t sum = 0;
    for (uint64_t count : bin)
      sum += count;
    highest = std::max(highest, sum);
  }
  Axis y(0, double(highest), kHeight - kBottom, kTop, 5);
  std::string out = frame("histogram of the SQNR", xTitle, yTitle) + yTicks(y);
  for (int i = 0; i <= x.ticks(); ++i)
    out += label(x.at(x.tick(i)), kHeight - kBottom + 18, "middle", text(x.tick(i)));
  double width = (kWidth - kLeft - kRight) / bins;
  for (size_t bin = 0; bin < bins; ++bin) {
    uint64_t below = 0;
    for (size_t series = 0; series < kMaxSeries; ++series) {
      uint64_t count = counts[bin][series];
      if (count == 0)
        continue;
      double top = y.at(double(below + count)), bottom = y.at(double(below));
      below += count;
      double from = x.low + (x.high - x.low) * double(bin) / bins, to = from + (x.high - x.low) / bins;
      out += "<g class=\"s" + std::to_string(series) + "\"><rect class=\"bar\"" +
             attributes({{"x", kLeft + width * double(bin) + 0.5}, {"y", top}, {"width", width - 1}, {"height", bottom - top}}) +
             "><title>" + std::to_string(count) + " from " + text(from) + " to " + text(to) + "</title></rect></g>\n";
    }
  }
  return out + "</svg>\n";
}

std::string convert::legendHtml(const std::vector<std::string> &names) {
  std::string out = "<div class=\"legend\">";
  for (size_t i = 0; i < names.size(); ++i)
    if (!names[i].empty())
      out += "<button aria-pressed=\"true\" data-series=\"" + std::to_string(i) +
             "\"><svg class=\"key\" viewBox=\"-7 -7 14 14\" aria-hidden=\"true\"><g class=\"s" + std::to_string(i) + "\">" +
             marker(i, 0, 0, false) + "</path></g></svg>" + escapeHtml(names[i]) + "</button>";
  return out + "</div>\n";
}
