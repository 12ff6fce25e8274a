//===- newer_characters.h - characters that PCRE2 does not know  -*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_TOOLS_TEXT_NEWER_CHARACTERS_H
#define QUANT_TOOLS_TEXT_NEWER_CHARACTERS_H

#include <optional>
#include <string>
#include <string_view>

namespace quant::text {

/// `text`, which is well-formed UTF-8, as regular expressions shall see it: each character that PCRE2 10.42 (Unicode 14) puts in
/// another category or script than the `tokenizers` library's Oniguruma and tiktoken's regular expressions do is replaced by one
/// of as many bytes that is what they take it for. Nothing where there is none, the usual case.
std::optional<std::string> withStandIns(std::string_view text);

} // namespace quant::text

#endif // QUANT_TOOLS_TEXT_NEWER_CHARACTERS_H
