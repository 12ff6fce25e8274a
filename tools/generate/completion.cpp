//===- completion.cpp - a prompt and what the model says to it ------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/generate/completion.h"

#include "tools/generate/stop_strings.h"

#include <fmt/core.h>

#include <algorithm>
#include <chrono>

namespace quant::generate {

static double secondsSince(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

void Generator::reset() {
  quant_session_reset(session.get(), 0);
  context.clear();
}

Result<void> Generator::forward(std::span<const int32_t> tokens, int64_t outputs, float *logits) {
  if (quant_forward(session.get(), tokens.data(), static_cast<int64_t>(tokens.size()), outputs, logits) != QUANT_OK)
    return apiError();
  context.insert(context.end(), tokens.begin(), tokens.end());
  return {};
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
  if (quant_session_reset(session.get(), static_cast<int64_t>(known)) != QUANT_OK)
    return apiError();
  context.resize(known);
  std::span<const int32_t> rest = std::span(prompt).subspan(known);
  int64_t outputs = request.promptLogits ? static_cast<int64_t>(prompt.size()) : 1;
  std::vector<float> logits(static_cast<size_t>(outputs * vocab));
  QUANT_TRY(forward(rest, outputs, logits.data()));
  completion.promptTokensRun = static_cast<int64_t>(rest.size());
  completion.prefillSeconds = secondsSince(start);
  if (!request.promptLogits)
    return logits;
  completion.promptLogits = std::move(logits);
  return std::vector<float>(completion.promptLogits.end() - vocab, completion.promptLogits.end());
}

namespace {

/// Turns tokens into steps.
class Steps {
public:
  Steps(const Request &request, std::shared_ptr<const text::Tokenizer> tokenizer) : request(request), stops(request.stops) {
    if (tokenizer)
      decoder.emplace(std::move(tokenizer), /*skipSpecial=*/true);
  }

  Step of(int32_t token, std::span<const float> logits, bool end) {
    Step step{token, {}, {}};
    if (request.logprobs)
      step.logprobs = logprobsOf(logits, token, *request.logprobs);
    if (decoder && !end)
      step.text = stops.push(decoder->push(token));
    return step;
  }

  bool stopped() const { return stops.stopped(); }

  /// What was kept back.
  std::string rest() { return decoder ? stops.push(decoder->finish()) + stops.finish() : std::string(); }

private:
  const Request &request;
  StopStrings stops;
  std::optional<text::StreamDecoder> decoder;
};

} // namespace

Result<Completion> Generator::complete(const Request &request, const std::function<bool(const Step &)> &onStep) {
  QUANT_TRY_ASSIGN(TokenSampler sampler, TokenSampler::create(request.sampling));
  Completion completion;
  QUANT_TRY_ASSIGN(std::vector<float> logits, runPrompt(request, completion));
  Steps steps(request, tokenizer);
  auto start = std::chrono::steady_clock::now();
  while (static_cast<int64_t>(completion.tokens.size()) < request.maxNewTokens) {
    if (!completion.tokens.empty()) {
      if (quant_session_position(session.get()) == quant_session_context(session.get()))
        break; // the context is full
      QUANT_TRY(forward(std::span(&completion.tokens.back(), 1), 1, logits.data()));
    }
    // The context is the prompt and all tokens chosen.
    QUANT_TRY_ASSIGN(int32_t token, sampler.sample(logits, context));
    completion.tokens.push_back(token);
    bool end = std::ranges::find(request.ends, token) != request.ends.end();
    bool goOn = onStep(steps.of(token, logits, end));
    if (end || steps.stopped() || !goOn) {
      completion.finish = goOn ? Finish::Stop : Finish::Cancelled;
      break;
    }
  }
  if (std::string rest = steps.rest(); !rest.empty())
    onStep({-1, std::move(rest), {}});
  completion.decodeSeconds = secondsSince(start);
  return completion;
}

} // namespace quant::generate
