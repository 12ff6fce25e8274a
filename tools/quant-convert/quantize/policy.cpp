//===- policy.cpp - which layers get which scheme -------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/quant-convert/quantize/policy.h"

#include "models/config/scheme_config.h"
#include "runtime/checkpoint/json_file.h"
#include "runtime/support/object_reader.h"
#include "runtime/support/text.h"
#include "tools/common/tensor_name.h"

#include <fmt/core.h>

#include <algorithm>
#include <filesystem>

using namespace quant;
using namespace quant::convert;
using nlohmann::json;

static constexpr uint64_t kMaxPolicyBytes = 16 << 20;

//===----------------------------------------------------------------------===//
// Presets
//===----------------------------------------------------------------------===//

namespace {
struct Preset {
  const char *name, *what, *text;
};

constexpr Preset kPresets[] = {
    {"int8-int4",
     "attention, dense layers and shared experts INT8 (W8A8), routed experts INT4 in groups of 128; first and last "
     "layer as they are",
     R"({"rules": [{"match": "model.layers", "layers": [0, -1], "scheme": "keep"},
                   {"match": "mlp.experts", "scheme": "w4a16", "group_size": 128},
                   {"match": ["self_attn", "mlp"], "scheme": "w8a8"}]})"},
    {"experts-int4", "routed experts INT4 in groups of 32, all else as it is: the layout of Kimi-K2-Thinking",
     R"({"rules": [{"match": "mlp.experts", "scheme": "w4a16", "group_size": 32}]})"},
    {"fp8-experts-int4", "routed experts INT4 in groups of 128, the other layers FP8 in blocks of 128x128",
     R"({"default": {"scheme": "fp8-block"},
         "rules": [{"match": "mlp.experts", "scheme": "w4a16", "group_size": 128}]})"},
};
} // namespace

std::string convert::describePresets() {
  std::string text;
  for (const Preset &preset : kPresets)
    text += fmt::format("  {:18}{}\n", preset.name, preset.what);
  return text;
}

//===----------------------------------------------------------------------===//
// Reading
//===----------------------------------------------------------------------===//

static Result<Decision> readDecision(ObjectReader &fields) {
  SchemeChoice choice;
  fields.require("scheme");
  fields.read("scheme", choice.name);
  fields.read("group_size", choice.groupSize);
  fields.read("zero_points", choice.zeroPoints);
  if (fields.failed())
    return tl::unexpected(fields.result().error());
  if (choice.name != "keep") {
    QUANT_TRY(chooseTarget(choice, FileLayout::CompressedTensors));
    return Decision(choice);
  }
  if (choice.groupSize != 0 || choice.zeroPoints)
    return fail("\"keep\" has neither group_size nor zero_points");
  return Decision();
}

static Result<void> checkKeys(const json &object, std::initializer_list<std::string_view> known) {
  for (const auto &[key, value] : object.items())
    if (std::ranges::find(known, key) == known.end())
      return fail(fmt::format("{} is no key that is known", quote(key)));
  return {};
}

static Result<PolicyRule> readRule(const json &text) {
  if (!text.is_object())
    return fail(shortText(text) + " is not an object");
  QUANT_TRY(checkKeys(text, {"match", "layers", "scheme", "group_size", "zero_points"}));
  ObjectReader fields(text);
  PolicyRule rule;
  fields.require("match");
  if (text.contains("match") && text["match"].is_string())
    rule.patterns = {text["match"].get<std::string>()};
  else
    fields.read("match", rule.patterns);
  if (const json *layers = fields.find("layers")) {
    if (!layers->is_array() || layers->empty() ||
        !std::ranges::all_of(*layers, [](const json &l) { return l.is_number_integer(); }))
      return fail("layers: " + shortText(*layers) + " is no list of indices");
    rule.layers = layers->get<std::vector<int64_t>>();
  }
  QUANT_TRY_ASSIGN(rule.decision, readDecision(fields));
  if (rule.patterns.empty())
    return fail("match: names nothing");
  return rule;
}

Result<Policy> convert::parsePolicy(const json &text, const std::string &name) {
  Policy policy{name, {}, {}};
  auto inFile = [&](const Error &error, const std::string &part) { return tl::unexpected(error.in(part).in(printable(name))); };
  if (!text.is_object())
    return fail(printable(name) + ": " + shortText(text) + " is not an object with \"rules\"");
  if (auto known = checkKeys(text, {"default", "rules"}); !known)
    return tl::unexpected(known.error().in(printable(name)));
  if (text.contains("default")) {
    auto known = text["default"].is_object() ? checkKeys(text["default"], {"scheme", "group_size", "zero_points"})
                                             : Result<void>(fail("is not an object"));
    if (!known)
      return inFile(known.error(), "default");
    ObjectReader fields(text["default"]);
    auto decision = readDecision(fields);
    if (!decision)
      return inFile(decision.error(), "default");
    policy.otherwise = *decision;
  }
  if (text.contains("rules") && !text["rules"].is_array())
    return fail(printable(name) + ": rules: " + shortText(text["rules"]) + " is no list");
  for (const json &item : text.value("rules", json::array())) {
    auto rule = readRule(item);
    if (!rule)
      return inFile(rule.error(), fmt::format("rule {}", policy.rules.size() + 1));
    policy.rules.push_back(std::move(*rule));
  }
  return policy;
}

Result<Policy> convert::readPolicy(const std::string &presetOrFile) {
  for (const Preset &preset : kPresets)
    if (presetOrFile == preset.name)
      return parsePolicy(json::parse(preset.text), presetOrFile);
  std::error_code ignored;
  if (!std::filesystem::exists(presetOrFile, ignored))
    return fail(fmt::format("{}: is no file, and none of the presets\n{}", printable(presetOrFile), describePresets()));
  QUANT_TRY_ASSIGN(json text, checkpoint::readJsonFile(presetOrFile, kMaxPolicyBytes));
  return parsePolicy(text, presetOrFile);
}

//===----------------------------------------------------------------------===//
// Deciding
//===----------------------------------------------------------------------===//

/// -1 where a module is in none.
static int64_t layerOf(std::string_view module) { return tools::numberAfter(module, "layers"); }

static bool names(const PolicyRule &rule, const QuantizationConfig &patterns, const std::string &module, int64_t layerCount) {
  int64_t layer = layerOf(module);
  bool isLayer = rule.layers.empty() || std::ranges::any_of(rule.layers, [&](int64_t asked) {
                   return layer == (asked < 0 ? layerCount + asked : asked);
                 });
  return isLayer && patterns.schemeOf(module) == nullptr;
}

Result<Decisions> convert::applyPolicy(const Policy &policy, const std::set<std::string, std::less<>> &modules,
                                       int64_t layerCount) {
  Decisions decisions;
  std::map<std::string, size_t> decidedBy;
  for (size_t i = 0; i < policy.rules.size(); ++i) {
    const PolicyRule &rule = policy.rules[i];
    QuantizationConfig patterns{everyLinear(deepSeekFp8()), rule.patterns};
    if (auto checked = patterns.checkExpressions(); !checked)
      return tl::unexpected(checked.error().in(fmt::format("rule {}", i + 1)).in(printable(policy.name)));
    size_t named = 0, decided = 0;
    std::string first;
    for (const std::string &module : modules) {
      if (!names(rule, patterns, module, layerCount))
        continue;
      first = first.empty() ? module : first;
      ++named;
      if (decidedBy.emplace(module, i).second) {
        decisions[module] = rule.decision;
        ++decided;
      }
    }
    if (named == 0)
      return fail(fmt::format("{}: rule {} ({}) names no layer that can be quantized; those are called as in "
                              "model.layers.3.self_attn.o_proj; norms, router, embedding and head stay as they are anyway",
                              printable(policy.name), i + 1, printable(rule.patterns.front())));
    if (decided == 0)
      return fail(fmt::format("{}: rule {} ({}) contradicts those before it: of the {} layers that it names each is decided "
                              "already, {} by rule {}; put the narrower rule first",
                              printable(policy.name), i + 1, printable(rule.patterns.front()), named, first,
                              decidedBy[first] + 1));
  }
  for (const std::string &module : modules)
    if (!decidedBy.contains(module))
      decisions[module] = policy.otherwise;
  return decisions;
}

//===----------------------------------------------------------------------===//
// What engines ask
//===----------------------------------------------------------------------===//

static std::string describeDecision(const Decision &decision) {
  if (!decision)
    return "kept as it is";
  return decision->name + (decision->groupSize ? fmt::format(" (group size {})", decision->groupSize) : "") +
         (decision->zeroPoints ? " with zero points" : "");
}

/// Layers of one of these groups have to be alike: the name of the group that a layer is in, "" for none.
static std::string fusionOf(const std::string &module) {
  auto in = [&](std::string_view part) { return module.find(part) != module.npos; };
  auto upTo = [&](std::string_view part) { return module.substr(0, module.rfind(part)); };
  if (in(".experts."))
    return upTo(".experts.") + ".experts";
  for (std::string_view part : {".q_a_proj", ".kv_a_proj_with_mqa"})
    if (module.ends_with(part))
      return upTo(part) + " a";
  for (std::string_view part : {".gate_proj", ".up_proj"})
    if (module.ends_with(part))
      return upTo(part) + " gate_up";
  return "";
}

Result<void> convert::checkFusions(const Decisions &decisions) {
  std::map<std::string, const Decisions::value_type *> firsts;
  for (const auto &entry : decisions) {
    std::string fusion = fusionOf(entry.first);
    if (fusion.empty())
      continue;
    const auto *first = firsts.emplace(fusion, &entry).first->second;
    if (first->second != entry.second)
      return fail(fmt::format("{} is to be {}, {} {}: engines read them as one, and refuse to mix (vLLM: \"Found different "
                              "quantization schemes for the shards\"); give both the same scheme",
                              first->first, describeDecision(first->second), entry.first, describeDecision(entry.second)));
  }
  return {};
}

std::vector<std::string> convert::engineNotes(const Decisions &decisions) {
  bool isPackedKvB = false, isNarrowA = false;
  for (const auto &[module, decision] : decisions) {
    bool isPacked =
        decision && (decision->name.starts_with("w4") || decision->name == "w8a16" || decision->name.ends_with("fp4"));
    isPackedKvB |= isPacked && module.ends_with(".kv_b_proj");
    isNarrowA |= isPacked && module.ends_with(".q_a_proj");
  }
  std::vector<std::string> notes;
  if (isPackedKvB)
    notes.emplace_back(
        "kv_b_proj is stored in packed words, which SGLang does not read (MLA absorbs it): keep it, or take w8a8 or "
        "an FP8 scheme");
  if (isNarrowA)
    notes.emplace_back("q_a_proj and kv_a_proj_with_mqa are stored in packed words, which SGLang joins the wrong way");
  return notes;
}

//===----------------------------------------------------------------------===//
// Names
//===----------------------------------------------------------------------===//

namespace {
/// Of a kind: the modules, and the layers that have all of theirs chosen.
struct KindMembers {
  std::map<int64_t, std::pair<size_t, size_t>> layers; ///< how many there are, how many are chosen
  std::vector<std::string> chosen;

  bool isWhole() const {
    return std::ranges::all_of(layers, [](const auto &layer) { return layer.second.first == layer.second.second; });
  }
};
} // namespace

/// The kind as an expression, with `layer` for the layer's number.
static std::string expressionOf(const std::string &kind, const std::string &layer) {
  std::string result(kExpression);
  bool isLayer = true;
  for (char c : kind)
    if (c == '*')
      result += std::exchange(isLayer, false) ? layer : "\\d+";
    else
      result += c == '.' ? "\\." : std::string(1, c);
  return result + "$";
}

static void addNames(const std::string &kind, const KindMembers &members, std::vector<std::string> &names) {
  if (members.chosen.empty())
    return;
  if (members.layers.size() == 1 && members.layers.begin()->second.first == 1) {
    names.push_back(members.chosen.front());
    return;
  }
  if (members.isWhole()) {
    names.push_back(expressionOf(kind, "\\d+"));
    return;
  }
  std::string whole;
  for (const auto &[layer, counts] : members.layers)
    if (counts.first == counts.second)
      whole += (whole.empty() ? "" : "|") + std::to_string(layer);
  if (!whole.empty())
    names.push_back(expressionOf(kind, "(" + whole + ")"));
  for (const std::string &module : members.chosen)
    if (const auto &counts = members.layers.at(layerOf(module)); counts.first != counts.second)
      names.push_back(module);
}

std::vector<std::string> convert::namesFor(const std::set<std::string, std::less<>> &chosen,
                                           const std::set<std::string, std::less<>> &all) {
  std::map<std::string, KindMembers> kinds;
  for (const std::string &module : all) {
    KindMembers &members = kinds[tools::nameOfKind(module)];
    auto &[count, taken] = members.layers[layerOf(module)];
    ++count;
    if (chosen.contains(module)) {
      ++taken;
      members.chosen.push_back(module);
    }
  }
  std::vector<std::string> names;
  for (const auto &[kind, members] : kinds)
    addNames(kind, members, names);
  return names;
}
