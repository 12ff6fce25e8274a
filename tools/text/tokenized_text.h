//===- tokenized_text.h - a text as token ids -------------------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_TOOLS_TEXT_TOKENIZED_TEXT_H
#define QUANT_TOOLS_TEXT_TOKENIZED_TEXT_H

#include "runtime/support/result.h"

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace quant::text {

/// A tokenized text.
struct TokenizedText {
  std::vector<int32_t> tokens;
  std::optional<uint64_t> bytes; ///< of the text, for bits per byte
};

/// Reads {"tokens": [...], "bytes": N}, of which other keys are ignored and "bytes" may be missing, or the array alone. Errors:
/// no such JSON, no token, an id that is no integer of 32 bits.
Result<TokenizedText> readTokenizedText(const std::string &path);

/// A file named *.json as readTokenizedText(); any other is a text, encoded by the tokenizer in the folder `tokenizer` without
/// BOS. Errors: an empty text, a folder without a tokenizer.
Result<TokenizedText> readText(const std::filesystem::path &path, const std::filesystem::path &tokenizer);

} // namespace quant::text

#endif // QUANT_TOOLS_TEXT_TOKENIZED_TEXT_H
