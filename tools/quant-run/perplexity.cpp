//===- perplexity.cpp - how well a model knows a text ---------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/quant-run/perplexity.h"

#include "runtime/support/text.h"
#include "tools/generate/token_score.h"
#include "tools/quant-run/generate.h"
#include "tools/text/tokenized_text.h"

#include <fmt/core.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <numbers>

using nlohmann::json;
using nlohmann::ordered_json;

namespace quant::run {

using generate::PairedScores;
using text::TokenizedText;

/// Positions of one pass: bounds the memory for logits to 2 x 132 MB at a vocabulary of 129280.
static constexpr int64_t kPassTokens = 256;
/// The context where --context does not say one.
static constexpr int64_t kDefaultContext = 2048;

//===----------------------------------------------------------------------===//
// A module
//===----------------------------------------------------------------------===//

namespace {

/// A module with its session, and the logits of its last pass.
struct Judge {
  generate::ModuleHandle module;
  generate::SessionHandle session;
  int64_t vocab = 0;
  std::vector<float> logits;

  static Result<Judge> create(const Options &options, int64_t context);
  std::span<const float> position(int64_t i) const {
    return std::span(logits).subspan(static_cast<size_t>(i * vocab), static_cast<size_t>(vocab));
  }
  /// Begins a new piece where `starts`.
  Result<void> run(std::span<const int32_t> tokens, bool starts);
};

} // namespace

Result<Judge> Judge::create(const Options &options, int64_t context) {
  Judge judge;
  QUANT_TRY_ASSIGN(judge.module, generate::openModule(options.module));
  judge.vocab = quant_module_vocab(judge.module.get());
  QUANT_TRY_ASSIGN(judge.session, createSession(judge.module.get(), options, context));
  return judge;
}

Result<void> Judge::run(std::span<const int32_t> tokens, bool starts) {
  auto count = static_cast<int64_t>(tokens.size());
  logits.resize(static_cast<size_t>(count * vocab));
  if (starts && quant_session_reset(session.get(), 0) != QUANT_OK)
    return generate::apiError();
  if (quant_forward(session.get(), tokens.data(), count, count, logits.data()) != QUANT_OK)
    return generate::apiError();
  return {};
}

/// --bos, else that of the model's configuration.
static Result<int32_t> beginToken(const quant_module *module, const Options &options) {
  if (options.bos)
    return *options.bos;
  json bos = generate::modelConfigValue(module, "bos_token_id");
  if (!bos.is_number_integer() || bos < 0 || bos > INT32_MAX)
    return fail(options.module +
                ": the configuration of its model has no bos_token_id, which goes before each piece; say it with --bos");
  return bos.get<int32_t>();
}

/// Tokens of a piece with its BOS: --context, else the modules' limit, at most kDefaultContext.
static Result<int64_t> pieceLength(const Options &options) {
  int64_t limit = kDefaultContext;
  for (const std::string &path : {options.module, options.against}) {
    if (path.empty())
      continue;
    QUANT_TRY_ASSIGN(generate::ModuleHandle module, generate::openModule(path));
    int64_t context = quant_module_max_context(module.get());
    if (options.context > context)
      return fail(fmt::format("--context {}: {} was compiled for at most {}", options.context, path, context));
    limit = std::min(limit, context);
  }
  int64_t context = options.context ? options.context : limit;
  if (context < 2)
    return fail(fmt::format("--context {}: a piece is BOS and at least one token", context));
  return context;
}

/// Scores `targets` by the logits of the last pass, which began at token `first` of the text; without another model by itself.
static Result<void> score(const Judge &judge, const Judge *other, std::span<const int32_t> targets, size_t first,
                          PairedScores &sums) {
  for (size_t i = 0; i < targets.size(); ++i) {
    std::span<const float> mine = judge.position(static_cast<int64_t>(i));
    bool isFinite = true;
    if (other) {
      isFinite = sums.add(mine, other->position(static_cast<int64_t>(i)), targets[i]);
    } else {
      auto scored = generate::scoreToken(mine, targets[i]);
      isFinite = scored.has_value();
      sums.losses.push_back(scored.value_or(generate::TokenScore{}).loss);
    }
    if (!isFinite)
      return fail(fmt::format("the logits for token {} of the text are not finite", first + i));
  }
  return {};
}

/// One piece of the text: BOS and all tokens but the last go in, every token is a target.
static Result<void> scorePiece(Judge &judge, Judge *other, std::span<const int32_t> piece, int32_t bos, size_t first,
                               PairedScores &sums) {
  std::vector<int32_t> inputs = {bos};
  inputs.insert(inputs.end(), piece.begin(), piece.end() - 1);
  for (size_t begin = 0; begin < inputs.size(); begin += kPassTokens) {
    size_t count = std::min<size_t>(kPassTokens, inputs.size() - begin);
    auto pass = std::span(inputs).subspan(begin, count);
    QUANT_TRY(judge.run(pass, begin == 0));
    if (other)
      QUANT_TRY(other->run(pass, begin == 0));
    QUANT_TRY(score(judge, other, piece.subspan(begin, count), first + begin, sums));
  }
  return {};
}

//===----------------------------------------------------------------------===//
// The text
//===----------------------------------------------------------------------===//

/// Loss, perplexity and, where the text's size is known, bits per byte.
static ordered_json describeLosses(const std::vector<double> &losses, const TokenizedText &text) {
  double loss = generate::meanOf(losses);
  ordered_json result = {{"loss", loss}, {"perplexity", std::exp(loss)}};
  if (text.bytes)
    result["bits_per_byte"] = loss * static_cast<double>(losses.size()) / std::numbers::ln2 / static_cast<double>(*text.bytes);
  return result;
}

/// The value that 99 % of `values` are at or below.
static double percentile99(std::vector<double> values) {
  size_t at = (values.size() * 99 + 99) / 100 - 1;
  std::ranges::nth_element(values, values.begin() + static_cast<std::ptrdiff_t>(at));
  return values[at];
}

static ordered_json describeAgainst(const PairedScores &sums, const Options &options, const TokenizedText &text) {
  ordered_json result = {{"module", options.against}};
  result.update(describeLosses(sums.referenceLosses, text));
  result["loss_difference"] = sums.lossDifference();
  result["loss_difference_standard_error"] = sums.standardError();
  result["kl_mean"] = sums.meanDivergence();
  result["kl_99th_percentile"] = percentile99(sums.divergences);
  result["same_first_choice"] = sums.agreement();
  return result;
}

static Result<void> checkTokens(const Options &options, const TokenizedText &text, int32_t bos, int64_t vocab) {
  for (size_t i = 0; i < text.tokens.size(); ++i)
    if (text.tokens[i] < 0 || text.tokens[i] >= vocab)
      return fail(fmt::format("{}: token {} is {}, the vocabulary has 0 to {}; was the text tokenized for this model?",
                              printable(options.perplexity), i, text.tokens[i], vocab - 1));
  if (bos < 0 || bos >= vocab)
    return fail(fmt::format("--bos {}: the vocabulary has 0 to {}", bos, vocab - 1));
  return {};
}

/// The module to compare with, if there is one.
static Result<std::optional<Judge>> openOther(const Options &options, const Judge &judge, int64_t context) {
  if (options.against.empty())
    return std::nullopt;
  Options other = options;
  other.module = options.against;
  if (!options.againstWeights.empty())
    other.weights = options.againstWeights;
  QUANT_TRY_ASSIGN(Judge opened, Judge::create(other, context));
  if (opened.vocab != judge.vocab)
    return fail(fmt::format("{}: has a vocabulary of {}, {} one of {}: their logits cannot be compared", options.against,
                            opened.vocab, options.module, judge.vocab));
  return std::optional(std::move(opened));
}

Result<ordered_json> measurePerplexity(const Options &options) {
  QUANT_TRY_ASSIGN(TokenizedText text, text::readText(options.perplexity, options.weights));
  QUANT_TRY_ASSIGN(int64_t context, pieceLength(options));
  QUANT_TRY_ASSIGN(Judge judge, Judge::create(options, context));
  QUANT_TRY_ASSIGN(int32_t bos, beginToken(judge.module.get(), options));
  QUANT_TRY(checkTokens(options, text, bos, judge.vocab));
  QUANT_TRY_ASSIGN(std::optional<Judge> other, openOther(options, judge, context));
  auto size = static_cast<size_t>(context - 1);
  auto start = std::chrono::steady_clock::now();
  PairedScores sums;
  for (size_t begin = 0; begin < text.tokens.size(); begin += size) {
    auto piece = std::span(text.tokens).subspan(begin, std::min(size, text.tokens.size() - begin));
    QUANT_TRY(scorePiece(judge, other ? &*other : nullptr, piece, bos, begin, sums));
  }
  double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  ordered_json result = {{"text", options.perplexity}, {"tokens", text.tokens.size()}};
  if (text.bytes)
    result["bytes"] = *text.bytes;
  result["context"] = context;
  result["bos"] = bos;
  result.update(describeLosses(sums.losses, text));
  if (other)
    result["against"] = describeAgainst(sums, options, text);
  result["seconds"] = seconds;
  return result;
}

/// "perplexity 29.5053, 1.5371 bits per byte".
static std::string describePart(const ordered_json &part) {
  std::string words = fmt::format("perplexity {:.4f}", part["perplexity"].get<double>());
  if (part.contains("bits_per_byte"))
    words += fmt::format(", {:.4f} bits per byte", part["bits_per_byte"].get<double>());
  return words;
}

std::string describePerplexity(const ordered_json &measured) {
  std::string words = fmt::format("{} ({} tokens, context {}, BOS {} before each piece; {:.1f} s)\n", describePart(measured),
                                  measured["tokens"].get<size_t>(), measured["context"].get<int64_t>(),
                                  measured["bos"].get<int>(), measured["seconds"].get<double>());
  if (!measured.contains("against"))
    return words;
  const ordered_json &against = measured["against"];
  auto number = [&](const char *key) { return against[key].get<double>(); };
  words += fmt::format("against {}: {}\n", against["module"].get<std::string>(), describePart(against));
  words += fmt::format("  loss {:+.6f} nats a token (standard error {:.6f}), perplexity {:+.3f} %\n", number("loss_difference"),
                       number("loss_difference_standard_error"), 100 * std::expm1(number("loss_difference")));
  words += fmt::format("  KL {:.6f} nats (99th percentile {:.6f}), the same first choice at {:.2f} % of the positions\n",
                       number("kl_mean"), number("kl_99th_percentile"), 100 * number("same_first_choice"));
  return words;
}

} // namespace quant::run
