//===- tokenizer.h - text to token ids and back --------------- -*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_TOOLS_TEXT_TOKENIZER_H
#define QUANT_TOOLS_TEXT_TOKENIZER_H

#include "runtime/support/result.h"
#include "tools/text/added_tokens.h"
#include "tools/text/bpe.h"
#include "tools/text/split_pattern.h"
#include "tools/text/word_cache.h"

#include <nlohmann/json_fwd.hpp>

#include <array>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace quant::text {

constexpr char kTiktokenModel[] = "tiktoken.model";

/// What a tokenizer.json says (Hugging Face's `tokenizers`, 0.23), as far as it is a byte-level BPE like DeepSeek's, or a
/// tiktoken.model as Kimi-K2 and Moonlight have it. Immutable: many encoders and decoders of several threads may share one.
struct Tokenizer {
  /// Reads a folder's tokenizer.json or, where there is none, its tiktoken.model; or a tokenizer.json by itself. Errors name the
  /// file, the key, and what of it is not known.
  static Result<std::shared_ptr<const Tokenizer>> read(const std::filesystem::path &path);
  /// A tokenizer.json that is parsed already.
  static Result<std::shared_ptr<const Tokenizer>> parse(const nlohmann::json &json);
  /// Reads DIR/tiktoken.model, and the special tokens' names from DIR/tokenizer_config.json.
  static Result<std::shared_ptr<const Tokenizer>> readTiktoken(const std::filesystem::path &folder);
  /// The same of the files' contents; errors name the files in `folder`.
  static Result<std::shared_ptr<const Tokenizer>> parseTiktoken(std::string_view model, const nlohmann::json &config,
                                                                const std::filesystem::path &folder = {});

  /// The id of a token by its text in tokenizer.json, or by its bytes in tiktoken.model; nothing where there is none.
  std::optional<int32_t> find(const std::string &token) const;
  /// The bytes of a token; empty for an id that there is none of.
  std::string_view bytes(int32_t id) const;
  /// Whether it is a token that marks rather than says something (`special` in the file). False for an id that there is none of.
  bool isSpecial(int32_t id) const;

  //===--- encode's steps, in this order ---===//
  bool cutsLongRuns = false;        ///< the text is cut by endsOfParts()
  AddedTokens raw;                  ///< cut out of the text; first those that are not `normalized`,
  AddedTokens normalized;           ///< then the others, between them
  std::vector<SplitPattern> splits; ///< each cuts what the one before left, into its matches and what is between them
  bool wholeWords = false;          ///< a word that is a token is that one, whatever merges say
  std::array<int32_t, 256> byteIds{};
  MergeTable merges;
  std::vector<int32_t> prefix, suffix; ///< which the post-processor puts around a text: BOS, mostly

  std::unordered_map<std::string, int32_t> ids; ///< as find() has them
  std::vector<std::string> tokenBytes;          ///< by id
  std::vector<bool> special;                    ///< by id
};

/// Encodes texts. One thread at a time may use it; it remembers words.
class Encoder {
public:
  explicit Encoder(std::shared_ptr<const Tokenizer> tokenizer);

  /// The tokens of `text`, without what the post-processor adds. Added tokens such as `<｜User｜>` are found wherever they stand.
  /// Bytes that are no UTF-8 count as U+FFFD, one for each maximal subpart of a character. Errors: a pattern of the file gives
  /// up.
  Result<std::vector<int32_t>> encode(std::string_view text);

  const Tokenizer &tokenizer() const { return *shared; }

private:
  Result<void> encodeBetween(const AddedTokens &added, size_t begin, size_t end, bool last);
  Result<void> split(size_t step, size_t begin, size_t end);
  void addWord(std::string_view word);

  std::shared_ptr<const Tokenizer> shared;
  std::vector<PatternMatcher> matchers;
  WordMerger merger;
  WordCache cache;
  std::string_view text, seen; ///< what is encoded, and the same as patterns see it
  std::vector<int32_t> out;
};

/// The text of tokens, U+FFFD for each maximal subpart that is no UTF-8. Ids that there are none of stand for nothing.
std::string decode(const Tokenizer &tokenizer, std::span<const int32_t> tokens, bool skipSpecial);

/// Decodes token by token. The pieces and the rest, one behind the other, are what decode gives of all tokens.
class StreamDecoder {
public:
  StreamDecoder(std::shared_ptr<const Tokenizer> tokenizer, bool skipSpecial)
      : tokenizer(std::move(tokenizer)), skipSpecial(skipSpecial) {}

  /// What can be said of the text once `token` has come: whole characters only. Empty while one is not complete.
  std::string push(int32_t token);
  /// The rest, where the tokens ended within a character.
  std::string finish();

private:
  std::shared_ptr<const Tokenizer> tokenizer;
  bool skipSpecial;
  std::string pending; ///< at most three bytes
};

} // namespace quant::text

#endif // QUANT_TOOLS_TEXT_TOKENIZER_H
