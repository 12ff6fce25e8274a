//===- tiktoken_model.cpp - reading tiktoken.model ------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The file has a line for each token: its bytes in base64, a space, its id, which is also its rank: any two tokens that stand
// side by side become one where there is a token of their bytes, the lowest id first. How texts are split, and what the special
// tokens behind the others are, stands in the Python code beside the file (tokenization_kimi.py of Kimi-K2,
// tokenization_moonshot.py of Moonlight) and in tokenizer_config.json.
//
//===----------------------------------------------------------------------===//

#include "runtime/checkpoint/file.h"
#include "runtime/checkpoint/json_file.h"
#include "runtime/support/object_reader.h"
#include "runtime/support/text.h"
#include "tools/text/tokenizer.h"

#include <fmt/core.h>

#include <array>
#include <charconv>
#include <set>

namespace quant::text {
namespace {

using nlohmann::json;

/// Special tokens behind the others, named or not.
constexpr int32_t kReserved = 256;

/// Bounds the time that a hostile file takes; Kimi's longest token has 256 bytes.
constexpr size_t kLongestToken = 512;

/// The pattern of both models (`pat_str`), in PCRE2's words: a class less the Han script is a class behind a lookahead, and the
/// script is not that of Script_Extensions.
constexpr char kPattern[] = R"(\p{sc:Han}+)"
                            R"(|[^\r\n\p{L}\p{N}]?(?:(?!\p{sc:Han})[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}])*)"
                            R"((?:(?!\p{sc:Han})[\p{Ll}\p{Lm}\p{Lo}\p{M}])+(?i:'s|'t|'re|'ve|'m|'ll|'d)?)"
                            R"(|[^\r\n\p{L}\p{N}]?(?:(?!\p{sc:Han})[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}])+)"
                            R"((?:(?!\p{sc:Han})[\p{Ll}\p{Lm}\p{Lo}\p{M}])*(?i:'s|'t|'re|'ve|'m|'ll|'d)?)"
                            R"(|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

/// The value of each character of base64, 64 where it is none.
constexpr std::array<uint8_t, 256> kBase64 = [] {
  std::array<uint8_t, 256> values{};
  values.fill(64);
  constexpr std::string_view kDigits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  for (size_t i = 0; i < kDigits.size(); ++i)
    values[static_cast<unsigned char>(kDigits[i])] = static_cast<uint8_t>(i);
  return values;
}();

/// RFC 4648, with padding; nothing where it is none.
std::optional<std::string> fromBase64(std::string_view text) {
  size_t padding = text.ends_with("==") ? 2 : text.ends_with("=") ? 1 : 0;
  if (text.empty() || text.size() % 4 != 0)
    return std::nullopt;
  std::string bytes;
  uint32_t held = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    uint8_t value = i < text.size() - padding ? kBase64[static_cast<unsigned char>(text[i])] : 0;
    if (value == 64)
      return std::nullopt;
    held = held << 6 | value;
    if (i % 4 == 3)
      for (int shift : {16, 8, 0})
        bytes += static_cast<char>(held >> shift & 0xFF);
  }
  bytes.resize(bytes.size() - padding);
  return bytes;
}

/// Reads the two files into a Tokenizer.
class TiktokenReader {
public:
  explicit TiktokenReader(const std::filesystem::path &folder) : folder(folder) {}

  Result<std::shared_ptr<const Tokenizer>> read(std::string_view model, const json &config) {
    if (Result<void> done = readTokens(model); !done)
      return tl::unexpected(done.error().in((folder / kTiktokenModel).string()));
    addMerges();
    if (Result<void> done = addSpecial(config); !done)
      return tl::unexpected(done.error().in((folder / "tokenizer_config.json").string()));
    QUANT_TRY_ASSIGN(SplitPattern pattern, SplitPattern::compile(kPattern));
    result->splits.push_back(std::move(pattern));
    result->wholeWords = result->cutsLongRuns = true;
    return result;
  }

private:
  Result<void> readTokens(std::string_view model) {
    while (!model.empty()) {
      std::string_view line = model.substr(0, model.find('\n'));
      model.remove_prefix(std::min(line.size() + 1, model.size()));
      if (line.ends_with('\r'))
        line.remove_suffix(1);
      if (!line.empty())
        QUANT_TRY(readToken(line));
    }
    for (unsigned byte = 0; byte < 256; ++byte) {
      std::optional<int32_t> id = result->find(std::string(1, static_cast<char>(byte)));
      if (!id)
        return fail(fmt::format("has no token for byte 0x{:02X}", byte));
      result->byteIds[byte] = *id;
    }
    return {};
  }

  Result<void> readToken(std::string_view line) {
    auto id = static_cast<int32_t>(result->tokenBytes.size());
    size_t space = std::min(line.find(' '), line.size());
    std::string_view number = line.substr(std::min(space + 1, line.size()));
    int64_t value = -1;
    auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), value);
    std::optional<std::string> bytes = fromBase64(line.substr(0, space));
    if (!bytes || error != std::errc() || end != number.data() + number.size())
      return fail(fmt::format("token {}: the line is {}, not base64, a space and an id", id, quote(line)));
    if (value != id)
      return fail(fmt::format("token {}: has id {}; ids must count from 0 on", id, value));
    if (bytes->size() > kLongestToken)
      return fail(fmt::format("token {}: has {} bytes; at most {} are read", id, bytes->size(), kLongestToken));
    if (!result->ids.try_emplace(*bytes, id).second)
      return fail(fmt::format("token {}: has the bytes of token {}", id, *result->find(*bytes)));
    result->tokenBytes.push_back(std::move(*bytes));
    return {};
  }

  /// All ways in which two tokens make a third.
  void addMerges() {
    std::unordered_map<std::string_view, int32_t> byBytes;
    for (size_t id = 0; id < result->tokenBytes.size(); ++id)
      byBytes.emplace(result->tokenBytes[id], static_cast<int32_t>(id));
    struct Pair {
      int32_t left, right, both;
    };
    std::vector<Pair> pairs;
    for (const auto &[token, id] : byBytes)
      for (size_t cut = 1; cut < token.size(); ++cut)
        if (auto left = byBytes.find(token.substr(0, cut)); left != byBytes.end())
          if (auto right = byBytes.find(token.substr(cut)); right != byBytes.end())
            pairs.push_back({left->second, right->second, id});
    result->merges = MergeTable(pairs.size());
    for (const Pair &pair : pairs)
      result->merges.add(pair.left, pair.right, {static_cast<uint32_t>(pair.both), pair.both});
  }

  /// The tokens behind the others: those that tokenizer_config.json names, and reserved ones.
  Result<void> addSpecial(const json &config) {
    if (!config.is_object())
      return fail("is no JSON object");
    auto names = config.find("added_tokens_decoder");
    if (names == config.end() || !names->is_object())
      return fail("added_tokens_decoder: is missing, or no object; it names the special tokens");
    result->special.resize(result->tokenBytes.size());
    std::set<std::string> known;
    auto first = static_cast<int32_t>(result->tokenBytes.size());
    for (int32_t id = first; id < first + kReserved; ++id) {
      auto named = names->find(std::to_string(id));
      Special token = {fmt::format("<|reserved_token_{}|>", id), false};
      std::string where = fmt::format("added_tokens_decoder: {}", id);
      if (named != names->end()) {
        QUANT_TRY_ASSIGN(token, specialOf(*named, where));
      }
      if (token.text.empty() || !known.insert(token.text).second)
        return fail(where + (token.text.empty() ? ": has no text" : ": has the text of another token"));
      result->raw.add(token.text, id);
      result->ids.insert_or_assign(token.text, id);
      result->tokenBytes.push_back(token.text);
      result->special.push_back(token.special);
    }
    return {};
  }

  struct Special {
    std::string text;
    bool special; ///< marks rather than says something
  };

  static Result<Special> specialOf(const json &token, const std::string &where) {
    if (!token.is_object())
      return fail(where + ": is no object");
    ObjectReader reader(token, where);
    Special result = {reader.text("content"), false};
    reader.read("special", result.special);
    for (const char *key : {"single_word", "lstrip", "rstrip"})
      reader.expect(key, false, "texts would become other tokens");
    QUANT_TRY(reader.result());
    return result;
  }

  const std::filesystem::path &folder;
  std::shared_ptr<Tokenizer> result = std::make_shared<Tokenizer>();
};

} // namespace

Result<std::shared_ptr<const Tokenizer>> Tokenizer::parseTiktoken(std::string_view model, const json &config,
                                                                  const std::filesystem::path &folder) {
  return TiktokenReader(folder).read(model, config);
}

Result<std::shared_ptr<const Tokenizer>> Tokenizer::readTiktoken(const std::filesystem::path &folder) {
  constexpr uint64_t kMostBytes = 64 << 20, kMostConfigBytes = 16 << 20;
  QUANT_TRY_ASSIGN(std::string model, checkpoint::readFile(folder / kTiktokenModel, kMostBytes));
  QUANT_TRY_ASSIGN(json config, checkpoint::readJsonFile(folder / "tokenizer_config.json", kMostConfigBytes));
  return parseTiktoken(model, config, folder);
}

} // namespace quant::text
