//===- tokenizer.cpp - text to token ids and back -------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/text/tokenizer.h"

#include "tools/text/long_runs.h"
#include "tools/text/newer_characters.h"
#include "tools/text/utf8.h"

#include <utility>

namespace quant::text {

std::optional<int32_t> Tokenizer::find(const std::string &token) const {
  auto found = ids.find(token);
  return found == ids.end() ? std::nullopt : std::optional(found->second);
}

std::string_view Tokenizer::bytes(int32_t id) const {
  return id >= 0 && static_cast<size_t>(id) < tokenBytes.size() ? std::string_view(tokenBytes[static_cast<size_t>(id)])
                                                                : std::string_view();
}

bool Tokenizer::isSpecial(int32_t id) const {
  return id >= 0 && static_cast<size_t>(id) < special.size() && special[static_cast<size_t>(id)];
}

//===----------------------------------------------------------------------===//
// Encoder
//===----------------------------------------------------------------------===//

Encoder::Encoder(std::shared_ptr<const Tokenizer> tokenizer)
    : shared(std::move(tokenizer)), matchers(shared->splits.begin(), shared->splits.end()),
      merger(shared->byteIds, shared->merges) {}

Result<std::vector<int32_t>> Encoder::encode(std::string_view given) {
  std::string replaced;
  if (utf8Valid(given) < given.size())
    given = replaced = utf8Replaced(given);
  std::optional<std::string> standIns = withStandIns(given);
  text = given;
  seen = standIns ? std::string_view(*standIns) : given;
  out.clear();
  size_t begin = 0;
  for (size_t end : shared->cutsLongRuns ? endsOfParts(text) : std::vector{text.size()}) {
    QUANT_TRY(encodeBetween(shared->raw, begin, end, /*last=*/false));
    begin = end;
  }
  return std::move(out);
}

/// Encodes [begin, end): the tokens of `added` that stand in it, and what is between them.
Result<void> Encoder::encodeBetween(const AddedTokens &added, size_t begin, size_t end, bool last) {
  while (begin < end) {
    AddedTokens::Match match = added.find(text.substr(0, end), begin);
    if (match.begin > begin)
      QUANT_TRY(last ? split(0, begin, match.begin) : encodeBetween(shared->normalized, begin, match.begin, /*last=*/true));
    if (match.bytes > 0)
      out.push_back(match.id);
    begin = match.begin + match.bytes;
  }
  return {};
}

/// Cuts [begin, end) by the patterns from `step` on; what none is left for is a word.
Result<void> Encoder::split(size_t step, size_t begin, size_t end) {
  if (step == matchers.size()) {
    addWord(text.substr(begin, end - begin));
    return {};
  }
  // A pattern sees its piece alone.
  std::string_view piece = seen.substr(begin, end - begin);
  for (size_t at = 0; at < piece.size();) {
    size_t first = at, behind = piece.size();
    QUANT_TRY_ASSIGN(bool found, matchers[step].next(piece, first, behind));
    if (!found)
      first = behind = piece.size();
    if (first > at)
      QUANT_TRY(split(step + 1, begin + at, begin + first));
    if (behind > first)
      QUANT_TRY(split(step + 1, begin + first, begin + behind));
    at = behind;
  }
  return {};
}

void Encoder::addWord(std::string_view word) {
  bool cached = word.size() <= WordCache::kLongestWord;
  if (cached)
    if (auto known = cache.find(word)) {
      out.insert(out.end(), known->begin(), known->end());
      return;
    }
  std::optional<int32_t> whole = shared->wholeWords ? shared->find(std::string(word)) : std::nullopt;
  std::span<const int32_t> tokens = whole ? std::span<const int32_t>(&*whole, 1) : merger.merge(word);
  if (cached)
    cache.add(word, tokens);
  out.insert(out.end(), tokens.begin(), tokens.end());
}

//===----------------------------------------------------------------------===//
// Decoding
//===----------------------------------------------------------------------===//

std::string decode(const Tokenizer &tokenizer, std::span<const int32_t> tokens, bool skipSpecial) {
  std::string bytes;
  for (int32_t token : tokens)
    if (!skipSpecial || !tokenizer.isSpecial(token))
      bytes += tokenizer.bytes(token);
  return utf8Replaced(bytes);
}

std::string StreamDecoder::push(int32_t token) {
  if (skipSpecial && tokenizer->isSpecial(token))
    return {};
  pending += tokenizer->bytes(token);
  // All but a character that more bytes may complete.
  size_t ready = 0;
  while (ready < pending.size()) {
    std::string_view rest = std::string_view(pending).substr(ready);
    size_t valid = utf8Valid(rest);
    ready += valid;
    if (valid == rest.size())
      break;
    Utf8Step step = utf8Step(rest.substr(valid));
    if (step.cut)
      break;
    ready += step.bytes;
  }
  std::string text = utf8Replaced(std::string_view(pending).substr(0, ready));
  pending.erase(0, ready);
  return text;
}

std::string StreamDecoder::finish() { return utf8Replaced(std::exchange(pending, {})); }

} // namespace quant::text
