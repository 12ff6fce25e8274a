//===- fuzz_tokenizer.cpp - fuzzes texts and tokenizers' files ------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/checkpoint/file.h"
#include "runtime/checkpoint/json_file.h"
#include "tools/text/tokenizer.h"
#include "tools/text/utf8.h"

#include <nlohmann/json.hpp>

#include <cstdio>
#include <cstdlib>

using namespace quant;
using namespace quant::text;

static void require(bool condition, const char *what) {
  if (condition)
    return;
  std::fprintf(stderr, "fuzz_tokenizer: %s\n", what);
  std::abort();
}

/// Texts come back, whole and token by token; words that were seen before give what they gave.
static void useText(Encoder &encoder, std::string_view input) {
  auto tokens = encoder.encode(input), again = encoder.encode(input);
  if (!tokens)
    return;
  require(again && *again == *tokens, "the second time there are other tokens");
  std::string text = decode(encoder.tokenizer(), *tokens, false);
  require(text == utf8Replaced(input), "decoding gives another text");
  StreamDecoder decoder(std::make_shared<Tokenizer>(encoder.tokenizer()), false);
  std::string streamed;
  for (int32_t token : *tokens)
    streamed += decoder.push(token);
  require(streamed + decoder.finish() == text, "streaming gives another text");
}

/// Lines behind those of a tiktoken.model.
static void useLines(const std::string &model, const nlohmann::json &config, std::string_view lines) {
  auto tokenizer = Tokenizer::parseTiktoken(model + std::string(lines), config);
  if (!tokenizer)
    return;
  Encoder encoder(*tokenizer);
  useText(encoder, "Hello, World's 123! 你好 abc中\n\n  <|im_end|>");
}

/// A '{' begins a patch of models/tiny's tokenizer.json (RFC 7396), a '#' lines of a tiktoken.model; all else is a text for both.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static const nlohmann::json tiny = *checkpoint::readJsonFile(QUANT_TINY "/tokenizer.json", 16 << 20);
  static Encoder encoder(*Tokenizer::parse(tiny));
  std::string_view input(reinterpret_cast<const char *>(data), size);
  static const std::string model = *checkpoint::readFile(QUANT_TEXT_GOLDEN "/tiktoken/tiktoken.model", 16 << 20);
  static const nlohmann::json config = *checkpoint::readJsonFile(QUANT_TEXT_GOLDEN "/tiktoken/tokenizer_config.json", 16 << 20);
  static Encoder tiktoken(*Tokenizer::parseTiktoken(model, config));
  if (input.starts_with("#")) {
    useLines(model, config, input.substr(1));
    return 0;
  }
  if (!input.starts_with("{")) {
    useText(encoder, input);
    useText(tiktoken, input);
    return 0;
  }
  auto patch = checkpoint::parseJsonStrict(input);
  if (!patch)
    return 0;
  nlohmann::json file = tiny;
  file.merge_patch(*patch);
  auto tokenizer = Tokenizer::parse(file);
  if (!tokenizer)
    return 0;
  Encoder other(*tokenizer);
  (void)other.encode("Hello, world 123! 你好\n\n  <｜User｜>");
  return 0;
}
