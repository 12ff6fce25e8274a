//===- split_pattern.h - a regular expression that splits text  -*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_TOOLS_TEXT_SPLIT_PATTERN_H
#define QUANT_TOOLS_TEXT_SPLIT_PATTERN_H

#include "runtime/support/result.h"

#include <memory>
#include <string>
#include <string_view>

struct pcre2_real_code_8;
struct pcre2_real_match_data_8;
struct pcre2_real_match_context_8;
struct pcre2_real_jit_stack_8;

namespace quant::text {

/// Fails, naming the construct, where a pattern of Oniguruma's syntax, in which tokenizer.json is written, could mean something
/// else to PCRE2: what is allowed are literals, classes without classes or `&&` in them, `\s \S \d \r \n \t \f`, `\p{X}` of
/// general categories, alternation, groups, lookaround, `^`, `$`, `.`, and quantifiers.
Result<void> checkPatternSyntax(std::string_view pattern);

/// A compiled pattern; copies share it. PCRE2, Unicode properties on, with its just-in-time compiler where the machine allows
/// that.
class SplitPattern {
public:
  /// `pattern` in Oniguruma's syntax. Errors: checkPatternSyntax, and those of compile.
  static Result<SplitPattern> create(std::string_view pattern);
  /// `pattern` in PCRE2's syntax. Errors: what PCRE2 refuses, and a pattern that matches nothing at all (the empty text), which
  /// would split between any two characters.
  static Result<SplitPattern> compile(std::string_view pattern);

private:
  friend class PatternMatcher;
  std::shared_ptr<pcre2_real_code_8> code;
  bool compiled = false; ///< to machine code
};

/// Finds a pattern in texts. One thread at a time may use it.
class PatternMatcher {
public:
  explicit PatternMatcher(const SplitPattern &pattern);

  /// Moves `begin` and `end` to the first match in `text`, which is well-formed UTF-8, at or behind `begin`. False: there is
  /// none. What is before `begin` is seen by lookbehind. Errors: the pattern backtracks beyond PCRE2's limits.
  Result<bool> next(std::string_view text, size_t &begin, size_t &end);

private:
  SplitPattern pattern;
  std::shared_ptr<pcre2_real_match_data_8> match;
  std::shared_ptr<pcre2_real_jit_stack_8> stack;
  std::shared_ptr<pcre2_real_match_context_8> context;
};

} // namespace quant::text

#endif // QUANT_TOOLS_TEXT_SPLIT_PATTERN_H
