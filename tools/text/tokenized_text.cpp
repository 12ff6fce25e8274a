//===- tokenized_text.cpp - a text as token ids ---------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/text/tokenized_text.h"

#include "runtime/checkpoint/file.h"
#include "runtime/checkpoint/json_file.h"
#include "runtime/support/text.h"
#include "tools/text/tokenizer.h"

#include <fmt/core.h>

using namespace quant;
using namespace quant::text;
using nlohmann::json;

static constexpr uint64_t kMaxTextBytes = uint64_t{1} << 30;

Result<TokenizedText> text::readTokenizedText(const std::string &path) {
  QUANT_TRY_ASSIGN(json read, checkpoint::readJsonFile(path, kMaxTextBytes));
  auto wrong = [&](const std::string &what) { return fail(printable(path) + ": " + what); };
  const json tokens = read.is_object() ? read.value("tokens", json()) : read;
  if (!tokens.is_array() || tokens.empty())
    return wrong("holds no tokens: an array of ids is expected, or an object with one as \"tokens\"");
  TokenizedText text;
  for (const json &token : tokens) {
    if (!token.is_number_integer() || token < INT32_MIN || token > INT32_MAX)
      return wrong(fmt::format("token {} is {}, no integer of 32 bits", text.tokens.size(), token.dump()));
    text.tokens.push_back(token.get<int32_t>());
  }
  if (read.is_object() && read.contains("bytes")) {
    if (!read["bytes"].is_number_unsigned() || read["bytes"] == 0)
      return wrong("\"bytes\" is " + read["bytes"].dump() + ", not the size of the text, a positive integer");
    text.bytes = read["bytes"].get<uint64_t>();
  }
  return text;
}

Result<TokenizedText> text::readText(const std::filesystem::path &path, const std::filesystem::path &tokenizer) {
  if (path.extension() == ".json")
    return readTokenizedText(path.string());
  QUANT_TRY_ASSIGN(std::string read, checkpoint::readFile(path, kMaxTextBytes));
  QUANT_TRY_ASSIGN(auto shared, Tokenizer::read(tokenizer));
  TokenizedText result;
  QUANT_TRY_ASSIGN(result.tokens, Encoder(shared).encode(read));
  if (result.tokens.empty())
    return fail(printable(path.native()) + ": is empty");
  result.bytes = read.size();
  return result;
}
