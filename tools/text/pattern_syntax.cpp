//===- pattern_syntax.cpp - what Oniguruma and PCRE2 both understand ------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/text/split_pattern.h"

#include "runtime/support/text.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <cctype>

namespace quant::text {
namespace {

/// Walks a pattern and stops at the first thing that is not known to mean the same to both.
class SyntaxCheck {
public:
  explicit SyntaxCheck(std::string_view pattern) : pattern(pattern) {}

  Result<void> run() {
    while (at < pattern.size())
      QUANT_TRY(item());
    return {};
  }

private:
  bool sees(std::string_view text) const { return pattern.substr(at).starts_with(text); }

  tl::unexpected<Error> refuse(std::string_view what) const {
    return fail(fmt::format("pattern {}: {} at byte {} is not read", quote(pattern), quote(what), at));
  }

  Result<void> item() {
    switch (pattern[at]) {
    case '\\':
      return escape();
    case '[':
      return bracket();
    case '(':
      return group();
    case '?':
    case '*':
    case '+':
      at += sees("?+") || sees("*+") || sees("++") || sees("??") || sees("*?") || sees("+?") ? 2 : 1;
      return {};
    case '{':
      return counted();
    default:
      ++at;
      return {};
    }
  }

  /// `(`, `(?:`, `(?=`, `(?!`, `(?<=`, `(?<!`: other groups set options, or are named.
  Result<void> group() {
    ++at;
    if (sees("*"))
      return refuse("(*");
    if (!sees("?"))
      return {};
    for (std::string_view known : {"?:", "?=", "?!", "?<=", "?<!"})
      if (sees(known)) {
        at += known.size();
        return {};
      }
    return refuse(std::string("(") + std::string(pattern.substr(at, 2)));
  }

  /// `{2}`, `{2,}` and `{2,3}`; what may stand behind it differs.
  Result<void> counted() {
    size_t end = at + 1, commas = 0;
    while (end < pattern.size() && (std::isdigit(static_cast<unsigned char>(pattern[end])) || pattern[end] == ','))
      commas += pattern[end++] == ',';
    if (end == pattern.size() || pattern[end] != '}' || commas > 1 || end == at + 1 || pattern[at + 1] == ',')
      return refuse("{");
    at = end + 1;
    return sees("+") || sees("?") ? Result<void>(refuse(pattern.substr(at, 1))) : Result<void>();
  }

  Result<void> escape() {
    char next = at + 1 < pattern.size() ? pattern[at + 1] : '\0';
    if (next == 'p')
      return property();
    constexpr std::string_view kLetters = "sSdrntf";
    if (std::isalnum(static_cast<unsigned char>(next)) ? kLetters.find(next) == kLetters.npos
                                                       : !std::ispunct(static_cast<unsigned char>(next)))
      return refuse(pattern.substr(at, 2));
    at += 2;
    return {};
  }

  /// `\p{L}`, `\p{Lu}`: general categories.
  Result<void> property() {
    constexpr std::array<std::string_view, 33> kCategories = {"L",  "Lu", "Ll", "Lt", "Lm", "Lo", "M",  "Mn", "Mc", "Me", "N",
                                                              "Nd", "Nl", "No", "P",  "Pc", "Pd", "Ps", "Pe", "Pi", "Pf", "Po",
                                                              "S",  "Sm", "Sc", "Sk", "So", "Z",  "Zs", "Zl", "Zp", "Cc", "Cf"};
    size_t end = pattern.find('}', at);
    std::string_view whole = pattern.substr(at, end == pattern.npos ? end : end + 1 - at);
    if (end == pattern.npos || !whole.starts_with("\\p{") ||
        std::ranges::find(kCategories, whole.substr(3, whole.size() - 4)) == kCategories.end())
      return refuse(whole);
    at = end + 1;
    return {};
  }

  Result<void> bracket() {
    at += sees("[^") ? 2 : 1;
    for (size_t first = at; at < pattern.size();) {
      if (pattern[at] == ']' && at > first) {
        ++at;
        return {};
      }
      // Classes in classes, intersections, and a bracket that stands for itself are read differently.
      for (std::string_view other : {"[", "]", "&&"})
        if (sees(other))
          return refuse(other);
      if (pattern[at] != '\\')
        ++at;
      else
        QUANT_TRY(escape());
    }
    return refuse("[");
  }

  std::string_view pattern;
  size_t at = 0;
};

} // namespace

Result<void> checkPatternSyntax(std::string_view pattern) { return SyntaxCheck(pattern).run(); }

} // namespace quant::text
