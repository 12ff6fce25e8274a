//===- input_scaling.cpp - columns scaled before they are rounded ---------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/quant-convert/calibrate/input_scaling.h"

#include "runtime/support/narrow.h"
#include "tools/common/parallel.h"
#include "tools/common/progress.h"

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
  const ScaledInput *input = nullptr;
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

/// Nothing where the text reached none of the layers, or what takes the scales is of another type or size.
Result<std::optional<InputScaling::Search>> InputScaling::searchOf(const ScaledInput &input, const Hessians &hessians,
                                                                   const Weights &weights, const Targets &targets,
                                                                   std::optional<double> alpha) {
  Search search;
  search.input = &input;
  double tokens = 0;
  std::vector<double> largest, largestWeights;
  for (const std::string &name : input.layers) {
    auto hessian = hessians.find(name);
    if (hessian == hessians.end() || hessian->second->sums.size() == 0)
      return std::nullopt;
    const Eigen::MatrixXd &sums = hessian->second->sums;
    auto width = static_cast<size_t>(sums.rows());
    if (search.squares.empty())
      search.squares = largest = largestWeights = std::vector<double>(width);
    if (search.squares.size() != width)
      return std::nullopt;
    for (size_t i = 0; i < search.squares.size(); ++i)
      search.squares[i] += sums(static_cast<int64_t>(i), static_cast<int64_t>(i));
    tokens += static_cast<double>(hessian->second->tokens + hessian->second->borrowed);
    for (size_t i = 0; i < width; ++i)
      largest[i] = std::max(largest[i], hessian->second->largest(static_cast<int64_t>(i)));
    if (alpha)
      QUANT_TRY(findLargest(*weights.find(name + ".weight"), largestWeights));
    const Target &target = targets.find(name)->second;
    QUANT_TRY_ASSIGN(std::vector<float> values, triedRows(*weights.find(name + ".weight")));
    search.layers.push_back({&sums, std::move(values), NumberFormat(target.scheme, target.zeroPoints), target.scheme});
  }
  for (double &square : search.squares)
    square /= tokens;
  if (alpha)
    search.smoothing = smoothingScales(largest, largestWeights, *alpha);
  const Weight &source = *weights.find(input.source + ".weight");
  if (input.fromLayer()) {
    QUANT_TRY_ASSIGN(WeightRows rows, WeightRows::create(source));
    return rows.rows() == static_cast<int64_t>(search.squares.size()) ? std::optional(std::move(search)) : std::nullopt;
  }
  search.norm = elementsOf(*source.tensor);
  search.normType = source.tensor->info->dtype;
  const Weight *router = input.router.empty() ? nullptr : weights.find(input.router + ".weight");
  bool canTake = search.norm && search.norm->size() == search.squares.size() &&
                 (!router || (elementsOf(*router->tensor) &&
                              router->tensor->info->shape.back() == static_cast<int64_t>(search.squares.size())));
  return canTake ? std::optional(std::move(search)) : std::nullopt;
}

Result<void> InputScaling::checkSchemes(const Targets &targets) {
  for (const auto &[layer, target] : targets)
    if (target.scheme.block[0] != 1 || target.scheme.hasGlobalScale())
      return fail(fmt::format("{}: {} has scales that rows share, which inputs are not scaled for; take another method or scheme",
                              layer, target.describe()));
  return {};
}

Result<InputScaling> InputScaling::create(const Hessians &hessians, const Weights &weights, const Targets &targets,
                                          std::optional<double> alpha, int threads) {
  constexpr std::string_view kWeight = ".weight";
  Modules all, quantized;
  for (const Weight &weight : weights.all())
    if (weight.name.ends_with(kWeight))
      all.insert(weight.name.substr(0, weight.name.size() - kWeight.size()));
  for (const auto &[layer, target] : targets)
    quantized.insert(layer);
  std::vector<ScaledInput> inputs = scaledInputs(all, quantized);
  std::vector<Search> searches;
  for (const ScaledInput &input : inputs) {
    bool isOfExperts = input.fromLayer() || !input.router.empty();
    if (alpha && isOfExperts)
      continue;
    QUANT_TRY_ASSIGN(std::optional<Search> search, searchOf(input, hessians, weights, targets, alpha));
    if (search)
      searches.push_back(std::move(*search));
  }
  tools::Progress progress("searching scales", searches.size(), tools::stderrTerminal(), tools::humanCount);
  tools::parallelFor(searches.size(), static_cast<unsigned>(threads), [&](size_t i) {
    searches[i].run();
    progress.add(1);
  });
  InputScaling awq;
  for (Search &search : searches)
    awq.take(search, hessians);
  for (const auto &[layer, target] : targets)
    if (!awq.columns.contains(layer))
      awq.left.push_back(layer);
  return awq;
}

void InputScaling::take(const Search &search, const Hessians &hessians) {
  const ScaledInput &input = *search.input;
  std::vector<float> inverse(search.best.size());
  std::ranges::transform(search.best, inverse.begin(), [](float scale) { return 1 / scale; });
  (input.fromLayer() ? rows : columns)[input.source] = std::move(inverse);
  if (!input.router.empty())
    columns[input.router] = search.best;
  auto width = static_cast<int64_t>(search.best.size());
  for (size_t i = 0; i < search.layers.size(); ++i) {
    const Hessian &hessian = *hessians.find(input.layers[i])->second;
    const std::vector<float> &values = search.layers[i].values;
    RowBlock block{values, static_cast<int64_t>(values.size()) / width, width, 0};
    double signal = outputError(hessian.sums, block, std::vector<float>(values.size()));
    columns[input.layers[i]] = search.best;
    done[input.layers[i]] = {hessian.tokens, hessian.borrowed, 0, signal, search.nearest[i], search.bestErrors[i]};
  }
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
