//===- sensitivities.cpp - what quantizing a part costs -------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/quant-convert/sensitivity/sensitivities.h"

#include "runtime/checkpoint/json_file.h"
#include "runtime/checkpoint/writer.h"
#include "runtime/support/object_reader.h"
#include "runtime/support/text.h"
#include "tools/common/table.h"
#include "tools/common/units.h"

#include <fmt/core.h>

#include <cmath>

using namespace quant;
using namespace quant::convert;
using nlohmann::json;
using nlohmann::ordered_json;

static constexpr uint64_t kMaxBytes = 64 << 20;
static constexpr int64_t kMost = int64_t{1} << 60;
static constexpr std::string_view kFormat = "quant-convert sensitivity 1";

const Sensitivities::Unit *Sensitivities::find(int64_t layer, std::string_view kind) const {
  for (const Unit &unit : units)
    if (unit.layer == layer && unit.kind == kind)
      return &unit;
  return nullptr;
}

Sensitivities::Unit &Sensitivities::of(const LayerUnit &unit, int64_t parameters) {
  if (const Unit *found = find(unit.layer, unit.kind))
    return units[static_cast<size_t>(found - units.data())];
  return units.emplace_back(Unit{unit.layer, unit.kind, parameters, {}});
}

//===----------------------------------------------------------------------===//
// The file
//===----------------------------------------------------------------------===//

ordered_json Sensitivities::json() const {
  ordered_json list = ordered_json::array();
  for (const Unit &unit : units) {
    ordered_json costs = ordered_json::object();
    for (const auto &[choice, cost] : unit.costs)
      costs[choice.text()] = {{"kl", cost.divergence},
                              {"loss_difference", cost.lossDifference},
                              {"standard_error", cost.standardError},
                              {"same_first_choice", cost.agreement}};
    list.push_back({{"layer", unit.layer}, {"kind", unit.kind}, {"parameters", unit.parameters}, {"schemes", costs}});
  }
  return {{"format", kFormat},
          {"fingerprint", fingerprint},
          {"indivisible", indivisible},
          {"tokens", tokens},
          {"context", context},
          {"loss", loss},
          {"perplexity", std::exp(loss)},
          {"units", list}};
}

Result<void> Sensitivities::write(const std::filesystem::path &path) const {
  return checkpoint::writeFileAtomically(path, json().dump(1) + "\n");
}

static Result<Sensitivities::Unit> readUnit(const json &text) {
  if (!text.is_object())
    return fail("a unit is no object");
  ObjectReader fields(text);
  Sensitivities::Unit unit;
  unit.layer = fields.integer("layer", 0, kMost);
  unit.kind = fields.text("kind");
  unit.parameters = fields.integer("parameters", 1, kMost);
  const json &costs = fields.any("schemes");
  QUANT_TRY(fields.result());
  if (patternOfKind(unit.kind).empty() || !costs.is_object())
    return fail(fmt::format("a unit of kind {} with schemes {}", quote(unit.kind), shortText(costs)));
  for (const auto &[name, cost] : costs.items()) {
    QUANT_TRY_ASSIGN(SchemeChoice choice, parseChoice(name));
    if (!cost.is_object())
      return fail(quote(name) + " has no costs");
    ObjectReader numbers(cost);
    UnitCost &read = unit.costs[choice];
    numbers.require("kl");
    numbers.read("kl", read.divergence);
    numbers.read("loss_difference", read.lossDifference);
    numbers.read("standard_error", read.standardError);
    numbers.read("same_first_choice", read.agreement);
    QUANT_TRY(numbers.result());
  }
  return unit;
}

static Result<Sensitivities> readAll(const json &text) {
  if (!text.is_object() || text.value("format", json()) != kFormat)
    return fail("was not written by quant-convert sensitivity");
  ObjectReader fields(text);
  Sensitivities read;
  read.fingerprint = fields.text("fingerprint");
  read.indivisible = fields.text("indivisible");
  read.tokens = fields.integer("tokens", 1, kMost);
  read.context = fields.integer("context", 2, kMost);
  fields.require("loss");
  fields.read("loss", read.loss);
  const json &units = fields.array("units");
  QUANT_TRY(fields.result());
  for (const json &item : units) {
    QUANT_TRY_ASSIGN(Sensitivities::Unit unit, readUnit(item));
    read.units.push_back(std::move(unit));
  }
  return read;
}

Result<Sensitivities> Sensitivities::read(const std::filesystem::path &path) {
  QUANT_TRY_ASSIGN(auto text, checkpoint::readJsonFile(path, kMaxBytes));
  auto read = readAll(text);
  return read ? read : tl::unexpected(read.error().in(printable(path.native())));
}

//===----------------------------------------------------------------------===//
// For people
//===----------------------------------------------------------------------===//

std::string Sensitivities::describe() const {
  std::set<SchemeChoice> choices;
  for (const Unit &unit : units)
    for (const auto &[choice, cost] : unit.costs)
      choices.insert(choice);
  std::vector<std::string> titles = {"layer", "kind", ">parameters"};
  for (const SchemeChoice &choice : choices) {
    titles.push_back(">" + choice.text() + " KL");
    titles.emplace_back(">perplexity");
  }
  tools::Table table(titles);
  for (const Unit &unit : units) {
    std::vector<std::string> cells = {std::to_string(unit.layer), unit.kind,
                                      tools::humanCount(static_cast<uint64_t>(unit.parameters))};
    for (const SchemeChoice &choice : choices) {
      auto cost = unit.costs.find(choice);
      bool isThere = cost != unit.costs.end();
      cells.push_back(isThere ? fmt::format("{:.6f}", cost->second.divergence) : "");
      cells.push_back(isThere ? fmt::format("{:+.3f} %", 100 * std::expm1(cost->second.lossDifference)) : "");
    }
    table.add(std::move(cells));
  }
  return table.str();
}
