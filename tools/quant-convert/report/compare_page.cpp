//===- compare_page.cpp - a comparison as a page with plots ---------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/support/text.h"
#include "tools/common/units.h"
#include "tools/quant-convert/report/compare_report.h"
#include "tools/quant-convert/report/page.h"

#include <fmt/core.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <cmath>
#include <map>

using namespace quant;
using namespace quant::convert;
using nlohmann::json;

using Tensors = std::vector<const TensorComparison *>;

/// As JavaScript's Number() reads it: JSON has no infinity.
static json number(double value) {
  return std::isfinite(value) ? json(value) : json(std::isnan(value) ? "NaN" : value < 0 ? "-Infinity" : "Infinity");
}

static json finiteOrNull(double value) { return std::isnan(value) ? json() : number(value); }

/// What the page shows of a tensor's SQNR.
static json sqnrJson(const Metrics &metrics) {
  return {{"sqnr", number(metrics.sqnr())}, {"identical", metrics.identical()}, {"mismatched", metrics.mismatched}};
}

/// The tensors of one kind in one layer, worst first: the median, from the worst.
static json groupJson(int64_t layer, const std::string &kind, const Tensors &tensors) {
  std::vector<double> sqnr;
  uint64_t mismatched = 0;
  for (const TensorComparison *tensor : tensors) {
    mismatched += tensor->metrics.mismatched;
    sqnr.push_back(tensor->metrics.sqnr());
  }
  std::ranges::sort(sqnr);
  return {{"layer", layer},
          {"kind", printable(kind)},
          {"tensors", tensors.size()},
          {"median", number(sqnr[sqnr.size() / 2])},
          {"lowest", number(sqnr.front())},
          {"worst", printable(tensors[0]->name)},
          {"mismatched", mismatched}};
}

static json groupsJson(const Comparison &comparison) {
  constexpr int64_t kLastLayer = 9999; // a name may claim any number
  std::map<std::pair<int64_t, std::string>, Tensors> groups;
  for (const TensorComparison *tensor : comparison.worstFirst())
    groups[{tensor->layer > kLastLayer ? -1 : tensor->layer, tensor->kind}].push_back(tensor);
  json list = json::array();
  for (const auto &[key, tensors] : groups)
    list.push_back(groupJson(key.first, key.second, tensors));
  return list;
}

/// Of each kind what is finite, to a hundredth of a decibel.
static json distributionJson(const Comparison &comparison) {
  json kinds = json::object();
  for (const TensorComparison &tensor : comparison.tensors)
    if (std::isfinite(tensor.metrics.sqnr()))
      kinds[printable(tensor.kind)].push_back(std::round(tensor.metrics.sqnr() * 100) / 100);
  return kinds;
}

static json kindsJson(const Comparison &comparison) {
  json list = json::array();
  for (const auto &[kind, tensors] : byKind(comparison)) {
    json entry = sqnrJson(tensors[0]->metrics);
    entry.update({{"kind", printable(kind)},
                  {"tensors", tensors.size()},
                  {"median", finiteOrNull(medianSqnr(tensors))},
                  {"worst", printable(tensors[0]->name)}});
    list.push_back(std::move(entry));
  }
  return list;
}

static json tensorJson(const TensorComparison &tensor) {
  const Metrics &metrics = tensor.metrics;
  json entry = sqnrJson(metrics);
  entry.update({{"name", printable(tensor.name)},
                {"dtype_a", safetensorsName(tensor.dtypeA)},
                {"dtype_b", safetensorsName(tensor.dtypeB)},
                {"shape", shapeText(tensor.shape)},
                {"elements", metrics.elements},
                {"cosine", number(metrics.cosine())},
                {"relative_error", number(metrics.relativeError())},
                {"max_error", number(metrics.maxError)},
                {"non_finite", metrics.nanA + metrics.infA + metrics.nanB + metrics.infB}});
  return entry;
}

static json worstJson(const Tensors &worstFirst, size_t worst) {
  json list = json::array();
  for (size_t i = 0; i < std::min(worst, worstFirst.size()) && !worstFirst[i]->metrics.identical(); ++i)
    list.push_back(tensorJson(*worstFirst[i]));
  return list;
}

/// The worst SQNR of those that have no NaN or Inf on one side only, which are no number.
static json worstFigure(const Tensors &worstFirst) {
  auto found = std::ranges::find_if(worstFirst, [](const auto *tensor) { return tensor->metrics.mismatched == 0; });
  return found == worstFirst.end() ? json() : sqnrJson((*found)->metrics);
}

static json namesJson(const std::vector<std::string> &names) {
  json list = json::array();
  for (const std::string &name : names)
    list.push_back(printable(name));
  return list;
}

std::string convert::comparisonHtml(const Comparison &comparison, size_t worst) {
  constexpr size_t kLeastWorst = 100;
  Tensors order = comparison.worstFirst();
  std::vector<std::string> notCompared;
  for (const NotCompared &tensor : comparison.notCompared)
    notCompared.push_back(fmt::format("{} {}", tensor.name, tensor.reason));
  auto count = [&](auto holds) { return std::ranges::count_if(order, holds); };
  return fillPage(kComparePage, {{"a", printable(comparison.a.native())},
                                 {"b", printable(comparison.b.native())},
                                 {"compared", order.size()},
                                 {"values", tools::humanCount(comparison.values())},
                                 {"identical", count([](const auto *tensor) { return tensor->metrics.identical(); })},
                                 {"mismatched", count([](const auto *tensor) { return tensor->metrics.mismatched > 0; })},
                                 {"worst_figure", worstFigure(order)},
                                 {"median", finiteOrNull(medianSqnr(order))},
                                 {"groups", groupsJson(comparison)},
                                 {"sqnr", distributionJson(comparison)},
                                 {"kinds", kindsJson(comparison)},
                                 {"worst", worstJson(order, std::max(worst, kLeastWorst))},
                                 {"not_compared", namesJson(notCompared)},
                                 {"only_in_a", namesJson(comparison.onlyInA)},
                                 {"only_in_b", namesJson(comparison.onlyInB)}});
}
