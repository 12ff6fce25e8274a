//===- html.h - one self-contained HTML page --------------------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_TOOLS_QUANT_CONVERT_REPORT_HTML_H
#define QUANT_TOOLS_QUANT_CONVERT_REPORT_HTML_H

#include <string>
#include <string_view>
#include <vector>

namespace quant::convert {

/// `text` as the content of an element or of an attribute in double quotes; fit for printing first (a name may hold anything).
std::string escapeHtml(std::string_view text);

/// A page with our style and the script that sorts tables and hides series: no network, readable in light and dark.
std::string htmlPage(std::string_view title, std::string_view body);

struct HtmlColumn {
  enum Kind {
    Text,
    Name,  ///< long, of fixed pitch, may be broken
    Number ///< right-aligned
  };
  std::string title;
  Kind kind = Text;
};

struct HtmlCell {
  std::string text;
  std::string sortKey; ///< a number to sort by; "" sorts by the text
};

/// A table that sorts by a column when its title is clicked.
std::string htmlTable(const std::vector<HtmlColumn> &columns, const std::vector<std::vector<HtmlCell>> &rows);

/// `title` (n), to be unfolded; "" if there are no lines.
std::string htmlList(std::string_view title, const std::vector<std::string> &lines);

//===----------------------------------------------------------------------===//
// Plots: inline SVG. A series has a colour and a marker, and can be hidden in the legend.
//===----------------------------------------------------------------------===//

inline constexpr size_t kMaxSeries = 7;

struct PlotPoint {
  int64_t x;       ///< a layer; -1: outside the layers
  size_t series;   ///< below kMaxSeries
  double y;        ///< infinite: stands in the row above the plot
  double low;      ///< the lowest of what it stands for
  bool alarm;      ///< to be marked
  std::string tip; ///< shown when pointed at
};

/// Points over the layers, with a bar down to the lowest. Where most of the y axis would be empty, it has a break.
std::string scatterSvg(const std::vector<PlotPoint> &points, std::string_view yTitle, std::string_view aboveTitle);

struct HistogramValue {
  double value; ///< finite
  size_t series;
};

/// Counts of values, the series stacked. The x axis may have a break, too.
std::string histogramSvg(const std::vector<HistogramValue> &values, std::string_view xTitle, std::string_view yTitle);

/// Buttons that hide and show the series; those without a name are left out.
std::string legendHtml(const std::vector<std::string> &names);

} // namespace quant::convert

#endif // QUANT_TOOLS_QUANT_CONVERT_REPORT_HTML_H
