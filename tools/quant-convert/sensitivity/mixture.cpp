//===- mixture.cpp - a policy within a budget -----------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/quant-convert/sensitivity/mixture.h"

#include "runtime/support/text.h"
#include "tools/common/table.h"
#include "tools/common/units.h"
#include "tools/quant-convert/sensitivity/budget.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <cmath>

using namespace quant;
using namespace quant::convert;
using nlohmann::ordered_json;

//===----------------------------------------------------------------------===//
// The budget
//===----------------------------------------------------------------------===//

Result<Budget> convert::parseBudget(const std::string &text) {
  constexpr std::array<std::pair<std::string_view, double>, 9> kUnits = {{{"bits", 0},
                                                                          {"kB", 1e3},
                                                                          {"MB", 1e6},
                                                                          {"GB", 1e9},
                                                                          {"TB", 1e12},
                                                                          {"KiB", 0x1p10},
                                                                          {"MiB", 0x1p20},
                                                                          {"GiB", 0x1p30},
                                                                          {"TiB", 0x1p40}}};
  size_t end = 0;
  double number = 0;
  try {
    number = std::stod(text, &end);
  } catch (const std::exception &) {
    end = 0;
  }
  const auto *unit = std::ranges::find(kUnits, std::string_view(text).substr(end), &std::pair<std::string_view, double>::first);
  if (end == 0 || unit == kUnits.end() || !(number > 0) || !std::isfinite(number) || number * unit->second > 0x1p60)
    return fail(fmt::format("--budget {}: give bits a weight, as in 4.25bits, or a size, as in 350GB", quote(text)));
  Budget budget{text, 0, 0};
  if (unit->second == 0)
    budget.bits = number;
  else
    budget.bytes = static_cast<int64_t>(number * unit->second);
  return budget;
}

//===----------------------------------------------------------------------===//
// Choosing
//===----------------------------------------------------------------------===//

namespace {

/// A measured unit and those that go with it, in all the forms that they can have.
struct Item {
  std::vector<Mixture::Part> parts;  ///< the first was measured
  std::vector<SchemeChoice> choices; ///< the option after them is to keep
  std::vector<SizedOption> options;
};

/// Bytes that the weight takes if it is kept.
int64_t keptBytes(const Weight &weight) {
  return weight.linear ? weight.linear->rows() * weight.linear->columns() * 2 : static_cast<int64_t>(weight.tensor->data.size());
}

} // namespace

static const Weight &weightOf(const Weights &weights, const std::string &module) { return *weights.find(module + ".weight"); }

static Result<int64_t> unitBytes(const LayerUnit &unit, const Decision &decision, const Weights &weights, FileLayout layout,
                                 Indivisible how) {
  int64_t bytes = 0;
  for (const std::string &module : unit.modules) {
    const Weight &weight = weightOf(weights, module);
    Decision fitting = decision;
    if (decision) {
      QUANT_TRY_ASSIGN(fitting, fitChoice(*decision, weight, layout, how));
    }
    int64_t stored = keptBytes(weight);
    if (fitting) {
      QUANT_TRY_ASSIGN(stored, storedBytes(*fitting, weight, layout));
    }
    bytes += stored;
  }
  return bytes;
}

/// The items, units that were not measured with the last measured one of their kind.
static Result<std::vector<Item>> makeItems(const Sensitivities &sensitivities, const std::vector<LayerUnit> &units,
                                           const Weights &weights) {
  std::vector<Item> items;
  std::map<std::string, size_t> last;
  for (const LayerUnit &unit : units) { // by rising layers
    Mixture::Part part{unit, {}, 0, 0, 0};
    QUANT_TRY_ASSIGN(part.parameters, parametersOf(unit, weights));
    const Sensitivities::Unit *measured = sensitivities.find(unit.layer, unit.kind);
    if (measured && measured->parameters != part.parameters)
      return fail(fmt::format("{} has {} parameters, {} where sensitivities were measured; measure this model's", unit.describe(),
                              part.parameters, measured->parameters));
    if (measured)
      last[unit.kind] = items.size();
    else if (last.contains(unit.kind)) {
      items[last[unit.kind]].parts.push_back(std::move(part));
      continue;
    }
    Item &item = items.emplace_back();
    for (const auto &[choice, cost] : measured ? measured->costs : std::map<SchemeChoice, UnitCost>()) {
      item.choices.push_back(choice);
      item.options.push_back({0, cost.divergence});
    }
    item.parts.push_back(std::move(part));
  }
  return items;
}

static Result<void> addBytes(Item &item, const Weights &weights, FileLayout layout, Indivisible how) {
  item.options.push_back({0, 0}); // to keep
  for (size_t i = 0; i < item.options.size(); ++i)
    for (const Mixture::Part &part : item.parts) {
      Decision decision = i < item.choices.size() ? Decision(item.choices[i]) : Decision();
      QUANT_TRY_ASSIGN(int64_t bytes, unitBytes(part.unit, decision, weights, layout, how));
      item.options[i].bytes += bytes;
    }
  return {};
}

/// Bytes of all tensors that are in no unit.
static int64_t otherBytes(const QuantizableLayers &layers, const Weights &weights) {
  int64_t bytes = 0;
  for (const Weight &weight : weights.all())
    if (!layers.modules.contains(moduleOf(weight.name)))
      bytes += keptBytes(weight);
  return bytes;
}

static std::vector<Mixture::Uniform> uniformOf(const std::vector<Item> &items) {
  std::map<SchemeChoice, std::pair<Mixture::Uniform, size_t>> sums;
  size_t measured = 0;
  for (const Item &item : items) {
    measured += !item.choices.empty();
    for (size_t i = 0; i < item.choices.size(); ++i) {
      auto &[sum, count] = sums[item.choices[i]];
      sum.bytes += item.options[i].bytes;
      sum.divergence += item.options[i].loss;
      ++count;
    }
  }
  std::vector<Mixture::Uniform> uniform;
  for (auto &[choice, sum] : sums)
    if (sum.second == measured) {
      sum.first.scheme = choice.text();
      uniform.push_back(sum.first);
    }
  return uniform;
}

Result<Mixture> convert::chooseMixture(const Budget &budget, const Sensitivities &sensitivities, const QuantizableLayers &layers,
                                       const Weights &weights, FileLayout layout) {
  QUANT_TRY_ASSIGN(std::vector<Item> items, makeItems(sensitivities, unitsOf(layers.modules), weights));
  Mixture mixture;
  mixture.indivisible = sensitivities.indivisible;
  mixture.rest = otherBytes(layers, weights);
  std::vector<std::vector<SizedOption>> options;
  int64_t least = 0;
  for (Item &item : items) {
    QUANT_TRY(addBytes(item, weights, layout, parseIndivisible(sensitivities.indivisible)));
    options.push_back(item.options);
    least += std::ranges::min_element(item.options, {}, &SizedOption::bytes)->bytes;
    for (const Mixture::Part &part : item.parts)
      mixture.parameters += part.parameters;
  }
  mixture.most = budget.bits > 0 ? static_cast<int64_t>(budget.bits / 8 * static_cast<double>(mixture.parameters))
                                 : budget.bytes - mixture.rest;
  auto chosen = leastLoss(options, mixture.most);
  if (!chosen)
    return fail(fmt::format("--budget {}: the smallest of the measured schemes everywhere take {:.3f} bits a weight, {} with all "
                            "tensors; measure smaller ones or allow more",
                            budget.text, 8 * static_cast<double>(least) / static_cast<double>(mixture.parameters),
                            tools::humanBytes(static_cast<uint64_t>(least + mixture.rest))));
  for (size_t i = 0; i < items.size(); ++i) {
    size_t option = (*chosen)[i];
    bool isFirst = true;
    for (Mixture::Part &part : items[i].parts) {
      part.decision = option < items[i].choices.size() ? Decision(items[i].choices[option]) : Decision();
      part.divergence = std::exchange(isFirst, false) ? items[i].options[option].loss : 0;
      QUANT_TRY_ASSIGN(part.bytes,
                       unitBytes(part.unit, part.decision, weights, layout, parseIndivisible(sensitivities.indivisible)));
      mixture.bytes += part.bytes;
      mixture.parts.push_back(std::move(part));
    }
  }
  mixture.uniform = uniformOf(items);
  return mixture;
}

//===----------------------------------------------------------------------===//
// Telling
//===----------------------------------------------------------------------===//

double Mixture::divergence() const {
  double sum = 0;
  for (const Part &part : parts)
    sum += part.divergence;
  return sum;
}

static std::string nameOf(const Decision &decision) { return decision ? decision->text() : "keep"; }

/// Parts by kind and scheme.
static std::map<std::pair<std::string, std::string>, std::vector<const Mixture::Part *>>
grouped(const std::vector<Mixture::Part> &parts) {
  std::map<std::pair<std::string, std::string>, std::vector<const Mixture::Part *>> groups;
  for (const Mixture::Part &part : parts)
    groups[{part.unit.kind, nameOf(part.decision)}].push_back(&part);
  for (auto &[key, group] : groups)
    std::ranges::sort(group, {}, [](const Mixture::Part *part) { return part->unit.layer; });
  return groups;
}

ordered_json Mixture::policy() const {
  ordered_json rules = ordered_json::array();
  for (const auto &[key, group] : grouped(parts)) {
    ordered_json layers = ordered_json::array();
    for (const Part *part : group)
      layers.push_back(part->unit.layer);
    ordered_json rule = {{"match", patternOfKind(key.first)}, {"layers", layers}};
    const Decision &decision = group.front()->decision;
    rule["scheme"] = decision ? decision->name : "keep";
    if (decision && decision->groupSize)
      rule["group_size"] = decision->groupSize;
    if (decision && decision->zeroPoints)
      rule["zero_points"] = true;
    rules.push_back(std::move(rule));
  }
  return {{"rules", rules}};
}

ordered_json Mixture::json() const {
  ordered_json list = ordered_json::array(), alternatives = ordered_json::array();
  for (const Part &part : parts)
    list.push_back({{"layer", part.unit.layer},
                    {"kind", part.unit.kind},
                    {"scheme", nameOf(part.decision)},
                    {"parameters", part.parameters},
                    {"bytes", part.bytes},
                    {"kl", part.divergence}});
  for (const Uniform &uniform : uniform)
    alternatives.push_back({{"scheme", uniform.scheme}, {"bytes", uniform.bytes}, {"kl", uniform.divergence}});
  return {{"bits", bits()},     {"bytes", bytes + rest}, {"layer_bytes", bytes},   {"allowed_layer_bytes", most},
          {"kl", divergence()}, {"parts", list},         {"uniform", alternatives}};
}

/// "0-2, 4".
static std::string layersText(const std::vector<const Mixture::Part *> &group) {
  std::string text;
  for (size_t i = 0; i < group.size();) {
    size_t end = i + 1;
    while (end < group.size() && group[end]->unit.layer == group[end - 1]->unit.layer + 1)
      ++end;
    text += (text.empty() ? "" : ", ") + std::to_string(group[i]->unit.layer);
    if (end - i > 1)
      text += fmt::format("-{}", group[end - 1]->unit.layer);
    i = end;
  }
  return text;
}

std::string Mixture::describe() const {
  auto size = [](int64_t bytes) { return tools::humanBytes(static_cast<uint64_t>(std::max<int64_t>(0, bytes))); };
  tools::Table table({"kind", "scheme", "layers", ">bits", ">size", ">KL, each alone"});
  for (const auto &[key, group] : grouped(parts)) {
    int64_t sizes = 0, count = 0;
    double loss = 0;
    for (const Part *part : group) {
      sizes += part->bytes;
      count += part->parameters;
      loss += part->divergence;
    }
    table.add({key.first, key.second, layersText(group),
               fmt::format("{:.3f}", 8 * static_cast<double>(sizes) / static_cast<double>(count)), size(sizes),
               fmt::format("{:.6f}", loss)});
  }
  std::string words = fmt::format(
      "the least sum of KLs within {} for these layers ({} with all tensors): {:.3f} bits a weight, {} ({}), KL {:.6f}\n",
      size(most), size(most + rest), bits(), size(bytes), size(bytes + rest), divergence());
  for (const Uniform &each : uniform)
    words += fmt::format("  all in {}: {}, KL {:.6f}{}\n", each.scheme, size(each.bytes), each.divergence,
                         each.bytes > most ? ", too large" : "");
  return words + table.str(2);
}
