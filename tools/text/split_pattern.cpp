//===- split_pattern.cpp - a regular expression that splits text ----------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/text/split_pattern.h"

#include "runtime/support/text.h"

#include <fmt/core.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

namespace quant::text {

static std::string messageOf(int code) {
  PCRE2_UCHAR buffer[256];
  pcre2_get_error_message(code, buffer, sizeof buffer);
  return reinterpret_cast<const char *>(buffer);
}

Result<SplitPattern> SplitPattern::create(std::string_view pattern) {
  QUANT_TRY(checkPatternSyntax(pattern));
  return compile(pattern);
}

Result<SplitPattern> SplitPattern::compile(std::string_view pattern) {
  std::shared_ptr<pcre2_compile_context> context(pcre2_compile_context_create(nullptr), pcre2_compile_context_free);
  pcre2_set_newline(context.get(), PCRE2_NEWLINE_LF);
  pcre2_set_parens_nest_limit(context.get(), 50);
  int code = 0;
  PCRE2_SIZE offset = 0;
  // Oniguruma's ^ and $ are those of lines.
  constexpr uint32_t options = PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C;
  pcre2_code *raw =
      pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(), options, &code, &offset, context.get());
  if (!raw)
    return fail(fmt::format("pattern {}: {} at byte {}", quote(pattern), messageOf(code), offset));
  SplitPattern result;
  result.code.reset(raw, pcre2_code_free);
  uint32_t matchesEmpty = 0;
  pcre2_pattern_info(raw, PCRE2_INFO_MATCHEMPTY, &matchesEmpty);
  if (matchesEmpty)
    return fail(fmt::format("pattern {}: matches the empty text, which is not read", quote(pattern)));
  result.compiled = pcre2_jit_compile(raw, PCRE2_JIT_COMPLETE) == 0;
  return result;
}

PatternMatcher::PatternMatcher(const SplitPattern &pattern) : pattern(pattern) {
  constexpr size_t kFirstStack = 32 << 10, kLargestStack = 4 << 20;
  match.reset(pcre2_match_data_create(1, nullptr), pcre2_match_data_free);
  context.reset(pcre2_match_context_create(nullptr), pcre2_match_context_free);
  stack.reset(pcre2_jit_stack_create(kFirstStack, kLargestStack, nullptr), pcre2_jit_stack_free);
  pcre2_jit_stack_assign(context.get(), nullptr, stack.get());
}

Result<bool> PatternMatcher::next(std::string_view text, size_t &begin, size_t &end) {
  auto *subject = reinterpret_cast<PCRE2_SPTR>(text.data());
  int found = pattern.compiled
                  ? pcre2_jit_match(pattern.code.get(), subject, text.size(), begin, 0, match.get(), context.get())
                  : pcre2_match(pattern.code.get(), subject, text.size(), begin, PCRE2_NO_UTF_CHECK, match.get(), context.get());
  if (found == PCRE2_ERROR_NOMATCH)
    return false;
  if (found < 0)
    return fail(fmt::format("a pattern of the pre-tokenizer fails on a text of {} bytes: {}", text.size(), messageOf(found)));
  const PCRE2_SIZE *bounds = pcre2_get_ovector_pointer(match.get());
  begin = bounds[0], end = bounds[1];
  return true;
}

} // namespace quant::text
