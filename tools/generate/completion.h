//===- completion.h - a prompt and what the model says to it -- -*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_TOOLS_GENERATE_COMPLETION_H
#define QUANT_TOOLS_GENERATE_COMPLETION_H

#include "tools/generate/sampling.h"
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

  /// Mean of the tokens that took a pass of their own; 0 where none did.
  double secondsPerToken() const { return tokens.size() > 1 ? decodeSeconds / static_cast<double>(tokens.size() - 1) : 0; }
};

/// A session and the tokens that its context holds: a prompt that begins with them runs its rest only.
class Generator {
public:
  /// `tokenizer` may be null: then there are tokens, and no texts. `vocab` is the module's.
  Generator(SessionHandle session, int64_t vocab, std::shared_ptr<const text::Tokenizer> tokenizer)
      : session(std::move(session)), vocab(vocab), tokenizer(std::move(tokenizer)) {}

  /// Runs the prompt, then generates. `onStep` is called with each token; false ends it. What a stop string kept back comes as a
  /// last step with token -1. Errors: an empty prompt, one that does not fit the context, those of quant_forward and
  /// quant_sample.
  Result<Completion> complete(const Request &request, const std::function<bool(const Step &)> &onStep);

  /// Forgets all tokens.
  void reset();

  quant_session *api() const { return session.get(); }

private:
  Result<std::vector<float>> runPrompt(const Request &request, Completion &completion);
  Result<void> forward(std::span<const int32_t> tokens, int64_t outputs, float *logits);

  SessionHandle session;
  int64_t vocab;
  std::shared_ptr<const text::Tokenizer> tokenizer;
  std::vector<int32_t> context; ///< the session's tokens
};

} // namespace quant::generate

#endif // QUANT_TOOLS_GENERATE_COMPLETION_H
