//===- layers.cpp - what of a checkpoint is quantized ---------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/quant-convert/quantize/layers.h"

#include "models/config/read.h"
#include "models/tensors.h"
#include "runtime/support/text.h"
#include "tools/common/tensor_name.h"

#include <fmt/core.h>

#include <algorithm>

using namespace quant;
using namespace quant::convert;

std::string convert::moduleOf(std::string_view weight) {
  constexpr std::string_view kSuffix = ".weight";
  return std::string(weight.ends_with(kSuffix) ? weight.substr(0, weight.size() - kSuffix.size()) : weight);
}

Result<QuantizableLayers> convert::quantizableLayers(const checkpoint::Checkpoint &checkpoint, const Weights &weights) {
  auto config = models::loadConfig(checkpoint.dir());
  if (!config)
    return fail(config.error().message + "; it says which layers there are to quantize");
  config->quantization = {everyLinear(deepSeekFp8()), {}};
  QuantizableLayers layers;
  layers.decoderLayers = config->nLayers;
  for (const models::TensorSpec &tensor : models::checkpointTensors(*config))
    if (tensor.dtype == DType::F8E4M3FN && weights.find(tensor.name))
      layers.modules.insert(moduleOf(tensor.name));
  if (layers.modules.empty())
    return fail(printable(checkpoint.dir().native()) + ": holds none of the weights that its config.json promises");
  return layers;
}

//===----------------------------------------------------------------------===//
// Choices that fit
//===----------------------------------------------------------------------===//

Indivisible convert::parseIndivisible(std::string_view text) {
  return text == "keep" ? Indivisible::Keep : text == "smaller" ? Indivisible::Smaller : Indivisible::Error;
}

Result<Decision> convert::fitChoice(const SchemeChoice &choice, const Weight &weight, FileLayout layout, Indivisible how) {
  QUANT_TRY_ASSIGN(Target target, chooseTarget(choice, layout));
  QUANT_TRY_ASSIGN(WeightRows rows, WeightRows::create(weight));
  auto fits = checkFits(rows, target.scheme);
  if (fits)
    return Decision(choice);
  int64_t group = target.scheme.block[1];
  bool isDivision = target.scheme.block[0] == 1 && group > 0 && rows.columns() % group != 0;
  if (isDivision && how == Indivisible::Keep)
    return Decision();
  SchemeChoice smaller = choice;
  for (smaller.groupSize = group / 2; smaller.groupSize >= 16 && rows.columns() % smaller.groupSize != 0;)
    smaller.groupSize /= 2;
  if (isDivision && how == Indivisible::Smaller && smaller.groupSize >= 16 && chooseTarget(smaller, layout))
    return Decision(smaller);
  return fail(fits.error().message + (isDivision ? "; --indivisible=smaller or keep does either for all such layers" : ""));
}

Result<int64_t> convert::storedBytes(const SchemeChoice &choice, const Weight &weight, FileLayout layout) {
  QUANT_TRY_ASSIGN(Target target, chooseTarget(choice, layout));
  QUANT_TRY_ASSIGN(WeightRows rows, WeightRows::create(weight));
  OutputShard shard{"", {quantizeWeightJob(rows, moduleOf(weight.name), target.scheme, {})}};
  return static_cast<int64_t>(shard.bytes() + (target.hasInputScale() ? sizeof(float) : 0));
}

//===----------------------------------------------------------------------===//
// Units
//===----------------------------------------------------------------------===//

namespace {
struct Kind {
  std::string_view name, pattern;
};
/// The first whose pattern a layer's name has.
constexpr Kind kKinds[] = {
    {"attention", "self_attn"}, {"shared_experts", "mlp.shared_experts"}, {"experts", "mlp.experts"}, {"dense", "mlp"}};
} // namespace

std::string_view convert::patternOfKind(std::string_view kind) {
  const auto *found = std::ranges::find(kKinds, kind, &Kind::name);
  return found == std::end(kKinds) ? "" : found->pattern;
}

std::string LayerUnit::describe() const { return fmt::format("{} of layer {}", kind, layer); }

std::vector<LayerUnit> convert::unitsOf(const ModuleSet &modules) {
  std::map<std::pair<int64_t, std::string>, LayerUnit> units;
  for (const std::string &module : modules)
    for (const Kind &kind : kKinds) {
      if (module.find("." + std::string(kind.pattern) + ".") == module.npos)
        continue;
      int64_t layer = tools::numberAfter(module, "layers");
      LayerUnit &unit = units[{layer, std::string(kind.name)}];
      unit.layer = layer;
      unit.kind = kind.name;
      unit.modules.push_back(module);
      break;
    }
  std::vector<LayerUnit> result;
  for (auto &[key, unit] : units)
    result.push_back(std::move(unit));
  return result;
}

Result<int64_t> convert::parametersOf(const LayerUnit &unit, const Weights &weights) {
  int64_t sum = 0;
  for (const std::string &module : unit.modules) {
    QUANT_TRY_ASSIGN(WeightRows rows, WeightRows::create(*weights.find(module + ".weight")));
    sum += rows.rows() * rows.columns();
  }
  return sum;
}
