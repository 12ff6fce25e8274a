//===- lint_model.cpp - a checkpoint as the rules of engines see it -------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/quant-convert/check/lint_model.h"

#include "runtime/checkpoint/json_file.h"
#include "runtime/support/narrow.h"
#include "runtime/support/text.h"
#include "tools/quant-convert/schemes/config_json.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>

using namespace quant;
using namespace quant::convert;
using nlohmann::json;

//===----------------------------------------------------------------------===//
// Configuration
//===----------------------------------------------------------------------===//

static std::vector<std::string> stringsOf(const json &list) {
  std::vector<std::string> strings;
  if (list.is_array())
    for (const json &entry : list)
      if (entry.is_string())
        strings.push_back(entry.get<std::string>());
  return strings;
}

static json memberOf(const json &object, const char *key) {
  auto found = object.is_object() ? object.find(key) : object.end();
  return object.is_object() && found != object.end() ? *found : json();
}

bool convert::namesModule(const std::string &entry, const std::string &module, bool isCompressedTensors) {
  if (!isCompressedTensors)
    return module == entry || module.starts_with(entry + ".") || module.find("." + entry) != module.npos;
  if (!entry.starts_with("re:"))
    return module == entry || entry == "Linear";
  thread_local std::map<std::string, std::optional<std::regex>> compiled;
  auto [found, isNew] = compiled.try_emplace(entry);
  if (isNew) {
    try {
      found->second.emplace(entry.substr(3), std::regex::ECMAScript | std::regex::optimize);
    } catch (const std::regex_error &) {
      found->second.reset(); // names nothing, and is found as such
    }
  }
  return found->second && std::regex_search(module, *found->second, std::regex_constants::match_continuous);
}

static void readGroups(LintModel &model) {
  json groups = memberOf(model.quantization, "config_groups");
  if (!groups.is_object())
    return;
  for (const auto &[name, group] : groups.items())
    model.groups.push_back(
        {name, group, memberOf(group, "weights"), memberOf(group, "input_activations"), stringsOf(memberOf(group, "targets"))});
}

static void readConfig(LintModel &model, const json &config) {
  const json &part = quantizedPart(config);
  model.config = part;
  model.quantization = memberOf(part, "quantization_config");
  json method = memberOf(model.quantization, "quant_method");
  model.method = method.is_string() ? method.get<std::string>() : model.quantization.is_null() ? "" : "fp8";
  readGroups(model);
  for (const char *key : {"ignore", "modules_to_not_convert", "ignored_layers"})
    for (std::string &entry : stringsOf(memberOf(model.quantization, key)))
      if (std::ranges::find(model.ignored, entry) == model.ignored.end())
        model.ignored.push_back(std::move(entry));
}

int64_t LintModel::integer(const char *key) const {
  json value = memberOf(config, key);
  return value.is_number_integer() ? value.get<int64_t>() : 0;
}

//===----------------------------------------------------------------------===//
// Modules
//===----------------------------------------------------------------------===//

bool LintModule::isOneOf(std::initializer_list<std::string_view> names) const {
  return std::ranges::find(names, last) != names.end();
}

const LintModule *LintModel::find(const std::string &name) const {
  auto found = byName.find(name);
  return found == byName.end() ? nullptr : found->second;
}

bool LintModel::hasExperts() const { return std::ranges::any_of(modules, &LintModule::isRouted); }

/// Whether the configuration quantizes a module of that name.
static bool isConfigured(LintModel &model, const LintModule &module) {
  bool isCt = model.method == "compressed-tensors";
  bool ignored = false;
  for (const std::string &entry : model.ignored)
    if (namesModule(entry, module.name, isCt)) {
      ignored = true;
      ++model.ignoredHits[entry];
    }
  if (ignored || model.method.empty())
    return false;
  if (!isCt) // DeepSeek's own: the projections; routers, heads and eh_proj stay wide
    return module.last.find("_proj") != std::string::npos && module.last != "eh_proj" && module.last != "weights_proj";
  return std::ranges::any_of(model.groups, [&](const LintGroup &group) {
    return std::ranges::any_of(group.targets, [&](const std::string &target) { return namesModule(target, module.name, true); });
  });
}

/// A matrix that is multiplied with. Embeddings are looked up.
static std::optional<LintModule> asModule(const Weight &weight) {
  constexpr std::string_view kWeight = ".weight";
  const auto &info = *weight.tensor->info;
  if (!weight.name.ends_with(kWeight) || (!weight.linear && info.shape.size() != 2))
    return std::nullopt;
  LintModule module;
  module.name = weight.name.substr(0, weight.name.size() - kWeight.size());
  module.last = module.name.substr(module.name.rfind('.') + 1);
  if (module.last == "embed_tokens")
    return std::nullopt;
  size_t layers = module.name.find("layers."), end = layers == std::string::npos ? 0 : module.name.find('.', layers + 7);
  module.block = end == std::string::npos || layers == std::string::npos ? "" : module.name.substr(0, end + 1);
  module.isRouted = module.name.find(".experts.") != std::string::npos;
  module.weight = &weight;
  module.rows = weight.linear ? weight.linear->rows() : info.shape[0];
  module.columns = weight.linear ? weight.linear->columns() : info.shape[1];
  module.scheme = weight.linear ? &weight.linear->scheme() : nullptr;
  module.isConfigured = false;
  return module;
}

static ScaleFacts factsOf(const Tensor &scale) {
  ScaleFacts facts;
  for (double value : decodeScale(scale)) {
    ++facts.count;
    facts.zero += value == 0;
    if (!std::isfinite(value) || value < 0) {
      ++facts.broken;
      continue;
    }
    int exponent;
    facts.notPower += value != 0 && std::frexp(value, &exponent) != 0.5;
    double narrow = fromBf16(toBf16(static_cast<float>(value)));
    facts.rounded += narrow != value;
    facts.energy += value * value;
    facts.error += (value - narrow) * (value - narrow);
  }
  return facts;
}

Result<LintModel> LintModel::read(const TensorSource &source, const Weights &weights, unsigned threads) {
  LintModel model;
  QUANT_TRY_ASSIGN(auto config, checkpoint::readJsonFile(source.configPath(), 16u << 20));
  if (!config.is_object())
    return fail(printable(source.configPath().native()) + ": is no JSON object");
  readConfig(model, config);
  for (const Weight &weight : weights.all()) {
    if (weight.fault)
      model.faulty.push_back(&weight);
    else if (auto module = asModule(weight)) {
      module->isConfigured = isConfigured(model, *module);
      model.modules.push_back(std::move(*module));
    }
  }
  std::vector<LintModule *> scaled;
  std::vector<const Tensor *> scales;
  for (LintModule &module : model.modules) {
    model.byName[module.name] = &module;
    if (module.scheme) {
      scaled.push_back(&module);
      scales.push_back(module.weight->linear->tensors().scale);
    }
  }
  tools::forScattered(scales, threads, [&](size_t i) { scaled[i]->scales = factsOf(*scales[i]); });
  return model;
}
