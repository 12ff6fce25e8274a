//===- quantize_report.cpp - what quantizing did to a model ---------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/quant-convert/report/quantize_report.h"

#include "runtime/support/text.h"
#include "tools/quant-convert/report/page.h"

#include <algorithm>
#include <cmath>
#include <numeric>

using namespace quant;
using namespace quant::convert;
using nlohmann::ordered_json;
using Tensors = std::vector<const TensorComparison *>;

/// As JavaScript's Number() reads it: JSON has no infinity.
static ordered_json number(double value) {
  return std::isfinite(value) ? ordered_json(value) : ordered_json(value < 0 ? "-Infinity" : "Infinity");
}

namespace {

/// A model and its comparison on the way to JSON.
class Description {
public:
  Description(const QuantizedModel &model, const Comparison &comparison) : model(model), comparison(comparison) {
    if (model.calibration)
      calibrated = model.calibration->report();
  }
  ordered_json json() const;

private:
  bool isScaled(const TensorComparison &tensor) const {
    return model.calibration && model.calibration->isScaled(moduleOf(tensor.name));
  }
  ordered_json tensorJson(const TensorComparison &tensor) const;
  ordered_json kindJson(const std::string &kind, const Tensors &tensors) const;
  /// Of the output error: the method's as a share of round-to-nearest's; nothing where it is not known.
  std::optional<double> shareOf(const TensorComparison &tensor) const;

  const QuantizedModel &model;
  const Comparison &comparison;
  nlohmann::json calibrated = nlohmann::json::object();
};

} // namespace

std::optional<double> Description::shareOf(const TensorComparison &tensor) const {
  const auto layers = calibrated.value("layers", nlohmann::json::object());
  auto found = layers.find(moduleOf(tensor.name));
  return found == layers.end() ? std::nullopt : std::optional((*found)["of_nearest"].get<double>());
}

ordered_json Description::tensorJson(const TensorComparison &tensor) const {
  std::string module = moduleOf(tensor.name);
  auto scheme = model.schemes.find(module);
  ordered_json entry = {{"name", printable(tensor.name)},
                        {"kind", printable(tensor.kind)},
                        {"layer", tensor.layer},
                        {"scheme", scheme == model.schemes.end() ? "" : scheme->second},
                        {"shape", shapeText(tensor.shape)},
                        {"elements", tensor.metrics.elements}};
  if (isScaled(tensor)) {
    entry["scaled"] = true; // other values on purpose
  } else {
    entry["sqnr"] = number(tensor.metrics.sqnr());
    entry["cosine"] = number(tensor.metrics.cosine());
  }
  if (auto share = shareOf(tensor)) {
    const auto &layer = calibrated["layers"][module];
    entry["tokens"] = layer["tokens"];
    entry["borrowed_tokens"] = layer["borrowed_tokens"];
    entry["output_error"] = layer["relative_output_error"];
    entry["output_error_nearest"] = layer["relative_output_error_nearest"];
    entry["of_nearest"] = *share;
  }
  return entry;
}

/// SQNR and cosine of all weights of the kind together, the mean of the output errors' shares.
ordered_json Description::kindJson(const std::string &kind, const Tensors &tensors) const {
  Tensors plain;
  double shares = 0;
  size_t known = 0;
  for (const TensorComparison *tensor : tensors) {
    if (!isScaled(*tensor))
      plain.push_back(tensor);
    if (auto share = shareOf(*tensor)) {
      shares += *share;
      ++known;
    }
  }
  ordered_json entry = {{"kind", printable(kind)}, {"tensors", tensors.size()}};
  if (!plain.empty()) {
    Metrics all = totals(plain);
    entry["sqnr"] = number(all.sqnr());
    entry["cosine"] = number(all.cosine());
    entry["worst"] =
        printable((*std::ranges::min_element(plain, {}, [](const auto *tensor) { return tensor->metrics.sqnr(); }))->name);
  }
  if (known > 0)
    entry["of_nearest"] = shares / static_cast<double>(known);
  return entry;
}

static int64_t tensorBytes(const checkpoint::Checkpoint &checkpoint) {
  return std::accumulate(checkpoint.tensors().begin(), checkpoint.tensors().end(), int64_t{0},
                         [](int64_t sum, const auto &tensor) { return sum + static_cast<int64_t>(tensor.data.size()); });
}

ordered_json Description::json() const {
  ordered_json tensors = ordered_json::array(), kinds = ordered_json::array();
  for (const TensorComparison &tensor : comparison.tensors)
    if (model.schemes.contains(moduleOf(tensor.name)))
      tensors.push_back(tensorJson(tensor));
  for (const auto &[kind, list] : byKind(comparison)) {
    Tensors quantized = list;
    std::erase_if(quantized, [&](const auto *tensor) { return !model.schemes.contains(moduleOf(tensor->name)); });
    if (!quantized.empty())
      kinds.push_back(kindJson(kind, quantized));
  }
  ordered_json result = {{"input", printable(model.input.native())},
                         {"output", printable(model.output.native())},
                         {"method", model.method},
                         {"groups", model.groups},
                         {"parameters", model.parameters},
                         {"bits", 8 * static_cast<double>(model.layerBytes) / static_cast<double>(model.parameters)}};
  if (model.judged) {
    const UnitCost &cost = model.judged->cost;
    result["held_out"] = {{"tokens", model.judged->tokens},
                          {"perplexity_before", std::exp(model.judged->loss)},
                          {"perplexity_after", std::exp(model.judged->loss + cost.lossDifference)},
                          {"loss_difference", cost.lossDifference},
                          {"standard_error", cost.standardError},
                          {"kl", cost.divergence},
                          {"same_first_choice", cost.agreement}};
  }
  result["notes"] = model.notes;
  for (const auto &[key, value] : calibrated.items())
    result[key] = value;
  if (model.inputScales)
    result["input_scales"] = model.inputScales->report();
  if (model.sensitivities)
    result["sensitivities"] = model.sensitivities->json();
  if (model.mixture)
    result["budget"] = model.mixture->json();
  result["kinds"] = kinds;
  result["tensors"] = tensors;
  return result;
}

Result<ordered_json> convert::describeQuantized(const QuantizedModel &model, unsigned threads) {
  QUANT_TRY_ASSIGN(Comparison comparison, compareCheckpoints({model.input.string(), model.output.string(), "", threads}));
  QUANT_TRY_ASSIGN(auto before, checkpoint::Checkpoint::open(model.input));
  QUANT_TRY_ASSIGN(auto after, checkpoint::Checkpoint::open(model.output));
  ordered_json result = Description(model, comparison).json();
  result["bytes_before"] = tensorBytes(before);
  result["bytes_after"] = tensorBytes(after);
  return result;
}

std::string convert::quantizedPage(const ordered_json &description) { return fillPage(kQuantizePage, description); }
