//===- tokenizer_json.cpp - reading tokenizer.json ------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/checkpoint/json_file.h"
#include "runtime/support/object_reader.h"
#include "runtime/support/text.h"
#include "tools/text/byte_level.h"
#include "tools/text/tokenizer.h"

#include <fmt/core.h>

#include <algorithm>

namespace quant::text {
namespace {

using nlohmann::json;

/// Ids are below this, whatever a file says.
constexpr int64_t kMostIds = int64_t{1} << 24;

/// Why a setting must be what it is.
constexpr char kElse[] = "texts would become other tokens";

/// Reads the parts of a tokenizer.json into a Tokenizer; the first thing wrong is kept in `error`.
class TokenizerReader {
public:
  explicit TokenizerReader(const json &file) : file(file) {}

  Result<std::shared_ptr<const Tokenizer>> read() {
    ObjectReader reader(file, "", error);
    if (!file.is_object())
      return fail("is no JSON object");
    reader.any("version");
    for (const char *key : {"truncation", "padding"})
      if (reader.find(key))
        reader.refuse(key, "is not read; ids would be cut or filled up");
    readModel(reader.any("model"));
    readAdded(reader.array("added_tokens"));
    if (const json *normalizer = reader.find("normalizer"))
      readNormalizer(*normalizer);
    readSplits(reader.any("pre_tokenizer"), "pre_tokenizer");
    if (!error && !byteLevel)
      reader.report("pre_tokenizer: has no ByteLevel; only byte-level BPE is read");
    if (const json *processor = reader.find("post_processor"))
      readPostProcessor(*processor, "post_processor");
    readDecoder(reader.any("decoder"));
    reader.finish();
    if (error)
      return tl::unexpected(*error);
    return result;
  }

private:
  /// The type of a part; keeps an error where it is not an object with one.
  std::string typeOf(const json &part, const std::string &where) {
    if (!part.is_object())
      refuse(where + ": is no object");
    ObjectReader reader(part.is_object() ? part : kEmpty, where, error);
    return error ? std::string() : reader.text("type");
  }

  void refuse(const std::string &message) {
    if (!error)
      error = Error{message};
  }

  void refuseType(const std::string &where, const std::string &type, const char *known) {
    refuse(fmt::format("{}: type {} is not read; known are {}", where, quote(type), known));
  }

  //===--- Model ---===//

  void readModel(const json &model) {
    if (std::string type = typeOf(model, "model"); error || type != "BPE")
      return refuseType("model", type, "BPE");
    ObjectReader reader(model, "model", error);
    reader.any("type");
    for (const char *key : {"dropout", "unk_token"})
      reader.expect(key, nullptr, kElse);
    for (const char *key : {"continuing_subword_prefix", "end_of_word_suffix"})
      reader.expect(key, "", kElse);
    for (const char *key : {"fuse_unk", "byte_fallback", "ignore_merges"})
      reader.expect(key, false, kElse);
    const json &vocab = reader.any("vocab"), &merges = reader.any("merges");
    reader.finish();
    if (error)
      return;
    if (!vocab.is_object() || !merges.is_array())
      return refuse("model: vocab is no object, or merges is no array");
    readVocab(vocab);
    readBytes();
    readMerges(merges);
  }

  void readVocab(const json &vocab) {
    for (auto it = vocab.begin(); it != vocab.end() && !error; ++it) {
      std::optional<std::string> bytes = byteLevelBytes(it.key());
      addId(it.key(), it.value(), bytes ? *bytes : it.key(), "model: vocab");
    }
  }

  /// Gives `token` its id. Errors: no id, or one that another token has.
  void addId(const std::string &token, const json &value, const std::string &bytes, const char *where) {
    std::optional<int64_t> number = value.is_number_integer() ? wholeNumber(value) : std::nullopt;
    if (!number || *number < 0 || *number >= kMostIds)
      return refuse(
          fmt::format("{}: id of {} is {}, not an integer from 0 to {}", where, quote(token), shortText(value), kMostIds - 1));
    auto id = static_cast<size_t>(*number);
    if (id >= taken.size()) {
      taken.resize(id + 1);
      result->tokenBytes.resize(id + 1);
      result->special.resize(id + 1);
    }
    auto [known, isNew] = result->ids.try_emplace(token, static_cast<int32_t>(id));
    if (known->second != static_cast<int32_t>(id) || (isNew && taken[id]))
      return refuse(fmt::format("{}: {} has id {}, but {}", where, quote(token), id,
                                isNew ? "so has another token" : fmt::format("elsewhere it has {}", known->second)));
    taken[id] = true;
    result->tokenBytes[id] = bytes;
  }

  void readBytes() {
    for (unsigned byte = 0; byte < 256 && !error; ++byte) {
      std::optional<int32_t> id = result->find(byteLevelCharacter(static_cast<uint8_t>(byte)));
      if (!id)
        return refuse(fmt::format("model: vocab: has no token for byte 0x{:02X}, so is not byte-level", byte));
      result->byteIds[byte] = *id;
    }
  }

  /// "a b" or ["a", "b"].
  static std::optional<std::pair<std::string, std::string>> bothOf(const json &merge) {
    if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string())
      return std::pair(merge[0].get<std::string>(), merge[1].get<std::string>());
    const auto *text = merge.get_ptr<const std::string *>();
    size_t space = text ? text->find(' ') : std::string::npos;
    if (space == std::string::npos || text->find(' ', space + 1) != std::string::npos)
      return std::nullopt;
    return std::pair(text->substr(0, space), text->substr(space + 1));
  }

  void readMerges(const json &merges) {
    result->merges = MergeTable(merges.size());
    for (uint32_t rank = 0; rank < merges.size() && !error; ++rank) {
      auto both = bothOf(merges[rank]);
      if (!both)
        return refuse(fmt::format("model: merge {} is {}, not two tokens", rank, shortText(merges[rank])));
      std::optional<int32_t> left = result->find(both->first), right = result->find(both->second),
                             merged = result->find(both->first + both->second);
      if (!left || !right || !merged)
        return refuse(fmt::format("model: merge {}: {} is not in vocab", rank,
                                  quote(!left    ? both->first
                                        : !right ? both->second
                                                 : both->first + both->second)));
      result->merges.add(*left, *right, {rank, *merged});
    }
  }

  //===--- Added tokens ---===//

  void readAdded(const json &tokens) {
    for (size_t i = 0; i < tokens.size() && !error; ++i) {
      if (!tokens[i].is_object())
        return refuse(fmt::format("added_tokens {}: is no object", i));
      std::string where = fmt::format("added_tokens {}", i);
      ObjectReader reader(tokens[i], where, error);
      std::string content = reader.text("content");
      const json &id = reader.any("id");
      bool special = false, normalized = true;
      reader.read("special", special);
      reader.read("normalized", normalized);
      for (const char *key : {"single_word", "lstrip", "rstrip"})
        reader.expect(key, false, kElse);
      reader.finish();
      if (error)
        return;
      if (content.empty())
        return refuse(where + ": has no text");
      // Decoders turn bytes' characters into bytes in added tokens, too.
      addId(content, id, byteLevelBytes(content).value_or(content), "added_tokens");
      if (error)
        return;
      result->special[static_cast<size_t>(result->ids[content])] = special;
      (normalized ? result->normalized : result->raw).add(content, result->ids[content]);
    }
  }

  //===--- The steps around the model ---===//

  /// Calls `read` with each part of a Sequence.
  template <typename Read>
  void readSequence(const json &sequence, const char *key, const std::string &where, Read read) {
    ObjectReader reader(sequence, where, error);
    reader.any("type");
    const json &parts = reader.array(key);
    reader.finish();
    for (size_t i = 0; i < parts.size() && !error; ++i)
      read(parts[i], fmt::format("{} {}", where, i));
  }

  void readNormalizer(const json &normalizer) {
    std::string type = typeOf(normalizer, "normalizer");
    if (error || type != "Sequence")
      return refuseType("normalizer", type, "an empty Sequence");
    readSequence(normalizer, "normalizers", "normalizer",
                 [&](const json &part, const std::string &where) { refuseType(where, typeOf(part, where), "none"); });
  }

  void readSplits(const json &part, const std::string &where) {
    if (std::string type = typeOf(part, where); error)
      return;
    else if (byteLevel)
      refuse(fmt::format("{}: type {} behind a ByteLevel is not read", where, quote(type)));
    else if (type == "Sequence" && depth++ == 0)
      readSequence(part, "pretokenizers", where, [&](const json &inner, const std::string &at) { readSplits(inner, at); });
    else if (type == "Split")
      readSplit(part, where);
    else if (type == "Digits")
      readDigits(part, where);
    else if (type == "ByteLevel")
      readByteLevel(part, where);
    else
      refuseType(where, type, "Split, Digits, ByteLevel, and Sequence at the top");
  }

  void readSplit(const json &part, const std::string &where) {
    ObjectReader reader(part, where, error);
    reader.any("type");
    reader.expect("behavior", "Isolated", kElse);
    reader.expect("invert", false, kElse);
    const json &pattern = reader.any("pattern");
    reader.finish();
    if (error)
      return;
    ObjectReader inner(pattern.is_object() ? pattern : kEmpty, where + ": pattern", error);
    std::string regex = inner.text("Regex");
    inner.finish();
    addSplit(regex, where);
  }

  void readDigits(const json &part, const std::string &where) {
    ObjectReader reader(part, where, error);
    reader.any("type");
    bool individual = false;
    reader.read("individual_digits", individual);
    reader.finish();
    addSplit(individual ? "\\p{N}" : "\\p{N}+", where);
  }

  void addSplit(const std::string &regex, const std::string &where) {
    if (error)
      return;
    Result<SplitPattern> pattern = SplitPattern::create(regex);
    if (pattern)
      result->splits.push_back(*pattern);
    else
      refuse(where + ": " + pattern.error().message);
  }

  void readByteLevel(const json &part, const std::string &where) {
    ObjectReader reader(part, where, error);
    reader.any("type");
    reader.any("trim_offsets"); // of offsets alone
    reader.expect("add_prefix_space", false, kElse);
    reader.expect("use_regex", false, kElse);
    reader.finish();
    byteLevel = true;
  }

  void readDecoder(const json &decoder) {
    if (std::string type = typeOf(decoder, "decoder"); !error && type != "ByteLevel")
      refuseType("decoder", type, "ByteLevel");
  }

  //===--- Post-processor ---===//

  void readPostProcessor(const json &processor, const std::string &where) {
    std::string type = typeOf(processor, where);
    if (error || type == "ByteLevel") // changes offsets alone
      return;
    if (type == "Sequence" && where == "post_processor")
      return readSequence(processor, "processors", where,
                          [&](const json &part, const std::string &at) { readPostProcessor(part, at); });
    if (type != "TemplateProcessing" || !result->prefix.empty() || !result->suffix.empty())
      return refuseType(where, type, "ByteLevel, one TemplateProcessing, and Sequence at the top");
    ObjectReader reader(processor, where, error);
    bool behind = false;
    for (const json &piece : reader.array("single")) {
      bool text = piece.is_object() && piece.contains("Sequence");
      if (text && behind)
        return refuse(where + ": single: has the text twice");
      behind |= text;
      if (!text)
        addAround(piece, behind ? result->suffix : result->prefix, where);
    }
    if (!behind)
      refuse(where + ": single: has no Sequence, so no text");
  }

  void addAround(const json &piece, std::vector<int32_t> &around, const std::string &where) {
    const json &token = piece.is_object() && piece.contains("SpecialToken") ? piece["SpecialToken"] : kEmpty;
    std::string name = token.is_object() && token.contains("id") && token["id"].is_string() ? token["id"].get<std::string>() : "";
    std::optional<int32_t> id = result->find(name);
    if (!id)
      return refuse(fmt::format("{}: single: {} is neither Sequence nor a SpecialToken of the file", where, shortText(piece)));
    around.push_back(*id);
  }

  const json &file;
  const json kEmpty = json::object();
  std::optional<Error> error;
  std::shared_ptr<Tokenizer> result = std::make_shared<Tokenizer>();
  std::vector<bool> taken; ///< ids
  bool byteLevel = false;
  int depth = 0;
};

} // namespace

Result<std::shared_ptr<const Tokenizer>> Tokenizer::parse(const nlohmann::json &json) { return TokenizerReader(json).read(); }

Result<std::shared_ptr<const Tokenizer>> Tokenizer::read(const std::filesystem::path &path) {
  constexpr uint64_t kMostBytes = 256 << 20;
  std::error_code ignored;
  std::filesystem::path file = std::filesystem::is_directory(path, ignored) ? path / "tokenizer.json" : path;
  if (!std::filesystem::exists(file, ignored)) {
    if (file != path && std::filesystem::exists(path / kTiktokenModel, ignored))
      return readTiktoken(path);
    return fail(file.string() + ": is missing; copy it from where the checkpoint came from");
  }
  QUANT_TRY_ASSIGN(nlohmann::json json, checkpoint::readJsonFile(file, kMostBytes));
  Result<std::shared_ptr<const Tokenizer>> tokenizer = parse(json);
  if (!tokenizer)
    return tl::unexpected(tokenizer.error().in(file.string()));
  return tokenizer;
}

} // namespace quant::text
