//===- config.cpp - the parameters of a DeepSeek-V3-family model ----------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "models/config.h"

#include <algorithm>
#include <map>
#include <ranges>
#include <regex>

using namespace quant;
using namespace quant::models;

static std::vector<std::string_view> splitAtDots(std::string_view text) {
  std::vector<std::string_view> parts;
  for (auto part : std::views::split(text, '.'))
    if (!part.empty())
      parts.emplace_back(part.begin(), part.end());
  return parts;
}

/// As Python's re.match: from the name's beginning. Patterns are few and modules many, so that each is compiled once.
static bool matchesExpression(const std::string &expression, std::string_view module) {
  thread_local std::map<std::string, std::regex> compiled;
  auto found = compiled.find(expression);
  if (found == compiled.end())
    found = compiled.emplace(expression, std::regex(expression, std::regex::ECMAScript | std::regex::optimize)).first;
  return std::regex_search(module.begin(), module.end(), found->second, std::regex_constants::match_continuous);
}

/// `pattern`'s parts are a run of `module`'s, `*` being any part. Trailing stars and dots add nothing.
static bool namesModule(std::string_view pattern, const std::vector<std::string_view> &module) {
  while (pattern.ends_with('*') || pattern.ends_with('.'))
    pattern.remove_suffix(1);
  auto same = [](std::string_view part, std::string_view want) { return want == "*" || part == want; };
  return !std::ranges::search(module, splitAtDots(pattern), same).empty();
}

const Scheme *ModelConfig::schemeOf(std::string_view module) const {
  if (!scheme)
    return nullptr;
  auto parts = splitAtDots(module);
  bool kept = std::ranges::any_of(modulesNotQuantized, [&](const std::string &pattern) {
    return pattern.starts_with("re:") ? matchesExpression(pattern.substr(3), module) : namesModule(pattern, parts);
  });
  return kept ? nullptr : &*scheme;
}
