//===- completion.h - a prompt and what the model says to it -- -*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_TOOLS_GENERATE_COMPLETION_H
#define QUANT_TOOLS_GENERATE_COMPLETION_H

#include "tools/generate/sampling.h"
#include "tools/generate/stop_strings.h"
#include "tools/text/tokenizer.h"

#include <functional>
#include <optional>

namespace quant::generate {

enum class Finish : uint8_t {
  Stop,     ///< an end token or a stop string came
  Length,   ///< as many tokens as were asked for, or the context is full
  Cancelled ///< the callback said so
};

struct Request {
  std::vector<int32_t> prompt;
  int64_t maxNewTokens = 16;
  SamplingOptions sampling;
  std::vector<int32_t> ends;      ///< tokens that end the text; the last one is among the tokens, not in the text
  std::vector<std::string> stops; ///< texts that end it; needs a tokenizer
  std::optional<size_t> logprobs; ///< as many alternatives for each token
  bool promptLogits = false;      ///< keep the logits of all prompt positions; runs the whole prompt anew
};

/// A new token, as it comes.
struct Step {
  int32_t token;
  std::string text;                   ///< what can be shown now: whole characters, before a stop string. Empty without tokenizer
  std::vector<TokenLogprob> logprobs; ///< of the token, then of the likeliest; empty unless asked for
};

struct Completion {
  std::vector<int32_t> tokens;
  Finish finish = Finish::Length;
  std::vector<float> promptLogits; ///< [prompt, vocab], where asked for
  int64_t promptTokensRun = 0;     ///< prompt tokens that were not in the context already
  double prefillSeconds = 0;
  double decodeSeconds = 0; ///< of all tokens but the first, which the prompt's pass gives
  int64_t guesses = 0;      ///< that an MTP layer made
  int64_t rightGuesses = 0; ///< tokens among them, which took no pass of their own

  /// Mean of all tokens but the first; 0 where there are none.
  double secondsPerToken() const { return tokens.size() > 1 ? decodeSeconds / static_cast<double>(tokens.size() - 1) : 0; }
};

/// Makes tokens of logits and texts of tokens for one request: what an answer is beside its context.
class AnswerWriter {
public:
  /// `tokenizer` may be null: then there are tokens, and no texts. Errors: a sampling option out of its range.
  static Result<AnswerWriter> create(Request request, std::shared_ptr<const text::Tokenizer> tokenizer);

  /// Chooses a token by the logits [vocab] behind `context`, the prompt and all tokens so far. Errors: those of quant_sample.
  Result<Step> choose(std::span<const float> logits, std::span<const int32_t> context);
  /// Guesses it by the logits of an MTP layer; choose(), which follows, then tries to choose the same. Errors: those of
  /// quant_sample.
  Result<int32_t> guess(std::span<const float> logits, std::span<const int32_t> context);
  /// Whether a guess can save a pass: more than one token may come.
  bool wantsGuess() const { return request.maxNewTokens - static_cast<int64_t>(completion.tokens.size()) > 1; }
  /// What a stop string kept back, as a step with token -1, when no more tokens come; then nothing.
  std::optional<Step> rest();
  /// Lets no more tokens come.
  void cancel();

  /// Whether an end token or a stop string came, or as many tokens as were asked for, or cancel().
  bool ended() const { return isOver || static_cast<int64_t>(completion.tokens.size()) >= request.maxNewTokens; }

  Request request;
  Completion completion;

private:
  AnswerWriter(Request given, TokenSampler sampler)
      : request(std::move(given)), sampler(std::move(sampler)), stops(request.stops) {}
  Step stepOf(int32_t token, std::span<const float> logits, bool isEnd);

  TokenSampler sampler;
  StopStrings stops;
  std::optional<text::StreamDecoder> decoder;
  std::optional<int32_t> guessed; ///< for the next token
  bool isOver = false;
};

class Generator;

/// An answer as it grows, a token at a time: Generator::begin makes it. Its generator must outlive it and stay where it is.
class Answer {
public:
  /// The next token, computed now; nothing once the answer has ended. What a stop string kept back comes as a last step with
  /// token -1. Errors, which end it: those of quant_forward and quant_sample; the generator was used for something else since
  /// begin.
  Result<std::optional<Step>> next();

  /// Lets no more tokens come; what was kept back still does.
  void cancel();

  bool ended() const { return stopped; }
  /// All so far; what `finish` says counts once the answer has ended.
  const Completion &completion() const { return writer.completion; }

private:
  friend class Generator;
  Answer(Generator &generator, AnswerWriter writer) : generator(&generator), writer(std::move(writer)) {}
  Result<void> advance();
  Result<void> runGuessing(int32_t token);
  bool isFull() const;
  /// The prompt and the tokens that were chosen, as far as they have run.
  std::span<const int32_t> context() const;

  Generator *generator;
  AnswerWriter writer;
  std::vector<float> logits;    ///< [vocab], of the last token that ran; behind them those of the guess
  std::optional<int32_t> ahead; ///< a guess for the next token, which has run
  uint64_t turn = 0;            ///< the generator's, as long as its context is this answer's
  bool stopped = false;         ///< no more tokens come
};

/// A session and the tokens that its context holds: a prompt that begins with them runs its rest only.
class Generator {
public:
  /// `tokenizer` may be null: then there are tokens, and no texts. `vocab` is the module's. `guesses`: the session has an MTP
  /// layer (quant_session_options.mtp), which is used.
  Generator(SessionHandle session, int64_t vocab, std::shared_ptr<const text::Tokenizer> tokenizer, bool guesses = false)
      : session(std::move(session)), vocab(vocab), tokenizer(std::move(tokenizer)), guesses(guesses) {}

  /// Runs the prompt; the answer's steps follow as they are asked for. Errors: an empty prompt, one that does not fit the
  /// context, an option out of its range, those of quant_forward.
  Result<Answer> begin(Request request);

  /// Runs the prompt, then generates. `onStep` is called with each step; false ends it. Errors: those of begin and of the steps.
  Result<Completion> complete(Request request, const std::function<bool(const Step &)> &onStep);

  /// Appends tokens to the context, as quant_forward does.
  Result<void> forward(std::span<const int32_t> tokens, int64_t outputs, float *logits);

  /// Forgets all tokens from `position` on. Errors: those of quant_session_reset.
  Result<void> reset(int64_t position);
  /// Forgets all tokens.
  void reset() { (void)reset(0); }

  quant_session *api() const { return session.get(); }
  /// What the API said when the context was last run or reset; QUANT_OK where an error came from elsewhere.
  quant_status lastStatus() const { return status; }

private:
  friend class Answer;
  Result<void> check(quant_status given);
  Result<std::vector<float>> runPrompt(const Request &request, Completion &completion);
  Result<void> append(std::span<const int32_t> tokens, int64_t outputs, float *logits);
  Result<void> forget(int64_t position);

  SessionHandle session;
  int64_t vocab;
  std::shared_ptr<const text::Tokenizer> tokenizer;
  bool guesses;
  std::vector<int32_t> context; ///< the session's tokens
  uint64_t turn = 0;            ///< how often the context was taken for something else
  quant_status status = QUANT_OK;
};

} // namespace quant::generate

#endif // QUANT_TOOLS_GENERATE_COMPLETION_H
