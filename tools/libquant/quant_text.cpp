//===- quant_text.cpp - C API of texts and answers ------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/libquant/quant_text.h"

#include "runtime/api/status.h"
#include "tools/generate/completion.h"
#include "tools/text/text_files.h"

#include <fmt/core.h>
#include <nlohmann/json.hpp>

using namespace quant;
using quant::runtime::failed;
using quant::runtime::guarded;

struct quant_tokenizer {
  explicit quant_tokenizer(text::TextFiles given) : files(std::move(given)), encoder(files.tokenizer) {}

  text::TextFiles files;
  text::Encoder encoder;
  std::vector<int32_t> tokens; ///< of the last encode
  std::string text;            ///< of the last decode or chat
};

struct quant_generator {
  std::shared_ptr<generate::Generator> generator;
  std::vector<int32_t> ends;
  bool speaks; ///< has a tokenizer
};

struct quant_answer {
  std::shared_ptr<generate::Generator> generator; ///< which the answer needs
  generate::Answer answer;
  std::string text; ///< of the last step
  std::vector<quant_logprob> logprobs;
};

static quant_status nullArgument(const char *function) {
  return failed(QUANT_INVALID_ARGUMENT, fmt::format("{}: null argument", function));
}

template <typename T>
static quant_status failed(const Result<T> &result, quant_status otherwise) {
  return failed(result.error(), otherwise);
}

/// What a generator could not do: the runtime's status, or that of a wrong argument.
template <typename T>
static quant_status failed(const Result<T> &result, const generate::Generator &generator) {
  quant_status status = generator.lastStatus();
  return failed(status == QUANT_OK ? QUANT_INVALID_ARGUMENT : status, result.error().message);
}

/// Shows what a handle keeps.
template <typename Kept, typename T>
static void show(const Kept &kept, const T **items, int64_t *count) {
  *items = kept.data();
  *count = static_cast<int64_t>(kept.size());
}

//===----------------------------------------------------------------------===//
// Tokenizer and chat template
//===----------------------------------------------------------------------===//

quant_status quant_tokenizer_open(const char *weights, quant_tokenizer **tokenizer) {
  return guarded([&] {
    if (!weights || !tokenizer)
      return nullArgument("quant_tokenizer_open");
    Result<text::TextFiles> files = text::TextFiles::read(weights);
    if (!files)
      return failed(files, QUANT_INVALID_WEIGHTS);
    *tokenizer = new quant_tokenizer(std::move(*files));
    return QUANT_OK;
  });
}

void quant_tokenizer_free(quant_tokenizer *tokenizer) { delete tokenizer; }

quant_status quant_tokenizer_encode(quant_tokenizer *tokenizer, const char *text, int64_t bytes, int32_t around,
                                    const int32_t **tokens, int64_t *count) {
  return guarded([&] {
    if (!tokenizer || (!text && bytes) || bytes < 0 || !tokens || !count)
      return nullArgument("quant_tokenizer_encode");
    std::string_view given(text, static_cast<size_t>(bytes));
    text::Encoder &encoder = tokenizer->encoder;
    Result<std::vector<int32_t>> encoded = around ? tokenizer->files.encodeText(encoder, given) : encoder.encode(given);
    if (!encoded)
      return failed(encoded, QUANT_INVALID_ARGUMENT);
    tokenizer->tokens = std::move(*encoded);
    show(tokenizer->tokens, tokens, count);
    return QUANT_OK;
  });
}

quant_status quant_tokenizer_decode(quant_tokenizer *tokenizer, const int32_t *tokens, int64_t count, int32_t skip_special,
                                    const char **text, int64_t *bytes) {
  return guarded([&] {
    if (!tokenizer || (!tokens && count) || count < 0 || !text || !bytes)
      return nullArgument("quant_tokenizer_decode");
    std::span<const int32_t> ids(tokens, static_cast<size_t>(count));
    tokenizer->text = text::decode(*tokenizer->files.tokenizer, ids, skip_special != 0);
    show(tokenizer->text, text, bytes);
    return QUANT_OK;
  });
}

quant_status quant_tokenizer_chat(quant_tokenizer *tokenizer, const char *messages, const char *more, const char **text,
                                  int64_t *bytes) {
  return guarded([&] {
    using Json = nlohmann::ordered_json;
    if (!tokenizer || !messages || !text || !bytes)
      return nullArgument("quant_tokenizer_chat");
    Json conversation = Json::parse(messages, nullptr, /*allow_exceptions=*/false);
    Json variables = more ? Json::parse(more, nullptr, /*allow_exceptions=*/false) : Json::object();
    if (!conversation.is_array() || !std::ranges::all_of(conversation, [](const Json &one) { return one.is_object(); }))
      return failed(QUANT_INVALID_ARGUMENT, "messages are no JSON array of objects");
    if (!variables.is_object())
      return failed(QUANT_INVALID_ARGUMENT, "the template's further variables are no JSON object");
    Result<std::string> rendered = tokenizer->files.renderChat(conversation, variables);
    if (!rendered)
      return failed(rendered, QUANT_INVALID_ARGUMENT);
    tokenizer->text = std::move(*rendered);
    show(tokenizer->text, text, bytes);
    return QUANT_OK;
  });
}

int32_t quant_tokenizer_id(const quant_tokenizer *tokenizer, const char *token) {
  int32_t id = -1;
  guarded([&] {
    id = tokenizer->files.tokenizer->find(token).value_or(-1);
    return QUANT_OK;
  });
  return id;
}

int64_t quant_tokenizer_size(const quant_tokenizer *tokenizer) {
  return static_cast<int64_t>(tokenizer->files.tokenizer->tokenBytes.size());
}

int32_t quant_tokenizer_has_chat(const quant_tokenizer *tokenizer) { return tokenizer->files.chat ? 1 : 0; }

//===----------------------------------------------------------------------===//
// Generators
//===----------------------------------------------------------------------===//

quant_status quant_generator_create(const quant_module *module, const char *weights, const quant_session_options *options,
                                    const quant_tokenizer *tokenizer, quant_generator **generator) {
  return guarded([&] {
    if (!generator)
      return nullArgument("quant_generator_create");
    quant_session *opened = nullptr;
    if (quant_status status = quant_session_create(module, weights, options, &opened); status != QUANT_OK)
      return status;
    generate::SessionHandle session(opened);
    Result<std::vector<int32_t>> ends = generate::modelEndTokens(module);
    if (!ends)
      return failed(ends, QUANT_INVALID_MODULE);
    auto shared =
        std::make_shared<generate::Generator>(std::move(session), quant_module_vocab(module),
                                              tokenizer ? tokenizer->files.tokenizer : nullptr, options && options->mtp != 0);
    *generator = new quant_generator{std::move(shared), std::move(*ends), tokenizer != nullptr};
    return QUANT_OK;
  });
}

void quant_generator_free(quant_generator *generator) { delete generator; }

quant_session *quant_generator_session(quant_generator *generator) { return generator->generator->api(); }

quant_status quant_generator_forward(quant_generator *generator, const int32_t *tokens, int64_t count, int64_t outputs,
                                     float *logits) {
  return guarded([&] {
    if (!generator || !tokens || count < 0)
      return nullArgument("quant_generator_forward");
    std::span<const int32_t> ids(tokens, static_cast<size_t>(count));
    Result<void> ran = generator->generator->forward(ids, outputs, logits);
    return ran ? QUANT_OK : failed(ran, *generator->generator);
  });
}

quant_status quant_generator_reset(quant_generator *generator, int64_t position) {
  return guarded([&] {
    if (!generator)
      return nullArgument("quant_generator_reset");
    Result<void> done = generator->generator->reset(position);
    return done ? QUANT_OK : failed(done, *generator->generator);
  });
}

void quant_generator_end_tokens(const quant_generator *generator, const int32_t **tokens, int64_t *count) {
  show(generator->ends, tokens, count);
}

//===----------------------------------------------------------------------===//
// Answers
//===----------------------------------------------------------------------===//

void quant_answer_options_init(quant_answer_options *options) {
  generate::Request request;
  const generate::SamplingOptions &sampling = request.sampling;
  *options = {.max_new_tokens = request.maxNewTokens,
              .temperature = sampling.temperature,
              .top_p = sampling.topP,
              .min_p = sampling.minP,
              .top_k = sampling.topK,
              .repetition_penalty = sampling.repetitionPenalty,
              .seed = sampling.seed,
              .logprobs = -1,
              .ignore_end_tokens = 0,
              .stop_tokens = nullptr,
              .stop_token_count = 0,
              .stops = nullptr,
              .stop_count = 0};
}

/// Errors: counts without items, or out of their range.
static Result<generate::Request> requestOf(const quant_generator &generator, std::span<const int32_t> prompt,
                                           const quant_answer_options &options) {
  auto check = [](const char *what, bool given, int64_t count) -> Result<void> {
    if (count < 0 || (count > 0 && !given))
      return fail(fmt::format("{} {}{}", count, what, given ? "" : ", and no memory with them"));
    return {};
  };
  QUANT_TRY(check("stop tokens", options.stop_tokens != nullptr, options.stop_token_count));
  QUANT_TRY(check("stop texts", options.stops != nullptr, options.stop_count));
  if (options.max_new_tokens < 0)
    return fail(fmt::format("max_new_tokens is {}, not 0 or more", options.max_new_tokens));
  if (options.stop_count > 0 && !generator.speaks)
    return fail("stop texts need a tokenizer");
  generate::Request request;
  request.prompt.assign(prompt.begin(), prompt.end());
  request.maxNewTokens = options.max_new_tokens;
  request.sampling = {.temperature = options.temperature,
                      .topP = options.top_p,
                      .topK = options.top_k,
                      .minP = options.min_p,
                      .repetitionPenalty = options.repetition_penalty,
                      .seed = options.seed};
  if (!options.ignore_end_tokens)
    request.ends = generator.ends;
  request.ends.insert(request.ends.end(), options.stop_tokens, options.stop_tokens + options.stop_token_count);
  request.stops.assign(options.stops, options.stops + options.stop_count);
  if (options.logprobs >= 0)
    request.logprobs = static_cast<size_t>(options.logprobs);
  return request;
}

quant_status quant_answer_begin(quant_generator *generator, const int32_t *prompt, int64_t count,
                                const quant_answer_options *options, quant_answer **answer) {
  return guarded([&] {
    if (!generator || (!prompt && count) || count < 0 || !answer)
      return nullArgument("quant_answer_begin");
    quant_answer_options chosen;
    quant_answer_options_init(&chosen);
    Result<generate::Request> request = requestOf(*generator, {prompt, static_cast<size_t>(count)}, options ? *options : chosen);
    if (!request)
      return failed(request, QUANT_INVALID_ARGUMENT);
    Result<generate::Answer> begun = generator->generator->begin(std::move(*request));
    if (!begun)
      return failed(begun, *generator->generator);
    *answer = new quant_answer{generator->generator, std::move(*begun), {}, {}};
    return QUANT_OK;
  });
}

void quant_answer_free(quant_answer *answer) { delete answer; }

quant_status quant_answer_next(quant_answer *answer, quant_step *step, int32_t *more) {
  return guarded([&] {
    if (!answer || !step || !more)
      return nullArgument("quant_answer_next");
    Result<std::optional<generate::Step>> next = answer->answer.next();
    if (!next)
      return failed(next, *answer->generator);
    *more = *next ? 1 : 0;
    if (!*next)
      return QUANT_OK;
    answer->text = std::move((*next)->text);
    answer->logprobs.clear();
    for (const generate::TokenLogprob &one : (*next)->logprobs)
      answer->logprobs.push_back({one.token, one.logprob});
    step->token = (*next)->token;
    show(answer->text, &step->text, &step->bytes);
    show(answer->logprobs, &step->logprobs, &step->logprob_count);
    return QUANT_OK;
  });
}

void quant_answer_get_state(const quant_answer *answer, quant_answer_state *state) {
  const generate::Completion &completion = answer->answer.completion();
  quant_finish finish = completion.finish == generate::Finish::Stop ? QUANT_FINISH_STOP : QUANT_FINISH_LENGTH;
  *state = {.finish = answer->answer.ended() ? finish : QUANT_FINISH_NOT_YET,
            .prompt_tokens_run = completion.promptTokensRun,
            .new_tokens = static_cast<int64_t>(completion.tokens.size()),
            .prefill_seconds = completion.prefillSeconds,
            .decode_seconds = completion.decodeSeconds,
            .guesses = completion.guesses,
            .right_guesses = completion.rightGuesses};
}
