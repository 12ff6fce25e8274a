//===- scheme_match.cpp - the scheme of a linear layer --------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "models/config/scheme_config.h"

#include "runtime/support/text.h"

#include <fmt/core.h>

#include <algorithm>
#include <map>
#include <ranges>
#include <regex>

namespace quant {

static std::vector<std::string_view> splitAtDots(std::string_view text) {
  std::vector<std::string_view> parts;
  for (auto part : std::views::split(text, '.'))
    if (!part.empty())
      parts.emplace_back(part.begin(), part.end());
  return parts;
}

/// As Python's re.match: from the name's beginning. Patterns are few and modules many, so that each is compiled once.
static bool matchesExpression(std::string_view pattern, std::string_view module) {
  thread_local std::map<std::string, std::regex, std::less<>> compiled;
  auto found = compiled.find(pattern);
  if (found == compiled.end())
    found =
        compiled.emplace(pattern, std::regex(pattern.begin() + 3, pattern.end(), std::regex::ECMAScript | std::regex::optimize))
            .first;
  return std::regex_search(module.begin(), module.end(), found->second, std::regex_constants::match_continuous);
}

/// `pattern`'s parts are a run of `module`'s, `*` being any part. Trailing stars and dots add nothing.
static bool namesModule(std::string_view pattern, const std::vector<std::string_view> &module) {
  while (pattern.ends_with('*') || pattern.ends_with('.'))
    pattern.remove_suffix(1);
  auto same = [](std::string_view part, std::string_view want) { return want == "*" || part == want; };
  return !std::ranges::search(module, splitAtDots(pattern), same).empty();
}

std::vector<SchemeGroup> everyLinear(const Scheme &scheme) { return {{{std::string(kEveryLinear)}, scheme}}; }

Scheme QuantizationConfig::mainScheme() const { return groups.empty() ? deepSeekFp8() : groups.front().scheme; }

const Scheme *QuantizationConfig::schemeOf(std::string_view module) const {
  auto parts = splitAtDots(module);
  bool kept = !groups.empty() && std::ranges::any_of(notQuantized, [&](const std::string &pattern) {
    return pattern.starts_with(kExpression) ? matchesExpression(pattern, module) : namesModule(pattern, parts);
  });
  if (kept)
    return nullptr;
  auto isName = [&](const std::string &target) { return target == module; };
  auto isExpression = [&](const std::string &target) {
    return target.starts_with(kExpression) && matchesExpression(target, module);
  };
  auto isClass = [&](const std::string &target) { return target == kEveryLinear; };
  auto find = [&](const auto &matches) -> const Scheme * {
    auto found =
        std::ranges::find_if(groups, [&](const SchemeGroup &group) { return std::ranges::any_of(group.targets, matches); });
    return found == groups.end() ? nullptr : &found->scheme;
  };
  const Scheme *scheme = find(isName);
  scheme = scheme ? scheme : find(isExpression);
  return scheme ? scheme : find(isClass);
}

Result<void> QuantizationConfig::checkExpressions() const {
  auto check = [](std::string_view key, const std::vector<std::string> &patterns) -> Result<void> {
    for (const std::string &pattern : patterns)
      if (pattern.starts_with(kExpression))
        try {
          static_cast<void>(std::regex(pattern.substr(kExpression.size())));
        } catch (const std::regex_error &error) {
          return fail(fmt::format("{}: \"{}\" is no regular expression: {}", key, printable(pattern), error.what()));
        }
    return {};
  };
  for (const SchemeGroup &group : groups)
    QUANT_TRY(check("targets", group.targets));
  return check("ignore", notQuantized);
}

} // namespace quant
