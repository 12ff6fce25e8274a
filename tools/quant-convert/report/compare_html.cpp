//===- compare_html.cpp - a comparison as a page with plots ---------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/common/units.h"
#include "tools/quant-convert/check/compare.h"
#include "tools/quant-convert/report/html.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <map>

using namespace quant;
using namespace quant::convert;

/// Seven colours are as many as an eye tells apart: the kinds fall into these.
static constexpr std::array<const char *, kMaxSeries> kSeries = {
    "attention", "routed experts", "shared experts", "dense FFN", "norms and gate", "embedding and head", "other"};

static size_t seriesOf(std::string_view kind) {
  auto has = [&](std::string_view part) { return kind.find(part) != kind.npos; };
  if (has("norm") || has("gate.") || kind.ends_with("mlp.gate"))
    return 4;
  if (has("shared_experts"))
    return 2;
  if (has("experts"))
    return 1;
  if (has("attn"))
    return 0;
  if (has("embed") || has("head"))
    return 5;
  return has("mlp") || has("ffn") ? 3 : 6;
}

static std::string number(const char *format, double value) {
  char text[64];
  std::snprintf(text, sizeof(text), format, value);
  return text;
}

/// Numbers for the script to sort by; infinities as JavaScript writes them.
static std::string sortKey(double value) {
  return std::isinf(value) ? (value < 0 ? "-Infinity" : "Infinity") : number("%.17g", value);
}

static HtmlCell sqnrCell(const Metrics &metrics) {
  return {sqnrText(metrics), sortKey(metrics.mismatched ? -INFINITY : metrics.sqnr())};
}

//===----------------------------------------------------------------------===//
// Plots
//===----------------------------------------------------------------------===//

/// The tensors of one kind in one layer, worst first, as a point: the median, from worst to best.
static PlotPoint makePoint(int64_t layer, const std::string &kind, const std::vector<const TensorComparison *> &tensors) {
  std::vector<double> sqnr;
  bool alarm = false;
  for (const TensorComparison *tensor : tensors) {
    alarm |= tensor->metrics.mismatched > 0;
    sqnr.push_back(tensor->metrics.sqnr());
  }
  std::ranges::sort(sqnr);
  PlotPoint point{layer, seriesOf(kind), sqnr[sqnr.size() / 2], sqnr.front(), alarm, ""};
  auto decibel = [&](double value) {
    const char *noError = alarm ? "the same where finite" : "identical";
    return std::isinf(value) && value > 0 ? noError : number("%.2f dB", value);
  };
  point.tip = (layer < 0 ? "" : "layer " + std::to_string(layer) + ", ") + kind + ": " + decibel(point.y);
  if (tensors.size() > 1)
    point.tip += " in the median of " + std::to_string(tensors.size()) + "; worst " + decibel(sqnr.front()) + " (" +
                 tensors[0]->name + ")";
  if (alarm)
    point.tip += "; NaN or Inf on one side only";
  return point;
}

static std::string plotsHtml(const Comparison &comparison) {
  std::map<std::pair<int64_t, std::string>, std::vector<const TensorComparison *>> groups;
  std::vector<HistogramValue> values;
  std::vector<std::string> names(kMaxSeries);
  for (const TensorComparison *tensor : comparison.worstFirst()) {
    groups[{tensor->layer, tensor->kind}].push_back(tensor);
    size_t series = seriesOf(tensor->kind);
    names[series] = kSeries[series];
    if (std::isfinite(tensor->metrics.sqnr()))
      values.push_back({tensor->metrics.sqnr(), series});
  }
  std::vector<PlotPoint> points;
  constexpr int64_t lastLayer = 9999; // a name may claim any number
  for (const auto &[key, tensors] : groups)
    points.push_back(makePoint(key.first > lastLayer ? -1 : key.first, key.second, tensors));
  if (std::ranges::all_of(comparison.tensors, [](const auto &tensor) { return tensor.metrics.identical(); }))
    return "<p>Every tensor that both sides have is identical.</p>\n";
  std::string out = "<h2>SQNR per layer and kind</h2>\n<p class=\"dim\">A mark is the median of the tensors of one kind in one "
                    "layer, its bar reaches down to the worst. Point at a mark for its name; click a series to hide it."
                    "</p>\n<div class=\"card\">" +
                    legendHtml(names) + scatterSvg(points, "SQNR in dB", "identical") + "</div>\n";
  if (values.empty())
    return out;
  size_t left = comparison.tensors.size() - values.size();
  return out + "<h2>How the SQNR is distributed</h2>\n" +
         (left ? "<p class=\"dim\">Without the " + std::to_string(left) + " tensors that are identical or have no signal.</p>\n"
               : "") +
         "<div class=\"card\">" + histogramSvg(values, "SQNR in dB", "tensors") + "</div>\n";
}

//===----------------------------------------------------------------------===//
// Tables
//===----------------------------------------------------------------------===//

static std::string kindsHtml(const Comparison &comparison) {
  std::vector<std::vector<HtmlCell>> rows;
  for (const auto &[kind, tensors] : byKind(comparison)) {
    double median = medianSqnr(tensors);
    bool same = std::isnan(median);
    rows.push_back({{kind, ""},
                    {std::to_string(tensors.size()), ""},
                    sqnrCell(tensors[0]->metrics),
                    {same ? "identical" : number("%.2f dB", median), sortKey(same ? INFINITY : median)},
                    {same ? "" : tensors[0]->name, ""}});
  }
  return "<h2>Kinds of tensors</h2>\n" + htmlTable({{"kind", HtmlColumn::Name},
                                                    {"tensors", HtmlColumn::Number},
                                                    {"worst SQNR", HtmlColumn::Number},
                                                    {"median SQNR", HtmlColumn::Number},
                                                    {"worst tensor", HtmlColumn::Name}},
                                                   rows);
}

static std::string worstHtml(const Comparison &comparison, size_t worst) {
  std::vector<std::vector<HtmlCell>> rows;
  auto order = comparison.worstFirst();
  for (size_t i = 0; i < std::min(worst, order.size()) && !order[i]->metrics.identical(); ++i) {
    const TensorComparison &tensor = *order[i];
    const Metrics &metrics = tensor.metrics;
    uint64_t nonFinite = metrics.nanA + metrics.infA + metrics.nanB + metrics.infB;
    rows.push_back({{tensor.name, ""},
                    {std::string(checkpoint::safetensorsName(tensor.dtypeA)), ""},
                    {std::string(checkpoint::safetensorsName(tensor.dtypeB)), ""},
                    {shapeText(tensor.shape), std::to_string(metrics.elements)},
                    sqnrCell(metrics),
                    {number("%.8f", metrics.cosine()), sortKey(metrics.cosine())},
                    {errorText(metrics.relativeError()), sortKey(metrics.relativeError())},
                    {errorText(metrics.maxError), sortKey(metrics.maxError)},
                    {std::to_string(nonFinite), ""}});
  }
  if (rows.empty())
    return "";
  return "<h2>Worst tensors</h2>\n" + htmlTable({{"tensor", HtmlColumn::Name},
                                                 {"A"},
                                                 {"B"},
                                                 {"shape", HtmlColumn::Number},
                                                 {"SQNR", HtmlColumn::Number},
                                                 {"cosine", HtmlColumn::Number},
                                                 {"relative error", HtmlColumn::Number},
                                                 {"max error", HtmlColumn::Number},
                                                 {"NaN, Inf", HtmlColumn::Number}},
                                                rows);
}

static std::string figure(const std::string &value, const std::string &what, bool bad = false) {
  return std::string("<div class=\"figure\"><b") + (bad ? " class=\"bad\"" : "") + ">" + escapeHtml(value) + "</b><span>" +
         escapeHtml(what) + "</span></div>\n";
}

static std::string figuresHtml(const Comparison &comparison) {
  auto order = comparison.worstFirst();
  size_t identical = 0, mismatched = 0;
  const TensorComparison *worst = nullptr;
  for (const TensorComparison *tensor : order) {
    identical += tensor->metrics.identical();
    mismatched += tensor->metrics.mismatched > 0;
    worst = worst || tensor->metrics.mismatched ? worst : tensor;
  }
  std::string out = "<div class=\"figures\">\n" + figure(std::to_string(order.size()), "tensors compared") +
                    figure(tools::humanCount(comparison.values()), "values") + figure(std::to_string(identical), "identical");
  double median = medianSqnr(order);
  if (worst)
    out += figure(sqnrText(worst->metrics), "worst SQNR");
  if (!std::isnan(median))
    out += figure(number("%.2f dB", median), "median of those that differ");
  if (mismatched)
    out += figure(std::to_string(mismatched), "with NaN or Inf on one side", true);
  if (!comparison.notCompared.empty())
    out += figure(std::to_string(comparison.notCompared.size()), "could not be compared", true);
  if (size_t alone = comparison.onlyInA.size() + comparison.onlyInB.size())
    out += figure(std::to_string(alone), "on one side only");
  return out + "</div>\n";
}

std::string convert::comparisonHtml(const Comparison &comparison, size_t worst) {
  std::vector<std::string> notCompared;
  for (const NotCompared &tensor : comparison.notCompared)
    notCompared.push_back(tensor.name + " " + tensor.reason);
  std::string body = "<h1>How far two checkpoints are apart</h1>\n<p class=\"dim\">A, the reference: <code>" +
                     escapeHtml(comparison.a.native()) + "</code><br>B: <code>" + escapeHtml(comparison.b.native()) +
                     "</code></p>\n" + figuresHtml(comparison);
  if (!comparison.tensors.empty())
    body += plotsHtml(comparison) + kindsHtml(comparison) + worstHtml(comparison, std::max<size_t>(worst, 100));
  body += htmlList("Not compared", notCompared) + htmlList("Only in A", comparison.onlyInA) +
          htmlList("Only in B", comparison.onlyInB);
  body +=
      "<p class=\"dim\">SQNR is 10 log10(\u03A3a\u00B2 / \u03A3(a\u2212b)\u00B2): every 6 dB is one bit. The relative error is "
      "|a\u2212b| / |a|. NaN and Inf are counted and left out of both. Made by quant-convert compare.</p>\n";
  return htmlPage("quant-convert compare", body);
}
