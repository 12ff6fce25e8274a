//===- config.cpp - the parameters of a DeepSeek-V3-family model ----------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "models/config.h"

#include "models/config_fields.h"
#include "runtime/checkpoint/json_file.h"

#include <fmt/core.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <ranges>
#include <utility>

using namespace quant;
using namespace quant::models;

//===----------------------------------------------------------------------===//
// Names of the enum values
//===----------------------------------------------------------------------===//

template <typename T, size_t N>
using NameTable = std::array<std::pair<T, std::string_view>, N>;

static constexpr NameTable<ScoreFunc, 2> kScoreFuncs = {{{ScoreFunc::Sigmoid, "sigmoid"}, {ScoreFunc::Softmax, "softmax"}}};
static constexpr NameTable<TopkMethod, 3> kTopkMethods = {{{TopkMethod::NoauxTc, "noaux_tc"},
                                                           {TopkMethod::GroupLimitedGreedy, "group_limited_greedy"},
                                                           {TopkMethod::Greedy, "greedy"}}};
static constexpr NameTable<WeightDType, 3> kWeightDTypes = {
    {{WeightDType::BF16, "bf16"}, {WeightDType::FP8, "fp8"}, {WeightDType::F32, "f32"}}};
static constexpr NameTable<ScaleFmt, 2> kScaleFmts = {{{ScaleFmt::None, "none"}, {ScaleFmt::UE8M0, "ue8m0"}}};

template <typename T, size_t N>
static std::string_view nameIn(const NameTable<T, N> &table, T value) {
  return std::ranges::find(table, value, &std::pair<T, std::string_view>::first)->second;
}

template <typename T, size_t N>
static Result<T> valueIn(const NameTable<T, N> &table, std::string_view text) {
  std::string known;
  for (const auto &[value, valueName] : table) {
    if (valueName == text)
      return value;
    known += (known.empty() ? "" : ", ") + std::string(valueName);
  }
  return fail(fmt::format("\"{}\" is not supported, only {}", text, known));
}

std::string_view models::name(ScoreFunc value) { return nameIn(kScoreFuncs, value); }
std::string_view models::name(TopkMethod value) { return nameIn(kTopkMethods, value); }
std::string_view models::name(WeightDType value) { return nameIn(kWeightDTypes, value); }
std::string_view models::name(ScaleFmt value) { return nameIn(kScaleFmts, value); }

Result<ScoreFunc> models::parseScoreFunc(std::string_view text) { return valueIn(kScoreFuncs, text); }
Result<TopkMethod> models::parseTopkMethod(std::string_view text) { return valueIn(kTopkMethods, text); }
Result<WeightDType> models::parseWeightDType(std::string_view text) { return valueIn(kWeightDTypes, text); }
Result<ScaleFmt> models::parseScaleFmt(std::string_view text) { return valueIn(kScaleFmts, text); }

//===----------------------------------------------------------------------===//
// Names of the fields
//===----------------------------------------------------------------------===//

std::string FieldNames::operator()(std::string_view deepSeekName) const {
  std::string_view found = deepSeekName;
  if (style == NameStyle::HuggingFace) {
    for (const auto &field : kIntFields)
      if (field.deepSeek == deepSeekName && !field.huggingFace.empty())
        found = field.huggingFace;
    for (const auto &field : kRealFields)
      if (field.deepSeek == deepSeekName)
        found = field.huggingFace;
    if (deepSeekName == "score_func")
      found = "scoring_func";
    if (deepSeekName == "rope_attention_factor")
      found = "@attention_factor";
    if (deepSeekName == "weight_block_size" || deepSeekName == "modules_to_not_convert")
      return "quantization_config." + std::string(deepSeekName);
  }
  return found.starts_with('@') ? std::string(ropeObject) + "." + std::string(found.substr(1)) : std::string(found);
}

//===----------------------------------------------------------------------===//
// Which modules are quantized
//===----------------------------------------------------------------------===//

static std::vector<std::string_view> splitAtDots(std::string_view text) {
  std::vector<std::string_view> parts;
  for (auto part : std::views::split(text, '.'))
    if (!part.empty())
      parts.emplace_back(part.begin(), part.end());
  return parts;
}

/// `pattern`'s parts are a run of `module`'s, `*` being any part. Trailing stars and dots add nothing.
static bool namesModule(std::string_view pattern, const std::vector<std::string_view> &module) {
  while (pattern.ends_with('*') || pattern.ends_with('.'))
    pattern.remove_suffix(1);
  auto same = [](std::string_view part, std::string_view want) { return want == "*" || part == want; };
  return !std::ranges::search(module, splitAtDots(pattern), same).empty();
}

bool ModelConfig::isQuantized(std::string_view module) const {
  if (dtype != WeightDType::FP8)
    return false;
  auto parts = splitAtDots(module);
  return std::ranges::none_of(modulesNotQuantized, [&](const std::string &pattern) { return namesModule(pattern, parts); });
}

//===----------------------------------------------------------------------===//
// Files
//===----------------------------------------------------------------------===//

/// A configuration is a few kilobytes; more is another file.
static constexpr uint64_t kMaxConfigBytes = 16 << 20;

Result<ModelConfig> models::loadConfig(const std::filesystem::path &fileOrDir) {
  std::error_code ignored;
  auto file = std::filesystem::is_directory(fileOrDir, ignored) ? fileOrDir / "config.json" : fileOrDir;
  QUANT_TRY_ASSIGN(auto json, checkpoint::readJsonFile(file, kMaxConfigBytes));
  auto config = parseConfig(json);
  if (!config)
    return tl::unexpected(config.error().in(file.string()));
  return config;
}
