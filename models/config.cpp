//===- config.cpp - the parameters of a DeepSeek-V3-family model ----------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "models/config.h"

#include <algorithm>
#include <ranges>

using namespace quant;
using namespace quant::models;

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

const Scheme *ModelConfig::schemeOf(std::string_view module) const {
  auto parts = splitAtDots(module);
  bool kept = std::ranges::any_of(modulesNotQuantized, [&](const std::string &pattern) { return namesModule(pattern, parts); });
  return scheme && !kept ? &*scheme : nullptr;
}
