//===- long_runs.h - where a long text is cut ----------------- -*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_TOOLS_TEXT_LONG_RUNS_H
#define QUANT_TOOLS_TEXT_LONG_RUNS_H

#include <cstddef>
#include <string_view>
#include <vector>

namespace quant::text {

/// The ends of the parts that a text, well-formed UTF-8, is cut into before anything else by the tokenizers of Kimi-K2 and
/// Moonlight (tokenization_kimi.py, tokenization_moonshot.py): parts of 400,000 characters, and in them runs of 25,000 characters
/// that are white space (as Python's str.isspace has it), or are none. The last end is the text's; an empty text has none.
std::vector<size_t> endsOfParts(std::string_view text);

} // namespace quant::text

#endif // QUANT_TOOLS_TEXT_LONG_RUNS_H
