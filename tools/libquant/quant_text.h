/*===- quant_text.h - C API of texts and answers --------------------*- C -*-===*\
|*
|* Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
|* SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
|*
\*===----------------------------------------------------------------------===*/

#ifndef QUANT_TOOLS_LIBQUANT_QUANT_TEXT_H
#define QUANT_TOOLS_LIBQUANT_QUANT_TEXT_H

/* Text in, text out, on top of runtime/api/quant.h: a checkpoint's tokenizer and chat template, and answers that come token by
 * token. libquant.so has both headers' functions. C99 and later, C++; nothing throws.
 *
 *   quant_tokenizer_open("checkpoint", &tokenizer);
 *   quant_generator_create(module, "checkpoint", NULL, tokenizer, &generator);
 *   quant_tokenizer_encode(tokenizer, text, strlen(text), 1, &prompt, &count);
 *   quant_answer_options_init(&options);
 *   quant_answer_begin(generator, prompt, count, &options, &answer);
 *   while (quant_answer_next(answer, &step, &more) == QUANT_OK && more)
 *     fwrite(step.text, 1, step.bytes, stdout);
 *
 * As in quant.h: a function that can fail returns a status, leaves its out-parameters alone unless it is QUANT_OK, and says what
 * is wrong in quant_last_error. Handles may be freed in any order: a generator keeps its tokenizer, an answer its generator.
 * Texts are UTF-8 with a length; those that functions return are not NUL-terminated unless said so. Different handles may be used
 * from different threads at the same time, a handle from one at a time; a generator and its answers count as one handle. */

#include "runtime/api/quant.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct quant_tokenizer quant_tokenizer;
typedef struct quant_generator quant_generator;
typedef struct quant_answer quant_answer;

/*===--- Tokenizer and chat template ---===*/

/** Reads the tokenizer of folder `weights` (tokenizer.json, or tiktoken.model), what its tokenizer_config.json says, and its chat
 * template, if it has one. docs/text.md says what is read. QUANT_INVALID_WEIGHTS: a file is missing, broken, or asks for what is
 * not known; the message names the file and the key. Free with quant_tokenizer_free. */
QUANT_API quant_status quant_tokenizer_open(const char *weights, quant_tokenizer **tokenizer);
QUANT_API void quant_tokenizer_free(quant_tokenizer *tokenizer);

/** The tokens of `text`. Added tokens such as <|User|> are found wherever they stand in it; bytes that are no UTF-8 count as
 * U+FFFD. `around` not 0: with what stands around a text that the model shall go on with (BOS, mostly; none is put before a text
 * that begins with it). `tokens` point to `count` ids that the tokenizer owns, good until its next quant_tokenizer_encode. */
QUANT_API quant_status quant_tokenizer_encode(quant_tokenizer *tokenizer, const char *text, int64_t bytes, int32_t around,
                                              const int32_t **tokens, int64_t *count);

/** The text of `count` tokens, U+FFFD for what is no UTF-8 in it; ids that there are no tokens of stand for nothing.
 * `skip_special` not 0: without tokens that mark rather than say something, such as BOS. `text` is the tokenizer's, good until
 * its next quant_tokenizer_decode or quant_tokenizer_chat. */
QUANT_API quant_status quant_tokenizer_decode(quant_tokenizer *tokenizer, const int32_t *tokens, int64_t count,
                                              int32_t skip_special, const char **text, int64_t *bytes);

/** The prompt's text of a conversation by the chat template, up to where the assistant goes on; encode it without `around`.
 * `messages` is a JSON array of objects with role and content; `more` a JSON object of further variables of the template (tools,
 * thinking), or NULL. Both are NUL-terminated. QUANT_INVALID_ARGUMENT: they are not that, there is no template, or it refuses
 * them. `text` as of quant_tokenizer_decode. */
QUANT_API quant_status quant_tokenizer_chat(quant_tokenizer *tokenizer, const char *messages, const char *more, const char **text,
                                            int64_t *bytes);

/** The id of the token that is called `token` in tokenizer.json, which writes a space as U+0120, or has these bytes in
 * tiktoken.model (NUL-terminated); -1 where there is none. */
QUANT_API int32_t quant_tokenizer_id(const quant_tokenizer *tokenizer, const char *token);

/** Ids of tokens are below this; a model's vocabulary may be larger. */
QUANT_API int64_t quant_tokenizer_size(const quant_tokenizer *tokenizer);

/** Whether there is a chat template. */
QUANT_API int32_t quant_tokenizer_has_chat(const quant_tokenizer *tokenizer);

/*===--- Answers ---===*/

/** A session, as quant_session_create makes it, that generates answers. `tokenizer` may be NULL: then answers are tokens without
 * texts. Statuses are those of quant_session_create. Free with quant_generator_free. */
QUANT_API quant_status quant_generator_create(const quant_module *module, const char *weights,
                                              const quant_session_options *options, const quant_tokenizer *tokenizer,
                                              quant_generator **generator);
QUANT_API void quant_generator_free(quant_generator *generator);

/** The generator's session, to ask for its position, context, threads, isa and profile. To run or reset it, use
 * quant_generator_forward and quant_generator_reset: the generator remembers what tokens the context holds. */
QUANT_API quant_session *quant_generator_session(quant_generator *generator);

/** quant_forward and quant_session_reset of the generator's session. An answer that has not ended cannot go on after them. */
QUANT_API quant_status quant_generator_forward(quant_generator *generator, const int32_t *tokens, int64_t count, int64_t outputs,
                                               float *logits);
QUANT_API quant_status quant_generator_reset(quant_generator *generator, int64_t position);

/** The tokens that end a text by the configuration that the module was compiled from (eos_token_id). `tokens` are the
 * generator's, as long as it lives. */
QUANT_API void quant_generator_end_tokens(const quant_generator *generator, const int32_t **tokens, int64_t *count);

/** How an answer is made. quant_answer_options_init gives the defaults. */
typedef struct quant_answer_options {
  int64_t max_new_tokens;     /**< at most; default 16 */
  double temperature;         /**< 0 (the default): the likeliest token always; above: softmax(logits / temperature) */
  double top_p;               /**< (0, 1]: the likeliest tokens that have this probability together; default 1 */
  double min_p;               /**< [0, 1]: tokens at least this fraction as probable as the likeliest one; default 0 */
  int64_t top_k;              /**< the likeliest k tokens; 0 (the default): all */
  double repetition_penalty;  /**< above 0: logits of tokens that came before are divided by it, negative ones multiplied; default
                                 1 */
  uint64_t seed;              /**< of the random numbers, see quant_sampler_create; default 0 */
  int32_t logprobs;           /**< log-probabilities of each token and of as many of the likeliest; -1 (the default): none */
  int32_t ignore_end_tokens;  /**< not 0: go on behind quant_generator_end_tokens */
  const int32_t *stop_tokens; /**< ids that end the answer, too */
  int64_t stop_token_count;
  const char *const *stops; /**< texts before which it ends (NUL-terminated, UTF-8; empty ones never); they need a tokenizer */
  int64_t stop_count;
} quant_answer_options;
QUANT_API void quant_answer_options_init(quant_answer_options *options);

/** A token and the natural logarithm of its probability by the model, before temperature and all cuts. */
typedef struct quant_logprob {
  int32_t token;
  float logprob;
} quant_logprob;

/** What comes of an answer at a time. */
typedef struct quant_step {
  int32_t token;    /**< -1: none, only text that was kept back */
  const char *text; /**< what can be shown now: whole characters, nothing of a stop text; empty without a tokenizer */
  int64_t bytes;    /**< of the text */
  const quant_logprob *logprobs; /**< of the token, then of the likeliest, where they were asked for */
  int64_t logprob_count;
} quant_step;

typedef enum quant_finish {
  QUANT_FINISH_NOT_YET = 0,
  QUANT_FINISH_STOP = 1,  /**< an end token or a stop text came */
  QUANT_FINISH_LENGTH = 2 /**< as many tokens as were asked for, or the context is full */
} quant_finish;

/** How an answer stands. */
typedef struct quant_answer_state {
  quant_finish finish;
  int64_t prompt_tokens_run; /**< prompt tokens that were not in the context already */
  int64_t new_tokens;        /**< the one that ended it among them */
  double prefill_seconds;    /**< of the prompt */
  double decode_seconds;     /**< of all new tokens but the first, which the prompt's pass gives */
  int64_t guesses;           /**< that the MTP layer made (quant_session_options.mtp) */
  int64_t right_guesses;     /**< tokens among them, which took no pass of their own */
} quant_answer_state;

/** Runs `count` (at least 1) prompt tokens; what the context holds of them already, from its start on, is not run again.
 * `options` may be NULL. QUANT_INVALID_ARGUMENT (options), QUANT_INVALID_TOKEN, QUANT_CONTEXT_FULL, and what else quant_forward
 * returns. Free with quant_answer_free, which also breaks it off. */
QUANT_API quant_status quant_answer_begin(quant_generator *generator, const int32_t *prompt, int64_t count,
                                          const quant_answer_options *options, quant_answer **answer);
QUANT_API void quant_answer_free(quant_answer *answer);

/** Computes the next token: `more` is 1 and `step` says what came, good until the next call on this answer; or `more` is 0, and
 * the answer has ended. Any other status ends it, too; QUANT_INVALID_ARGUMENT where its generator was used for something else
 * since. */
QUANT_API quant_status quant_answer_next(quant_answer *answer, quant_step *step, int32_t *more);

QUANT_API void quant_answer_get_state(const quant_answer *answer, quant_answer_state *state);

#ifdef __cplusplus
}
#endif

#endif /* QUANT_TOOLS_LIBQUANT_QUANT_TEXT_H */
