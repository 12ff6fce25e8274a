//===- compare_report.cpp - a comparison as text and as JSON --------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/quant-convert/report/compare_report.h"
#include "runtime/support/text.h"
#include "tools/common/table.h"
#include "tools/common/units.h"

#include <fmt/core.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <tuple>

using namespace quant;
using namespace quant::convert;
using nlohmann::json;
using tools::Table;

//===----------------------------------------------------------------------===//
// Figures
//===----------------------------------------------------------------------===//

static std::string decibel(double value) { return std::isnan(value) ? "identical" : fmt::format("{:.2f} dB", value); }

std::string convert::sqnrText(const Metrics &metrics) {
  if (metrics.mismatched)
    return "NaN/Inf";
  return metrics.identical() ? "identical" : decibel(metrics.sqnr());
}

std::string convert::errorText(double error) { return fmt::format("{:.3g}", error); }

std::vector<int64_t> convert::elementIndices(uint64_t element, std::span<const int64_t> shape) {
  std::vector<int64_t> indices(shape.size());
  for (size_t i = shape.size(); i-- > 0; element /= uint64_t(shape[i]))
    indices[i] = int64_t(element % uint64_t(shape[i]));
  return indices;
}

std::string convert::indicesText(const std::vector<int64_t> &indices) {
  std::string text = "[";
  for (size_t i = 0; i < indices.size(); ++i)
    text += fmt::format("{}{}", i ? ", " : "", indices[i]);
  return text + "]";
}

//===----------------------------------------------------------------------===//
// JSON
//===----------------------------------------------------------------------===//

/// JSON has no infinity: null.
static json finiteOrNull(double value) { return std::isfinite(value) ? json(value) : json(); }

/// The block of the lowest SQNR: its first element, and rows x columns of a whole one.
static json worstBlockJson(const TensorComparison &tensor) {
  const auto &worst = tensor.metrics.worst;
  if (!worst)
    return nullptr;
  return {{"at", {worst->row * tensor.block[0], worst->column * tensor.block[1]}},
          {"block", tensor.block},
          {"sqnr_db", finiteOrNull(worst->sqnr())}};
}

static json schemeJson(const std::string &scheme) { return scheme.empty() ? json() : json(scheme); }

static json tensorJson(const TensorComparison &tensor) {
  const Metrics &metrics = tensor.metrics;
  json at = metrics.maxError > 0 ? json(elementIndices(metrics.maxAt, tensor.shape)) : json();
  return {{"name", tensor.name},
          {"shape", tensor.shape},
          {"dtype_a", safetensorsName(tensor.dtypeA)},
          {"dtype_b", safetensorsName(tensor.dtypeB)},
          {"scheme_a", schemeJson(tensor.schemeA)},
          {"scheme_b", schemeJson(tensor.schemeB)},
          {"identical", metrics.identical()},
          {"worst_block", worstBlockJson(tensor)},
          {"sqnr_db", finiteOrNull(metrics.sqnr())},
          {"cosine", finiteOrNull(metrics.cosine())},
          {"max_error", finiteOrNull(metrics.maxError)},
          {"max_error_at", at},
          {"relative_error", finiteOrNull(metrics.relativeError())},
          {"nan_a", metrics.nanA},
          {"nan_b", metrics.nanB},
          {"inf_a", metrics.infA},
          {"inf_b", metrics.infB},
          {"non_finite_mismatches", metrics.mismatched}};
}

static json kindsJson(const Comparison &comparison) {
  json kinds = json::array();
  for (const auto &[kind, tensors] : byKind(comparison)) {
    Metrics sum = totals(tensors);
    kinds.push_back({{"kind", kind},
                     {"tensors", tensors.size()},
                     {"identical", sum.identical()},
                     {"sqnr_db", finiteOrNull(sum.sqnr())},
                     {"cosine", finiteOrNull(sum.cosine())},
                     {"max_error", finiteOrNull(sum.maxError)},
                     {"worst", tensors[0]->name},
                     {"worst_sqnr_db", finiteOrNull(tensors[0]->metrics.sqnr())}});
  }
  return kinds;
}

json convert::comparisonJson(const Comparison &comparison, size_t worst) {
  json tensors = json::array(), names = json::array(), notCompared = json::array();
  uint64_t identical = 0;
  double least = std::numeric_limits<double>::infinity();
  for (const TensorComparison &tensor : comparison.tensors) {
    tensors.push_back(tensorJson(tensor));
    least = std::min(least, tensor.metrics.sqnr());
    identical += tensor.metrics.identical();
  }
  auto order = comparison.worstFirst();
  for (size_t i = 0; i < std::min(worst, order.size()); ++i)
    if (!order[i]->metrics.identical())
      names.push_back(order[i]->name);
  for (const NotCompared &tensor : comparison.notCompared)
    notCompared.push_back({{"name", tensor.name}, {"reason", tensor.reason}});
  return {{"a", comparison.a.native()},
          {"b", comparison.b.native()},
          {"compared", comparison.tensors.size()},
          {"identical", identical},
          {"values", comparison.values()},
          {"bytes", comparison.bytes},
          {"seconds", comparison.seconds},
          {"min_sqnr_db", finiteOrNull(least)},
          {"median_sqnr_db", finiteOrNull(medianSqnr(order))},
          {"worst", names},
          {"kinds", kindsJson(comparison)},
          {"tensors", tensors},
          {"only_in_a", comparison.onlyInA},
          {"only_in_b", comparison.onlyInB},
          {"not_compared", notCompared}};
}

//===----------------------------------------------------------------------===//
// Text
//===----------------------------------------------------------------------===//

static std::string plural(uint64_t count, const std::string &what) {
  return fmt::format("{} {}{}", count, what, count == 1 ? "" : "s");
}

static std::string summaryText(const Comparison &comparison) {
  std::string text = fmt::format("A  {}\nB  {}\n\n", printable(comparison.a.native()), printable(comparison.b.native()));
  text += fmt::format("compared {}, {} values, {} in {}\n", plural(comparison.tensors.size(), "tensor"),
                      tools::humanCount(comparison.values()), tools::humanBytes(comparison.bytes),
                      fmt::format("{:.1f} s", comparison.seconds));
  std::vector<const TensorComparison *> differing, oneSided;
  for (const TensorComparison *tensor : comparison.worstFirst())
    if (!tensor->metrics.identical())
      (tensor->metrics.mismatched ? oneSided : differing).push_back(tensor);
  size_t different = differing.size() + oneSided.size();
  text += fmt::format("{} identical, {} different", comparison.tensors.size() - different, different);
  if (!differing.empty())
    text += fmt::format("; worst SQNR {}, median {}, best {}", sqnrText(differing.front()->metrics),
                        decibel(medianSqnr(differing)), sqnrText(differing.back()->metrics));
  if (!oneSided.empty())
    text += fmt::format("; {} with NaN or Inf on one side only", oneSided.size());
  return text + "\n";
}

static std::string kindsText(const Comparison &comparison) {
  Table table({"kind", ">tensors", ">SQNR", ">cosine", ">max error", ">worst SQNR", ">median SQNR", "worst tensor"});
  for (const auto &[kind, tensors] : byKind(comparison)) {
    Metrics sum = totals(tensors);
    table.add({printable(kind), std::to_string(tensors.size()), sqnrText(sum), fmt::format("{:.8f}", sum.cosine()),
               errorText(sum.maxError), sqnrText(tensors[0]->metrics), decibel(medianSqnr(tensors)),
               tensors[0]->metrics.identical() ? "" : printable(tensors[0]->name)});
  }
  return "\n" + table.str();
}

/// The scheme, or the dtype of what is stored as it is.
static std::string storedText(const std::string &scheme, DType dtype) {
  return scheme.empty() ? std::string(safetensorsName(dtype)) : scheme;
}

/// "[128, 256] of 128x128": the first element of the block, and rows x columns of a whole one.
static std::string worstBlockText(const TensorComparison &tensor) {
  const auto &worst = tensor.metrics.worst;
  if (!worst)
    return "";
  return indicesText({worst->row * tensor.block[0], worst->column * tensor.block[1]}) + " of " + shapeText(tensor.block);
}

static std::string worstText(const Comparison &comparison, size_t worst) {
  Table table({"worst tensors", "A", "B", ">shape", ">SQNR", ">cosine", ">rel. error", ">max error", "at", ">worst block", "at"});
  auto order = comparison.worstFirst();
  for (size_t i = 0; i < std::min(worst, order.size()) && !order[i]->metrics.identical(); ++i) {
    const TensorComparison &tensor = *order[i];
    const Metrics &metrics = tensor.metrics;
    table.add({printable(tensor.name), storedText(tensor.schemeA, tensor.dtypeA), storedText(tensor.schemeB, tensor.dtypeB),
               shapeText(tensor.shape), sqnrText(metrics), fmt::format("{:.8f}", metrics.cosine()),
               errorText(metrics.relativeError()), errorText(metrics.maxError),
               metrics.maxError > 0 ? indicesText(elementIndices(metrics.maxAt, tensor.shape)) : "",
               metrics.worst ? decibel(metrics.worst->sqnr()) : "", worstBlockText(tensor)});
  }
  return table.empty() ? "" : "\n" + table.str();
}

static std::string nonFiniteText(const Comparison &comparison, size_t worst) {
  Table table({"NaN and Inf, not in the figures", ">NaN in A", ">NaN in B", ">Inf in A", ">Inf in B", ">on one side only"});
  size_t shown = 0, more = 0;
  for (const TensorComparison *tensor : comparison.worstFirst()) {
    const Metrics &metrics = tensor->metrics;
    if (!metrics.hasNonFinite())
      continue;
    if (shown++ >= worst) {
      ++more;
      continue;
    }
    table.add({printable(tensor->name), std::to_string(metrics.nanA), std::to_string(metrics.nanB), std::to_string(metrics.infA),
               std::to_string(metrics.infB), std::to_string(metrics.mismatched)});
  }
  if (table.empty() && more == 0)
    return "";
  return fmt::format("\n{}{}", table.str(), more ? "and " + plural(more, "more tensor") + "\n" : "");
}

/// "title (3):" and the first few lines.
static std::string listText(const std::string &title, const std::vector<std::string> &lines) {
  constexpr size_t shown = 10;
  if (lines.empty())
    return "";
  std::string text = fmt::format("\n{} ({})\n", title, lines.size());
  for (size_t i = 0; i < std::min(lines.size(), shown); ++i)
    text += "  " + printable(lines[i]) + "\n";
  return text + (lines.size() > shown ? fmt::format("  and {} more; --json lists them\n", lines.size() - shown) : "");
}

std::string convert::comparisonText(const Comparison &comparison, size_t worst) {
  std::vector<std::string> notCompared;
  for (const NotCompared &tensor : comparison.notCompared)
    notCompared.push_back(fmt::format("{} {}", printable(tensor.name), tensor.reason));
  return summaryText(comparison) + (comparison.tensors.empty() ? "" : kindsText(comparison)) + worstText(comparison, worst) +
         nonFiniteText(comparison, std::max<size_t>(worst, 10)) + listText("not compared", notCompared) +
         listText("only in A", comparison.onlyInA) + listText("only in B", comparison.onlyInB);
}
