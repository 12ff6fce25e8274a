//===- tokenizer_test.cpp - tokenizers against goldens, and what they refuse ===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/text/long_runs.h"
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

/// The goldens are those of the `tiktoken` library (test/interop/test_tiktoken.py --make-golden).
TEST(TiktokenTest, EqualsTheLibrary) {
  auto tokenizer = Tokenizer::read(QUANT_TEXT_GOLDEN "/tiktoken");
  ASSERT_TRUE(tokenizer) << tokenizer.error().message;
  Encoder encoder(*tokenizer);
  for (const json &document : readJson(QUANT_TEXT_GOLDEN "/tiktoken/documents.json")) {
    std::string text = fromHex(document["hex"]);
    auto tokens = encoder.encode(text);
    ASSERT_TRUE(tokens);
    EXPECT_EQ(*tokens, document["tokens"].get<std::vector<int32_t>>()) << text;
    EXPECT_EQ(decode(**tokenizer, *tokens, false), utf8Replaced(text));
  }
}

TEST(TiktokenTest, NamesSpecialTokens) {
  std::shared_ptr<const Tokenizer> tokenizer = *Tokenizer::read(QUANT_TEXT_GOLDEN "/tiktoken");
  EXPECT_EQ(tokenizer->find("[BOS]"), 1290);
  EXPECT_EQ(tokenizer->find("<|reserved_token_1545|>"), 1545);
  EXPECT_FALSE(tokenizer->find("<|reserved_token_1546|>"));
  EXPECT_TRUE(tokenizer->isSpecial(1290));
  EXPECT_FALSE(tokenizer->isSpecial(1295)); // a tool call's begin is part of what is said
  EXPECT_EQ(decode(*tokenizer, std::vector<int32_t>{1290, 65, 1295}, true), tokenizer->tokenBytes[65] + "<|tool_call_begin|>");
}

/// What the wrapped library is given at a time.
TEST(TiktokenTest, CutsLongTexts) {
  EXPECT_EQ(endsOfParts(""), std::vector<size_t>{});
  EXPECT_EQ(endsOfParts(std::string(25'000, 'a')), std::vector<size_t>{25'000});
  EXPECT_EQ(endsOfParts(std::string(50'001, 'a')), (std::vector<size_t>{25'000, 50'000, 50'001}));
  EXPECT_EQ(endsOfParts("b " + std::string(25'001, 'a')), (std::vector<size_t>{25'002, 25'003}));
  EXPECT_EQ(endsOfParts("b" + std::string(25'001, ' ')), (std::vector<size_t>{25'001, 25'002}));
  std::string pairs, wide;
  for (int i = 0; i < 200'001; ++i)
    pairs += "a ";
  for (int i = 0; i < 25'001; ++i)
    wide += "字";
  EXPECT_EQ(endsOfParts(pairs), (std::vector<size_t>{400'000, 400'002}));
  EXPECT_EQ(endsOfParts(wide), (std::vector<size_t>{75'000, 75'003}));
  Encoder encoder(*Tokenizer::read(QUANT_TEXT_GOLDEN "/tiktoken"));
  std::vector<int32_t> first = *encoder.encode(std::string(25'000, 'a')), all = *encoder.encode(std::string(50'000, 'a'));
  first.insert(first.end(), first.begin(), first.end());
  EXPECT_EQ(all, first);
}

TEST(TiktokenTest, RefusesByName) {
  std::string model;
  for (int byte = 0; byte < 256; ++byte) {
    constexpr char kDigits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    model += {kDigits[byte >> 2], kDigits[(byte & 3) << 4], '=', '='};
    model += " " + std::to_string(byte) + "\n";
  }
  const json config = {{"added_tokens_decoder", {{"257", {{"content", "[BOS]"}, {"special", true}}}}}};
  auto error = [&](const std::string &lines, const json &names) {
    auto tokenizer = Tokenizer::parseTiktoken(lines, names, "DIR");
    return tokenizer ? std::string("accepted") : tokenizer.error().message;
  };
  EXPECT_EQ(error(model, config), "accepted");
  EXPECT_EQ(error(model + "\r\nYWI= 256\r\n\n", config), "accepted");
  const std::string file = "DIR/tiktoken.model: ";
  EXPECT_EQ(error("", config), file + "has no token for byte 0x00");
  EXPECT_EQ(error("AA== 1\n", config), file + "token 0: has id 1; ids must count from 0 on");
  for (std::string line :
       {"YWI=", "YWI 256", "YW= 256", "Y?I= 256", "YWI= x", "YWI= 2 5", " 256", "YWI=256", "= 256", "==== 256"})
    EXPECT_EQ(error(model + line, config), file + "token 256: the line is '" + line + "', not base64, a space and an id");
  EXPECT_EQ(error(model + "YQ== 256", config), file + "token 256: has the bytes of token 97");
  EXPECT_EQ(error(model + std::string(1024, 'Y') + " 256", config), file + "token 256: has 768 bytes; at most 512 are read");
  const std::string names = "DIR/tokenizer_config.json: ";
  EXPECT_EQ(error(model, json::array()), names + "is no JSON object");
  EXPECT_EQ(error(model, json::object()), names + "added_tokens_decoder: is missing, or no object; it names the special tokens");
  auto refused = [&](const json &token) { return error(model, {{"added_tokens_decoder", {{"256", token}}}}); };
  const std::string at = names + "added_tokens_decoder: 256: ";
  EXPECT_EQ(refused("x"), at + "is no object");
  EXPECT_EQ(refused({{"content", ""}}), at + "has no text");
  EXPECT_EQ(refused(json::object()), at + "'content' is missing");
  EXPECT_EQ(refused({{"content", "<|reserved_token_257|>"}}), names + "added_tokens_decoder: 257: has the text of another token");
  EXPECT_EQ(refused({{"content", "x"}, {"lstrip", true}}).substr(0, at.size() + 14), at + "lstrip: true i");
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
