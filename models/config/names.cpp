//===- names.cpp - the enum values of a configuration as words ------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "models/config/names.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <utility>

using namespace quant;
using namespace quant::models;

template <typename T, size_t N>
using NameTable = std::array<std::pair<T, std::string_view>, N>;

static constexpr NameTable<ScoreFunc, 2> kScoreFuncs = {{{ScoreFunc::Sigmoid, "sigmoid"}, {ScoreFunc::Softmax, "softmax"}}};
static constexpr NameTable<TopkMethod, 3> kTopkMethods = {{{TopkMethod::NoauxTc, "noaux_tc"},
                                                           {TopkMethod::GroupLimitedGreedy, "group_limited_greedy"},
                                                           {TopkMethod::Greedy, "greedy"}}};

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

std::string_view models::storageName(const ModelConfig &config) {
  DType codes = config.quantization.mainScheme().element;
  if (config.isQuantized())
    return isFp8(codes) ? "fp8" : mlirName(codes);
  return config.plain == DType::F32 ? "f32" : config.plain == DType::F16 ? "f16" : "bf16";
}

Result<ScoreFunc> models::parseScoreFunc(std::string_view text) { return valueIn(kScoreFuncs, text); }
Result<TopkMethod> models::parseTopkMethod(std::string_view text) { return valueIn(kTopkMethods, text); }
