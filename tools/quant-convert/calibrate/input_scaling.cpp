//===- input_scaling.cpp - columns scaled before they are rounded ---------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/quant-convert/calibrate/input_scaling.h"

#include "runtime/support/narrow.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>

using namespace quant;
using namespace quant::convert;

static constexpr int kRatios = 20;

//===----------------------------------------------------------------------===//
// Which inputs there are
//===----------------------------------------------------------------------===//

/// Names of `all` that begin with `prefix`, less the prefix.
static std::vector<std::string> below(const Modules &all, const std::string &prefix) {
  std::vector<std::string> names;
  for (auto at = all.lower_bound(prefix); at != all.end() && at->starts_with(prefix); ++at)
    names.push_back(at->substr(prefix.size()));
  return names;
}

namespace {

/// Finds the inputs of one decoder layer.
class LayerInputs {
public:
  LayerInputs(const Modules &all, const Modules &quantized, const std::string &prefix, std::vector<ScaledInput> &out)
      : all(all), quantized(quantized), prefix(prefix), out(out) {}

  void find() {
    // What DeepSeek-V3.2's indexer reads cannot be scaled here.
    if (below(all, prefix + "self_attn.indexer.").empty()) {
      add("input_layernorm", {"self_attn.q_a_proj", "self_attn.q_proj", "self_attn.kv_a_proj_with_mqa"});
      add("self_attn.q_a_layernorm", {"self_attn.q_b_proj"});
      add("self_attn.kv_a_layernorm", {"self_attn.kv_b_proj"});
    }
    std::vector<std::string> readers;
    for (const std::string &name : below(all, prefix + "mlp.")) {
      if (name.ends_with("gate_proj") || name.ends_with("up_proj"))
        readers.push_back("mlp." + name);
      if (name.ends_with("down_proj"))
        add("mlp." + name.substr(0, name.size() - 9) + "up_proj", {"mlp." + name});
    }
    add("post_attention_layernorm", readers, all.contains(prefix + "mlp.gate") ? "mlp.gate" : "");
  }

private:
  void add(const std::string &source, const std::vector<std::string> &readers, const std::string &router = "") {
    ScaledInput input{prefix + source, {}, router.empty() ? "" : prefix + router};
    for (const std::string &reader : readers) {
      if (!all.contains(prefix + reader))
        continue;
      if (!quantized.contains(prefix + reader))
        return;
      input.layers.push_back(prefix + reader);
    }
    bool canTake = all.contains(input.source) && (!input.fromLayer() || quantized.contains(input.source));
    if (canTake && !input.layers.empty())
      out.push_back(std::move(input));
  }

  const Modules &all, &quantized;
  std::string prefix;
  std::vector<ScaledInput> &out;
};

} // namespace

std::vector<ScaledInput> convert::scaledInputs(const Modules &all, const Modules &quantized) {
  constexpr std::string_view kLayers = "model.layers.";
  Modules prefixes;
  for (const std::string &name : below(all, std::string(kLayers)))
    prefixes.insert(std::string(kLayers) + name.substr(0, name.find('.') + 1));
  std::vector<ScaledInput> inputs;
  for (const std::string &prefix : prefixes)
    LayerInputs(all, quantized, prefix, inputs).find();
  return inputs;
}

//===----------------------------------------------------------------------===//
// The search
//===----------------------------------------------------------------------===//

double convert::scaledError(const ScaledLayer &layer, std::span<const float> scales) {
  auto columns = static_cast<int64_t>(scales.size()), rows = static_cast<int64_t>(layer.values.size()) / columns;
  std::vector<float> scaled = layer.values;
  for (size_t i = 0; i < scaled.size(); ++i)
    scaled[i] *= scales[i % scales.size()];
  RowBlock block{scaled, rows, columns, 0};
  std::vector<float> rounded = decodeRows(layer.format, layer.scheme, block, encodeRows(layer.format, layer.scheme, block, {}));
  for (size_t i = 0; i < rounded.size(); ++i)
    rounded[i] /= scales[i % scales.size()];
  return outputError(*layer.sums, {layer.values, rows, columns, 0}, rounded);
}

std::vector<float> convert::scalesFor(std::span<const double> squares, double ratio) {
  constexpr double kLeast = 1e-4;
  std::vector<double> powers;
  powers.reserve(squares.size());
  for (double square : squares)
    powers.push_back(std::max(std::pow(std::sqrt(square), ratio), kLeast));
  auto [least, most] = std::ranges::minmax_element(powers);
  double middle = std::sqrt(*least * *most);
  std::vector<float> scales;
  scales.reserve(powers.size());
  for (double power : powers)
    scales.push_back(static_cast<float>(power / middle));
  return scales;
}

std::vector<float> convert::smoothingScales(std::span<const double> inputs, std::span<const double> weights, double alpha) {
  std::vector<float> scales(inputs.size(), 1);
  for (size_t i = 0; i < scales.size(); ++i)
    if (inputs[i] > 0 && weights[i] > 0)
      scales[i] = static_cast<float>(std::pow(inputs[i], alpha) / std::pow(weights[i], 1 - alpha));
  return scales;
}

/// The elements of a norm; nothing where they are no BF16 and no F32.
static std::optional<std::vector<float>> elementsOf(const Tensor &tensor) {
  DType dtype = tensor.info->dtype;
  if (dtype != DType::BF16 && dtype != DType::F32)
    return std::nullopt;
  std::vector<float> values(tensor.data.size() / (dtype == DType::BF16 ? 2 : 4));
  for (size_t i = 0; i < values.size(); ++i) {
    uint16_t code = 0;
    if (dtype == DType::F32) {
      std::memcpy(&values[i], tensor.data.data() + 4 * i, 4);
    } else {
      std::memcpy(&code, tensor.data.data() + 2 * i, 2);
      values[i] = fromBf16(code);
    }
  }
  return values;
}

static float stored(DType dtype, float value) { return dtype == DType::BF16 ? fromBf16(toBf16(value)) : value; }

/// The search for one input.
struct InputScaling::Search {
  std::vector<ScaledLayer> layers;
  std::vector<double> squares;            ///< means over the tokens, by column
  std::vector<float> smoothing;           ///< SmoothQuant's s; empty: AWQ searches
  std::optional<std::vector<float>> norm; ///< of the norm before
  DType normType = DType::F32;
  std::vector<float> best;
  std::vector<double> bestErrors, nearest; ///< by layer

  /// `scales`, as what is stored of a norm allows them.
  std::vector<float> storable(std::vector<float> scales) const {
    for (size_t i = 0; norm && i < scales.size(); ++i) {
      float divided = stored(normType, (*norm)[i] / scales[i]);
      scales[i] = divided != 0 && std::isfinite(divided) ? (*norm)[i] / divided : 1;
    }
    return scales;
  }

  void run() {
    best = storable(scalesFor(squares, 0));
    bestErrors = nearest = errorsOf(best);
    if (!smoothing.empty()) {
      best = storable(smoothing);
      bestErrors = errorsOf(best);
    }
    for (int i = 1; smoothing.empty() && i < kRatios; ++i) {
      std::vector<float> scales = storable(scalesFor(squares, static_cast<double>(i) / kRatios));
      std::vector<double> errors = errorsOf(scales);
      if (sum(errors) < sum(bestErrors)) {
        best = std::move(scales);
        bestErrors = std::move(errors);
      }
    }
  }

  /// By layer.
  std::vector<double> errorsOf(const std::vector<float> &scales) const {
    std::vector<double> errors(layers.size());
    std::ranges::transform(layers, errors.begin(), [&](const ScaledLayer &layer) { return scaledError(layer, scales); });
    return errors;
  }
  static double sum(const std::vector<double> &errors) { return std::accumulate(errors.begin(), errors.end(), 0.0); }
};

/// At most InputScaling::kTriedRows rows, evenly over the weight.
static Result<std::vector<float>> triedRows(const Weight &weight) {
  QUANT_TRY_ASSIGN(WeightRows rows, WeightRows::create(weight));
  int64_t count = std::min(rows.rows(), InputScaling::kTriedRows);
  std::vector<float> values(static_cast<size_t>(count * rows.columns()));
  for (int64_t i = 0; i < count; ++i)
    QUANT_TRY(rows.read(i * rows.rows() / count, 1,
                        std::span(values).subspan(static_cast<size_t>(i * rows.columns()), static_cast<size_t>(rows.columns()))));
  return values;
}

/// Raises `largest` to the magnitudes of a weight's columns.
static Result<void> findLargest(const Weight &weight, std::vector<double> &largest) {
  QUANT_TRY_ASSIGN(WeightRows rows, WeightRows::create(weight));
  std::vector<float> row(largest.size());
  for (int64_t i = 0; i < rows.rows(); ++i) {
    QUANT_TRY(rows.read(i, 1, row));
    for (size_t j = 0; j < row.size(); ++j)
      largest[j] = std::max(largest[j], std::abs(static_cast<double>(row[j])));
  }
  return {};
}

static const Weight &weightOf(const Weights &weights, const std::string &module) { return *weights.find(module + ".weight"); }

Result<InputScaling::Search> InputScaling::searchOf(const ScaledInput &input, const Hessians &hessians, const Weights &weights,
                                                    const Targets &targets, std::optional<double> alpha) {
  Search search;
  double tokens = 0;
  auto width = static_cast<size_t>(hessians.find(input.layers.front())->second->sums.rows());
  std::vector<double> largest(width), largestWeights(width);
  search.squares.resize(width);
  for (const std::string &name : input.layers) {
    const Hessian &hessian = *hessians.find(name)->second;
    for (size_t i = 0; i < width; ++i) {
      auto column = static_cast<int64_t>(i);
      search.squares[i] += hessian.sums(column, column);
      largest[i] = std::max(largest[i], hessian.largest(column));
    }
    tokens += static_cast<double>(hessian.tokens + hessian.borrowed);
    if (alpha)
      QUANT_TRY(findLargest(weightOf(weights, name), largestWeights));
    const Target &target = targets.find(name)->second;
    QUANT_TRY_ASSIGN(std::vector<float> values, triedRows(weightOf(weights, name)));
    search.layers.push_back({&hessian.sums, std::move(values), NumberFormat(target.scheme, target.zeroPoints), target.scheme});
  }
  for (double &square : search.squares)
    square /= tokens;
  if (alpha)
    search.smoothing = smoothingScales(largest, largestWeights, *alpha);
  if (!input.fromLayer()) {
    const Tensor &source = *weightOf(weights, input.source).tensor;
    search.norm = elementsOf(source);
    search.normType = source.info->dtype;
  }
  return search;
}

Result<void> InputScaling::checkSchemes(const Targets &targets) {
  for (const auto &[layer, target] : targets)
    if (target.scheme.block[0] != 1 || target.scheme.hasGlobalScale())
      return fail(fmt::format("{}: {} has scales that rows share, which inputs are not scaled for; take another method or scheme",
                              layer, target.describe()));
  return {};
}

/// Whether something of that width can take the scales of an input.
static Result<bool> canTake(const ScaledInput &input, const Weights &weights, int64_t width) {
  const Weight &source = weightOf(weights, input.source);
  if (input.fromLayer()) {
    QUANT_TRY_ASSIGN(WeightRows rows, WeightRows::create(source));
    return rows.rows() == width;
  }
  auto isPlain = [](const Weight &weight) {
    DType dtype = weight.tensor->info->dtype;
    return !weight.linear && (dtype == DType::BF16 || dtype == DType::F32);
  };
  const Weight *router = input.router.empty() ? nullptr : &weightOf(weights, input.router);
  return isPlain(source) && source.tensor->info->shape == std::vector<int64_t>{width} &&
         (!router || (isPlain(*router) && router->tensor->info->shape.back() == width));
}

Result<std::vector<ScaledInput>> InputScaling::inputsOf(const Weights &weights, const Targets &targets) {
  constexpr std::string_view kWeight = ".weight";
  Modules all, quantized;
  for (const Weight &weight : weights.all())
    if (weight.name.ends_with(kWeight))
      all.insert(weight.name.substr(0, weight.name.size() - kWeight.size()));
  for (const auto &[layer, target] : targets)
    quantized.insert(layer);
  std::vector<ScaledInput> inputs;
  for (ScaledInput &input : scaledInputs(all, quantized)) {
    std::set<int64_t> widths;
    for (const std::string &layer : input.layers) {
      QUANT_TRY_ASSIGN(WeightRows rows, WeightRows::create(weightOf(weights, layer)));
      widths.insert(rows.columns());
    }
    QUANT_TRY_ASSIGN(bool fits, canTake(input, weights, *widths.begin()));
    if (widths.size() == 1 && fits)
      inputs.push_back(std::move(input));
  }
  return inputs;
}

Result<FoundScales> InputScaling::search(const ScaledInput &input, const Hessians &hessians, const Weights &weights,
                                         const Targets &targets, std::optional<double> alpha) {
  FoundScales found;
  found.reports.resize(input.layers.size());
  bool isReached =
      std::ranges::all_of(input.layers, [&](const std::string &layer) { return hessians.find(layer)->second->sums.size() > 0; });
  if (!isReached) {
    QUANT_TRY_ASSIGN(WeightRows rows, WeightRows::create(weightOf(weights, input.layers.front())));
    found.scales.assign(static_cast<size_t>(rows.columns()), 1);
    return found;
  }
  QUANT_TRY_ASSIGN(Search search, searchOf(input, hessians, weights, targets, alpha));
  search.run();
  auto width = static_cast<int64_t>(search.best.size());
  for (size_t i = 0; i < input.layers.size(); ++i) {
    const Hessian &hessian = *hessians.find(input.layers[i])->second;
    const std::vector<float> &values = search.layers[i].values;
    RowBlock block{values, static_cast<int64_t>(values.size()) / width, width, 0};
    double signal = outputError(hessian.sums, block, std::vector<float>(values.size()));
    found.reports[i] = {static_cast<double>(hessian.tokens),
                        static_cast<double>(hessian.borrowed),
                        0,
                        signal,
                        search.nearest[i],
                        search.bestErrors[i]};
  }
  found.scales = std::move(search.best);
  return found;
}

void InputScaling::add(const ScaledInput &input, const FoundScales &found) {
  std::vector<float> inverse(found.scales.size());
  std::ranges::transform(found.scales, inverse.begin(), [](float scale) { return 1 / scale; });
  (input.fromLayer() ? rows : columns)[input.source] = std::move(inverse);
  if (!input.router.empty())
    columns[input.router] = found.scales;
  for (const std::string &layer : input.layers)
    columns[layer] = found.scales;
}

//===----------------------------------------------------------------------===//
// What comes of it
//===----------------------------------------------------------------------===//

template <typename Map>
static const std::vector<float> *findIn(const Map &map, const std::string &name) {
  auto found = map.find(name);
  return found == map.end() ? nullptr : &found->second;
}

const std::vector<float> *InputScaling::factors(const std::string &module) const { return findIn(columns, module); }

Encoder InputScaling::encoder(const std::string &layer, const Scheme &scheme, bool zeroPoints) const {
  NumberFormat format(scheme, zeroPoints);
  const std::vector<float> *byColumn = findIn(columns, layer), *byRow = findIn(rows, layer);
  return [=](int64_t begin, const RowBlock &in) -> Result<EncodedRows> {
    std::vector<float> values(in.values.begin(), in.values.end());
    for (size_t i = 0; i < values.size(); ++i) {
      size_t row = i / static_cast<size_t>(in.columns), column = i % static_cast<size_t>(in.columns);
      values[i] *= byColumn ? (*byColumn)[column] : 1;
      values[i] *= byRow ? (*byRow)[static_cast<size_t>(begin) + row] : 1;
    }
    return encodeRows(format, scheme, {values, in.rows, in.columns, in.amax}, {});
  };
}

Job convert::scaledTensorJob(const Tensor &tensor, std::string name, std::vector<float> factors) {
  auto run = [&tensor, name, factors = std::move(factors)](int64_t, Sink &sink) -> Result<void> {
    std::vector<float> values = *elementsOf(tensor);
    std::vector<uint16_t> narrow(values.size());
    for (size_t i = 0; i < values.size(); ++i) {
      values[i] *= factors[i % factors.size()];
      narrow[i] = toBf16(values[i]);
    }
    bool isNarrow = tensor.info->dtype == DType::BF16;
    return sink.put(name, 0, isNarrow ? std::as_bytes(std::span(narrow)) : std::as_bytes(std::span(values)));
  };
  return {{{name, tensor.info->dtype, tensor.info->shape}}, 1, std::move(run)};
}
