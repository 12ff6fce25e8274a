//===- Roofline.cpp - kernels under a machine's limits --------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/quant-bench/Roofline.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>

using namespace quant::bench;

static constexpr double kWidth = 900, kHeight = 560, kLeft = 80, kRight = 30, kTop = 50, kBottom = 60;
static constexpr const char *kColours[] = {"#1f77b4", "#d62728", "#2ca02c", "#9467bd"};

namespace {

/// A logarithmic axis of whole decades over a range of pixels.
class Axis {
public:
  Axis(double low, double high, double from, double to)
      : first(static_cast<int>(std::floor(std::log10(low)))),
        last(std::max(first + 1, static_cast<int>(std::ceil(std::log10(high))))), from(from), to(to) {}

  double at(double value) const { return from + (std::log10(value) - first) / (last - first) * (to - from); }
  double low() const { return std::pow(10, first); }
  double high() const { return std::pow(10, last); }

  const int first, last; ///< decades

private:
  double from, to;
};

} // namespace

static std::string escaped(const std::string &text) {
  std::string result;
  for (char c : text)
    result += c == '&' ? "&amp;" : c == '<' ? "&lt;" : c == '"' ? "&quot;" : std::string(1, c);
  return result;
}

static std::string line(double x1, double y1, double x2, double y2, const char *style) {
  return fmt::format("<line x1=\"{:.1f}\" y1=\"{:.1f}\" x2=\"{:.1f}\" y2=\"{:.1f}\" {}/>\n", x1, y1, x2, y2, style);
}

static std::string text(double x, double y, const char *anchor, const std::string &content) {
  return fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"{}\">{}</text>\n", x, y, anchor, escaped(content));
}

static std::string grid(const Axis &x, const Axis &y) {
  std::string svg;
  constexpr const char *kStyle = "stroke=\"#ddd\"";
  for (int decade = x.first; decade <= x.last; ++decade) {
    double at = x.at(std::pow(10, decade));
    svg += line(at, kTop, at, kHeight - kBottom, kStyle) +
           text(at, kHeight - kBottom + 18, "middle", fmt::format("{:g}", std::pow(10, decade)));
  }
  for (int decade = y.first; decade <= y.last; ++decade) {
    double at = y.at(std::pow(10, decade));
    svg += line(kLeft, at, kWidth - kRight, at, kStyle) +
           text(kLeft - 8, at + 4, "end", fmt::format("{:g}", std::pow(10, decade - 9)));
  }
  return svg + text(kWidth / 2, kHeight - 15, "middle", "operations a byte of weights and cache") +
         text(kLeft, kTop - 8, "middle", "GFLOP/s");
}

std::string quant::bench::rooflineSvg(const std::vector<RooflinePoint> &points, double read, double peak,
                                      const std::string &title) {
  double ridge = peak / read, low = ridge / 100, high = ridge * 10, slowest = peak / 100;
  std::vector<std::string> series;
  for (const RooflinePoint &point : points) {
    if (point.bytes <= 0 || point.operations <= 0)
      continue;
    low = std::min(low, point.operations / point.bytes);
    high = std::max(high, point.operations / point.bytes);
    slowest = std::min(slowest, point.operations / point.seconds);
    if (std::ranges::find(series, point.series) == series.end())
      series.push_back(point.series);
  }
  Axis x(low, high, kLeft, kWidth - kRight), y(slowest, 2 * peak, kHeight - kBottom, kTop);
  std::string svg = fmt::format("<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {0:g} {1:g}\" width=\"{0:g}\" "
                                "height=\"{1:g}\" font-family=\"sans-serif\" font-size=\"12\">\n"
                                "<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n",
                                kWidth, kHeight);
  svg += text(kWidth / 2, 22, "middle", title) + grid(x, y);
  constexpr const char *kRoof = "stroke=\"black\" stroke-width=\"2\"";
  double corner = std::max(x.low(), y.low() / read);
  svg += line(x.at(corner), y.at(corner * read), x.at(ridge), y.at(peak), kRoof) +
         line(x.at(ridge), y.at(peak), x.at(x.high()), y.at(peak), kRoof) +
         text(kWidth - kRight, y.at(peak) - 6, "end", fmt::format("peak {:.0f} GFLOP/s", peak / 1e9)) +
         text(x.at(ridge) - 12, y.at(peak) - 6, "end", fmt::format("read {:.1f} GB/s", read / 1e9));
  for (size_t i = 0; i < series.size(); ++i) {
    const char *colour = kColours[i % std::size(kColours)];
    for (const RooflinePoint &point : points)
      if (point.series == series[i] && point.bytes > 0 && point.operations > 0) {
        double intensity = point.operations / point.bytes, rate = point.operations / point.seconds;
        svg += fmt::format(
            "<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"5\" fill=\"{}\" fill-opacity=\"0.7\"><title>{}: {:.3g} ms, {:.1f} "
            "GFLOP/s, {:.1f} GB/s, {:.2f} of the roof</title></circle>\n",
            x.at(intensity), y.at(rate), colour, escaped(point.name), point.seconds * 1e3, rate / 1e9,
            point.bytes / point.seconds / 1e9, rate / std::min(peak, read * intensity));
      }
    double at = kTop + 20 + 18 * static_cast<double>(i);
    svg += fmt::format("<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"5\" fill=\"{}\"/>\n", kLeft + 15, at, colour) +
           text(kLeft + 27, at + 4, "start", series[i]);
  }
  return svg + "</svg>\n";
}
