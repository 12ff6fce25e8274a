//===- completion.cpp - a prompt and what the model says to it ------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/generate/completion.h"

#include <algorithm>
#include <chrono>
#include <utility>

namespace quant::generate {

static double secondsSince(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

//===----------------------------------------------------------------------===//
// Generator
//===----------------------------------------------------------------------===//

/// Keeps the status of a call of the API; its error, if it is one.
Result<void> Generator::check(quant_status given) {
  status = given;
  if (status != QUANT_OK)
    return apiError();
  return {};
}

Result<void> Generator::forget(int64_t position) {
  QUANT_TRY(check(quant_session_reset(session.get(), position)));
  context.resize(static_cast<size_t>(position));
  return {};
}

Result<void> Generator::reset(int64_t position) {
  ++turn;
  return forget(position);
}

Result<void> Generator::append(std::span<const int32_t> tokens, int64_t outputs, float *logits) {
  QUANT_TRY(check(quant_forward(session.get(), tokens.data(), static_cast<int64_t>(tokens.size()), outputs, logits)));
  context.insert(context.end(), tokens.begin(), tokens.end());
  return {};
}

Result<void> Generator::forward(std::span<const int32_t> tokens, int64_t outputs, float *logits) {
  ++turn;
  return append(tokens, outputs, logits);
}

/// The logits of the prompt's last position.
Result<std::vector<float>> Generator::runPrompt(const Request &request, Completion &completion) {
  auto start = std::chrono::steady_clock::now();
  const std::vector<int32_t> &prompt = request.prompt;
  if (prompt.empty())
    return fail("the prompt has no tokens");
  // The last token is run in any case: its logits are needed.
  auto same = std::mismatch(prompt.begin(), prompt.end() - 1, context.begin(), context.end()).first - prompt.begin();
  auto known = request.promptLogits ? 0 : static_cast<size_t>(same);
  QUANT_TRY(reset(static_cast<int64_t>(known)));
  std::span<const int32_t> rest = std::span(prompt).subspan(known);
  int64_t outputs = request.promptLogits ? static_cast<int64_t>(prompt.size()) : 1;
  std::vector<float> logits(static_cast<size_t>(outputs * vocab));
  QUANT_TRY(append(rest, outputs, logits.data()));
  completion.promptTokensRun = static_cast<int64_t>(rest.size());
  completion.prefillSeconds = secondsSince(start);
  if (!request.promptLogits)
    return logits;
  completion.promptLogits = std::move(logits);
  return std::vector<float>(completion.promptLogits.end() - vocab, completion.promptLogits.end());
}

Result<Answer> Generator::begin(Request request) {
  status = QUANT_OK;
  QUANT_TRY_ASSIGN(AnswerWriter writer, AnswerWriter::create(std::move(request), tokenizer));
  Answer answer(*this, std::move(writer));
  QUANT_TRY_ASSIGN(answer.logits, runPrompt(answer.writer.request, answer.writer.completion));
  answer.turn = turn;
  answer.stopped = answer.isFull();
  return answer;
}

Result<Completion> Generator::complete(Request request, const std::function<bool(const Step &)> &onStep) {
  QUANT_TRY_ASSIGN(Answer answer, begin(std::move(request)));
  while (true) {
    QUANT_TRY_ASSIGN(std::optional<Step> step, answer.next());
    if (!step)
      return std::move(answer.writer.completion);
    if (!onStep(*step) && step->token >= 0)
      answer.cancel();
  }
}

//===----------------------------------------------------------------------===//
// Answer
//===----------------------------------------------------------------------===//

/// As many tokens as were asked for, or as the context has rows: the last one is not run.
bool Answer::isFull() const {
  return writer.ended() ||
         (!writer.completion.tokens.empty() && static_cast<int64_t>(context().size()) == quant_session_context(generator->api()));
}

std::span<const int32_t> Answer::context() const {
  std::span<const int32_t> tokens = generator->context;
  return tokens.first(tokens.size() - (ahead ? 1 : 0));
}

void Answer::cancel() {
  stopped = true;
  writer.cancel();
}

/// Runs `token` and a guess at what follows.
Result<void> Answer::runGuessing(int32_t token) {
  auto vocab = static_cast<size_t>(generator->vocab);
  logits.resize(2 * vocab);
  std::span<float> guessed = std::span(logits).first(vocab);
  QUANT_TRY(generator->check(quant_guess(generator->api(), token, guessed.data())));
  std::vector<int32_t> before(context().begin(), context().end());
  before.push_back(token);
  QUANT_TRY_ASSIGN(int32_t guess, writer.guess(guessed, before));
  const int32_t both[] = {token, guess};
  QUANT_TRY(generator->append(both, 2, logits.data()));
  ahead = guess;
  return {};
}

/// Makes the logits those of the last token.
Result<void> Answer::advance() {
  generator->status = QUANT_OK;
  if (turn != generator->turn)
    return fail("the answer cannot go on: its model has been used for something else since");
  if (writer.completion.tokens.empty())
    return {};
  int32_t token = writer.completion.tokens.back();
  if (std::optional<int32_t> guess = std::exchange(ahead, std::nullopt)) {
    if (guess == token) {
      std::copy_n(logits.end() - generator->vocab, generator->vocab, logits.begin());
      return {};
    }
    QUANT_TRY(generator->forget(static_cast<int64_t>(generator->context.size()) - 1));
  }
  int64_t room = quant_session_context(generator->api()) - static_cast<int64_t>(generator->context.size());
  if (generator->guesses && writer.wantsGuess() && room > 1)
    return runGuessing(token);
  return generator->append(std::span(&token, 1), 1, logits.data());
}

Result<std::optional<Step>> Answer::next() {
  if (stopped)
    return writer.rest();
  stopped = true; // an error ends it
  auto start = std::chrono::steady_clock::now();
  QUANT_TRY(advance());
  QUANT_TRY_ASSIGN(Step step, writer.choose(std::span(logits).first(static_cast<size_t>(generator->vocab)), context()));
  stopped = isFull();
  writer.completion.decodeSeconds += secondsSince(start);
  return step;
}

//===----------------------------------------------------------------------===//
// AnswerWriter
//===----------------------------------------------------------------------===//

Result<AnswerWriter> AnswerWriter::create(Request request, std::shared_ptr<const text::Tokenizer> tokenizer) {
  QUANT_TRY_ASSIGN(TokenSampler sampler, TokenSampler::create(request.sampling));
  AnswerWriter writer(std::move(request), std::move(sampler));
  if (tokenizer)
    writer.decoder.emplace(std::move(tokenizer), /*skipSpecial=*/true);
  return writer;
}

Result<Step> AnswerWriter::choose(std::span<const float> logits, std::span<const int32_t> context) {
  std::optional<int32_t> guess = std::exchange(guessed, std::nullopt);
  QUANT_TRY_ASSIGN(int32_t token, guess ? sampler.sampleGuessed(logits, context) : sampler.sample(logits, context));
  completion.tokens.push_back(token);
  completion.rightGuesses += guess == token;
  bool isEnd = std::ranges::find(request.ends, token) != request.ends.end();
  Step step = stepOf(token, logits, isEnd);
  isOver = isEnd || stops.stopped();
  if (isOver)
    completion.finish = Finish::Stop;
  return step;
}

Result<int32_t> AnswerWriter::guess(std::span<const float> logits, std::span<const int32_t> context) {
  QUANT_TRY_ASSIGN(guessed, sampler.guess(logits, context));
  ++completion.guesses;
  return *guessed;
}

Step AnswerWriter::stepOf(int32_t token, std::span<const float> logits, bool isEnd) {
  Step step{token, {}, {}};
  if (request.logprobs)
    step.logprobs = logprobsOf(logits, token, *request.logprobs);
  if (decoder && !isEnd)
    step.text = stops.push(decoder->push(token));
  return step;
}

void AnswerWriter::cancel() {
  isOver = true;
  completion.finish = Finish::Cancelled;
}

std::optional<Step> AnswerWriter::rest() {
  std::string text = decoder ? stops.push(decoder->finish()) + stops.finish() : std::string();
  return text.empty() ? std::nullopt : std::optional(Step{-1, std::move(text), {}});
}

} // namespace quant::generate
