//===- tokenizer_test.cpp - tokenizers against goldens, and what they refuse ===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/text/tokenizer.h"
#include "tools/text/utf8.h"

#include "runtime/checkpoint/json_file.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <filesystem>
#include <fstream>
#include <iterator>

namespace quant::text {
namespace {

using nlohmann::json;

json readJson(const std::string &path) { return checkpoint::readJsonFile(path, 16 << 20).value(); }

/// models/tiny's file.
const json &tinyFile() {
  static const json file = readJson(QUANT_TINY "/tokenizer.json");
  return file;
}

std::shared_ptr<const Tokenizer> tiny() {
  static const std::shared_ptr<const Tokenizer> tokenizer = *Tokenizer::parse(tinyFile());
  return tokenizer;
}

std::string fromHex(const std::string &hex) {
  std::string bytes;
  for (size_t i = 0; i < hex.size(); i += 2)
    bytes += static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16));
  return bytes;
}

std::string streamed(const std::vector<int32_t> &tokens, bool skipSpecial) {
  StreamDecoder decoder(tiny(), skipSpecial);
  std::string text;
  for (int32_t token : tokens) {
    std::string piece = decoder.push(token);
    EXPECT_EQ(utf8Valid(piece), piece.size());
    text += piece;
  }
  return text + decoder.finish();
}

std::string refusal(const json &file) {
  auto tokenizer = Tokenizer::parse(file);
  return tokenizer ? "accepted" : tokenizer.error().message;
}

/// models/tiny's file with `value` at `path`.
json with(const char *path, const json &value) {
  json file = tinyFile();
  file[json::json_pointer(path)] = value;
  return file;
}

/// The goldens are those of the `tokenizers` library (test/interop/test_tokenizer.py --make-golden).
TEST(TokenizerTest, EqualsTheLibrary) {
  json golden = readJson(QUANT_TEXT_GOLDEN "/tiny.json");
  for (const char *name : {"v3", "v2"}) {
    Result<std::shared_ptr<const Tokenizer>> tokenizer = Tokenizer::parse(with("/pre_tokenizer", golden["pre_tokenizer"][name]));
    ASSERT_TRUE(tokenizer) << tokenizer.error().message;
    Encoder encoder(*tokenizer);
    for (const json &document : golden["documents"]) {
      auto tokens = encoder.encode(fromHex(document["hex"]));
      ASSERT_TRUE(tokens);
      EXPECT_EQ(*tokens, document[name].get<std::vector<int32_t>>()) << name << ": " << document["decoded"];
      EXPECT_EQ(decode(**tokenizer, *tokens, true), document["decoded"].get<std::string>());
      EXPECT_EQ(streamed(*tokens, true), document["decoded"].get<std::string>());
    }
  }
}

/// The tokens of the held-out text that the model's training wrote.
TEST(TokenizerTest, EncodesTheHeldOutText) {
  std::ifstream file(QUANT_TINY "/eval.txt");
  std::string text(std::istreambuf_iterator<char>(file), {});
  json tokens = readJson(QUANT_TINY "/eval.tokens.json")["tokens"];
  Encoder encoder(tiny());
  EXPECT_EQ(*encoder.encode(text), tokens.get<std::vector<int32_t>>());
  EXPECT_EQ(decode(*tiny(), *encoder.encode(text), false), text);
}

TEST(TokenizerTest, StreamsWholeCharacters) {
  Encoder encoder(tiny());
  std::vector<int32_t> tokens = *encoder.encode("\xF0\x9F\x98\x80!"); // four bytes, a token each
  ASSERT_EQ(tokens.size(), 5u);
  StreamDecoder decoder(tiny(), false);
  EXPECT_EQ(decoder.push(tokens[0]) + decoder.push(tokens[1]) + decoder.push(tokens[2]), "");
  EXPECT_EQ(decoder.push(tokens[3]), "\xF0\x9F\x98\x80");
  EXPECT_EQ(decoder.push(tokens[4]), "!");
  EXPECT_EQ(decoder.push(tokens[0]), "");
  EXPECT_EQ(decoder.push(tokens[4]), "\uFFFD!"); // the character was never completed
  EXPECT_EQ(decoder.push(tokens[0]), "");
  EXPECT_EQ(decoder.finish(), "\uFFFD");
  EXPECT_EQ(decoder.push(1'000'000) + decoder.push(-1) + decoder.finish(), ""); // ids that there are none of
}

TEST(TokenizerTest, FindsAddedTokens) {
  Encoder encoder(tiny());
  EXPECT_EQ(*encoder.encode("<｜begin▁of▁sentence｜><｜User｜>"), (std::vector<int32_t>{0, 1533}));
  EXPECT_EQ(tiny()->find("<｜User｜>"), 1533);
  EXPECT_FALSE(tiny()->find("<｜Userin｜>"));
  EXPECT_TRUE(tiny()->isSpecial(0));
  EXPECT_FALSE(tiny()->isSpecial(1533)); // added, not special
  EXPECT_EQ(decode(*tiny(), std::vector<int32_t>{0, 1533}, true), "<｜User｜>");
}

/// On both sides of the length from which a heap finds the merges, and of the longest word that is remembered.
TEST(TokenizerTest, MergesLongWords) {
  Encoder encoder(tiny());
  for (size_t bytes : {39, 40, 41, 64, 65, 5000}) {
    std::string word;
    for (size_t i = 0; i < bytes; ++i)
      word += "theandofs"[i * i % 9];
    EXPECT_EQ(decode(*tiny(), *encoder.encode(word), false), word);
  }
}

TEST(TokenizerTest, PostProcessorGivesPrefixAndSuffix) {
  json processor = {{"type", "TemplateProcessing"},
                    {"single",
                     {{{"SpecialToken", {{"id", "<｜begin▁of▁sentence｜>"}, {"type_id", 0}}}},
                      {{"Sequence", {{"id", "A"}, {"type_id", 0}}}},
                      {{"SpecialToken", {{"id", "<｜end▁of▁sentence｜>"}, {"type_id", 0}}}}}}};
  auto tokenizer = Tokenizer::parse(with("/post_processor", processor));
  ASSERT_TRUE(tokenizer) << tokenizer.error().message;
  EXPECT_EQ((*tokenizer)->prefix, std::vector<int32_t>{0});
  EXPECT_EQ((*tokenizer)->suffix, std::vector<int32_t>{1});
  processor["single"][0]["SpecialToken"]["id"] = "<s>";
  EXPECT_NE(refusal(with("/post_processor", processor)).find("is neither Sequence nor a SpecialToken of the file"),
            std::string::npos);
}

TEST(TokenizerTest, RefusesByName) {
  auto expect = [](const char *path, const json &value, const std::string &error) {
    EXPECT_EQ(refusal(with(path, value)).substr(0, error.size()), error);
  };
  const std::string steps = "/pre_tokenizer/pretokenizers";
  expect("/normalizer", {{"type", "NFC"}}, "normalizer: type 'NFC' is not read");
  expect("/normalizer/normalizers", {{{"type", "Lowercase"}}}, "normalizer 0: type 'Lowercase' is not read; known are none");
  expect("/model/type", "Unigram", "model: type 'Unigram' is not read; known are BPE");
  expect("/model/dropout", 0.5, "model: dropout: 0.5 is not supported");
  expect("/model/byte_fallback", true, "model: byte_fallback: true is not supported");
  expect("/model/colour", 1, "model: unknown key 'colour'");
  expect("/model/vocab", json::object(), "model: vocab: has no token for byte 0x00");
  expect("/model/vocab/!", 4, "model: vocab: ");
  expect("/model/merges/0", "Ġ", "model: merge 0 is \"\\u0120\", not two tokens");
  expect("/model/merges/0", "Ġ qqq", "model: merge 0: 'qqq' is not in vocab");
  expect("/truncation", json::object(), "truncation: is not read");
  expect("/added_tokens/0/lstrip", true, "added_tokens 0: lstrip: true is not supported");
  expect("/added_tokens/0/id", 5, "added_tokens: '<｜begin▁of▁sentence｜>' has id 5, but elsewhere it has 0");
  expect("/decoder", {{"type", "Metaspace"}}, "decoder: type 'Metaspace' is not read");
  expect("/pre_tokenizer", {{"type", "Whitespace"}}, "pre_tokenizer: type 'Whitespace' is not read");
  expect((steps + "/0/behavior").c_str(), "Removed", "pre_tokenizer 0: behavior: \"Removed\" is not supported");
  expect((steps + "/3/use_regex").c_str(), true, "pre_tokenizer 3: use_regex: true is not supported");
  expect((steps + "/0/pattern").c_str(), {{"String", " "}}, "pre_tokenizer 0: pattern: 'Regex' is missing");
  json noBytes = tinyFile();
  noBytes["pre_tokenizer"]["pretokenizers"].erase(3);
  EXPECT_EQ(refusal(noBytes), "pre_tokenizer: has no ByteLevel; only byte-level BPE is read");
  EXPECT_EQ(refusal(json::array()), "is no JSON object");
}

TEST(TokenizerTest, NamesTheMissingFile) {
  auto missing = Tokenizer::read("/nonexistent");
  EXPECT_EQ(missing.error().message, "/nonexistent: is missing; copy it from where the checkpoint came from");
}

TEST(SplitPatternTest, RefusesWhatTheTwoSyntaxesReadDifferently) {
  auto error = [](const char *pattern) {
    auto split = SplitPattern::create(pattern);
    return split ? std::string("accepted") : split.error().message;
  };
  EXPECT_EQ(error("\\hx"), "pattern '\\hx': '\\h' at byte 0 is not read");
  EXPECT_EQ(error("a\\w"), "pattern 'a\\w': '\\w' at byte 1 is not read");
  EXPECT_EQ(error("[a[b]]"), "pattern '[a[b]]': '[' at byte 2 is not read");
  EXPECT_EQ(error("[a&&b]"), "pattern '[a&&b]': '&&' at byte 2 is not read");
  EXPECT_EQ(error("[]a]"), "pattern '[]a]': ']' at byte 1 is not read");
  EXPECT_EQ(error("(?i:a)"), "pattern '(?i:a)': '(?i' at byte 1 is not read");
  EXPECT_EQ(error("\\p{Han}"), "pattern '\\p{Han}': '\\p{Han}' at byte 0 is not read");
  EXPECT_EQ(error("a{2}+"), "pattern 'a{2}+': '+' at byte 4 is not read");
  EXPECT_EQ(error("a{,2}"), "pattern 'a{,2}': '{' at byte 1 is not read");
  EXPECT_EQ(error("[a"), "pattern '[a': '[' at byte 2 is not read");
  EXPECT_EQ(error("a*"), "pattern 'a*': matches the empty text, which is not read");
  EXPECT_EQ(error("(a"), "pattern '(a': missing closing parenthesis at byte 2");
  EXPECT_EQ(error("(?:a|\\p{Lu})++[^\\s\\d](?!b)(?<=c).{1,3}$"), "accepted");
}

} // namespace
} // namespace quant::text
