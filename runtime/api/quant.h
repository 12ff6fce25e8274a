/*===- quant.h - C API of the runtime -------------------------------*- C -*-===*\
|*
|* Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
|* SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
|*
\*===----------------------------------------------------------------------===*/

#ifndef QUANT_RUNTIME_API_QUANT_H
#define QUANT_RUNTIME_API_QUANT_H

/* Runs compiled models (*.qmod). C99 and later, C++; nothing throws.
 *
 *   quant_module *module;
 *   quant_session *session;
 *   if (quant_module_open("model.qmod", &module) != QUANT_OK ||
 *       quant_session_create(module, "checkpoint", NULL, &session) != QUANT_OK ||
 *       quant_forward(session, prompt, prompt_length, 1, logits) != QUANT_OK)
 *     fprintf(stderr, "%s\n", quant_last_error());
 *
 * Functions that can fail return a status and leave their out-parameters alone unless it is QUANT_OK. Handles may be freed in any
 * order: a session keeps what it needs of its module, a sequence what it needs of its session. Strings that functions return
 * belong to the handle asked (or, of quant_last_error, to the thread) and last as long as it, unless said otherwise. Different
 * handles may be used from different threads at the same time; one session with its sequences, or one sampler, may not. */

#include <stddef.h>
#include <stdint.h>

#define QUANT_API __attribute__((visibility("default")))

#ifdef __cplusplus
extern "C" {
#endif

typedef struct quant_module quant_module;
typedef struct quant_session quant_session;
typedef struct quant_sequence quant_sequence;
typedef struct quant_sampler quant_sampler;

typedef enum quant_status {
  QUANT_OK = 0,
  QUANT_INVALID_ARGUMENT = 1, /**< null pointer, count or option out of range */
  QUANT_INVALID_MODULE = 2,   /**< unreadable, damaged, or without code for the device and isa that were asked for */
  QUANT_INVALID_WEIGHTS = 3,  /**< checkpoint unreadable, or not the one the module was compiled for */
  QUANT_INVALID_TOKEN = 4,    /**< token id outside the vocabulary */
  QUANT_CONTEXT_FULL = 5,     /**< more tokens than the session's context has rows, or than its KV cache has left for all */
  QUANT_INTERNAL_ERROR = 6,   /**< a fault of the runtime or of the module's program */
  QUANT_OUT_OF_MEMORY = 7,    /**< memory or threads that the system does not give; memory that the device does not have */
  QUANT_NO_DEVICE = 8,        /**< the machine has no such device, or its driver is missing or too old */
  QUANT_UNSUPPORTED = 9,      /**< the module has no code for some of its kernels on the device */
  QUANT_DEVICE_ERROR = 10     /**< the device failed, or found fault with a kernel */
} quant_status;

/** "0.1.0". */
QUANT_API const char *quant_version(void);

/** What went wrong in this thread's last call that did not return QUANT_OK: one line, lowercase, naming file, tensor and value.
 * Good until the thread's next failing call. */
QUANT_API const char *quant_last_error(void);

/** Maps and checks the module file at `path`. Free with quant_module_free. */
QUANT_API quant_status quant_module_open(const char *path, quant_module **module);
QUANT_API void quant_module_free(quant_module *module);

/** The model configuration that the module was compiled from, as JSON. */
QUANT_API const char *quant_module_config(const quant_module *module);

/** Token ids are below this. 0 where the module has no program that this runtime knows. */
QUANT_API int64_t quant_module_vocab(const quant_module *module);

/** Most tokens of one step; longer inputs of quant_forward take several. */
QUANT_API int64_t quant_module_max_tokens(const quant_module *module);

/** Most tokens of a sequence. */
QUANT_API int64_t quant_module_max_context(const quant_module *module);

/** 1: the module was compiled with its model's MTP layer, see quant_guess; else 0. */
QUANT_API int32_t quant_module_has_mtp(const quant_module *module);

/** Layers that keep a KV cache, and the bytes that a token takes in the cache of one of them (the largest, if they differ). */
QUANT_API int64_t quant_module_cache_layers(const quant_module *module);
QUANT_API int64_t quant_module_cache_bytes_per_token(const quant_module *module);

/** What the module has code for, one "target/isa" a line, best first: "host/avx512\nhost/avx2\n". */
QUANT_API const char *quant_module_targets(const quant_module *module);

/** The program as text, for people: that of CPUs, or of GPUs where the module has no other; then a line with the module's
 * producer and hash. */
QUANT_API const char *quant_module_program(const quant_module *module);

/** How to run. All zero is the default. */
typedef struct quant_session_options {
  int32_t threads;    /**< 0: as many as CPUs that the process may run on */
  int32_t profile;    /**< not 0: measure every dispatch, see quant_session_profile */
  int64_t context;    /**< most tokens of a sequence; 0: the module's limit */
  int64_t max_chunk;  /**< most tokens of one step; 0: the module's limit */
  const char *isa;    /**< "avx2": this code, not the best that the CPU has; NULL: the best */
  const char *device; /**< "host" (NULL): the CPU; "cuda": the first H100 or H200; others if the program has registered them
                           (runtime/api/devices.h) */
  int64_t cache;      /**< tokens that the KV cache holds of all sequences together, in whole pages of 64; 0: `context`. The
                           host takes memory as they are used, a GPU for all of them at once */
  int32_t mtp;        /**< not 0: also what quant_guess needs, the module's MTP layer with a KV cache of its own.
                           QUANT_UNSUPPORTED where the module has none */
  int32_t eager;      /**< not 0: a GPU's kernels are launched one by one always; 0: calls of a size that comes again become a
                           CUDA graph, with the second of them */
  int32_t overlap;    /**< not 0: on a GPU, kernels that can start while the one in front still runs (programmatic dependent
                           launch). Off, since it has been tried on no GPU */
} quant_session_options;

/** Binds `module` to the checkpoint (safetensors files) in folder `weights`. The files are mapped and must not change; of the
 * weights the host reads nothing now but the block scales, "cuda" copies all of them. `options` may be NULL. Free with
 * quant_session_free.
 *
 * The device is looked at before the weights: QUANT_INVALID_ARGUMENT (options, an unknown device), QUANT_INVALID_MODULE (no code
 * for the device), QUANT_UNSUPPORTED, QUANT_NO_DEVICE, then QUANT_INVALID_WEIGHTS (also where a scale is NaN, infinite or
 * negative, or the folder holds tensors of layers that nothing in the module reads); QUANT_OUT_OF_MEMORY and QUANT_DEVICE_ERROR
 * at any step.
 *
 * A weight file that is cut short while it is mapped, or whose disk fails, is no status: the touch of a lost page raises SIGBUS,
 * and a library takes no signal from its program. quant-run ends with an error that names the file; other programs set a handler
 * of their own. */
QUANT_API quant_status quant_session_create(const quant_module *module, const char *weights, const quant_session_options *options,
                                            quant_session **session);
QUANT_API void quant_session_free(quant_session *session);

/** Appends `count` (at least 1) tokens to the session's context and computes the logits of the last `outputs` (0 to `count`) of
 * them. `logits` takes outputs x vocab floats, row-major; it may be NULL where `outputs` is 0. Where a check fails (token id,
 * context), nothing has changed. Other failures are QUANT_DEVICE_ERROR, QUANT_OUT_OF_MEMORY or QUANT_INTERNAL_ERROR; the context
 * then holds what it held before. */
QUANT_API quant_status quant_forward(quant_session *session, const int32_t *tokens, int64_t count, int64_t outputs,
                                     float *logits);

/** Tokens in the session's context. */
QUANT_API int64_t quant_session_position(const quant_session *session);

/** Forgets all tokens from `position` (0 to the current one) on; 0 starts over. */
QUANT_API quant_status quant_session_reset(quant_session *session, int64_t position);

/** Tokens of a page of the KV cache. */
enum { QUANT_PAGE_TOKENS = 64 };

/* Several sequences in one session
 *
 * The functions above are about the session's own sequence. There can be more, which share the weights and the calls of the
 * compiled program: each weight is read once for all of them. Their keys share the KV cache, in pages of 64 tokens; a page whose
 * tokens are also the start of another sequence can be used by both. On the host a sequence computes the same numbers, bit for
 * bit, whatever other sequences do at the same time. On a GPU they may differ by rounding. */

/** A sequence without tokens. Free with quant_sequence_free. */
QUANT_API quant_status quant_sequence_create(quant_session *session, quant_sequence **sequence);
/** Another one with the same tokens. It shares the pages; who appends to one that is not full gets a copy of it first. */
QUANT_API quant_status quant_sequence_fork(const quant_sequence *sequence, quant_sequence **fork);
QUANT_API void quant_sequence_free(quant_sequence *sequence);
/** As quant_session_position and quant_session_reset. */
QUANT_API int64_t quant_sequence_position(const quant_sequence *sequence);
QUANT_API quant_status quant_sequence_reset(quant_sequence *sequence, int64_t position);

/** Gives a sequence without tokens the start of `tokens` as far as the cache still holds it from other sequences, whole pages of
 * 64 tokens, and always fewer than `count` tokens. `reused` is how many; compute the rest with quant_forward_steps. A token that
 * was computed as one of many (a prompt) may differ by rounding from one that was computed alone (an answer). */
QUANT_API quant_status quant_sequence_reuse(quant_sequence *sequence, const int32_t *tokens, int64_t count, int64_t *reused);

/** Writes a sequence's tokens and what the cache holds of them to the file `path`, and makes a sequence of such a file: nothing
 * is computed again. The file is a safetensors file, some kilobytes a token; it is for the same module and the same checkpoint
 * (its norm vectors are compared), on any device. QUANT_INVALID_ARGUMENT: a file that cannot be written, or that is damaged or
 * another's; QUANT_CONTEXT_FULL: it does not fit context or cache. */
QUANT_API quant_status quant_sequence_save(const quant_sequence *sequence, const char *path);
QUANT_API quant_status quant_sequence_restore(quant_session *session, const char *path, quant_sequence **sequence);

/** What a sequence is to do in a call: see quant_forward. */
typedef struct quant_sequence_step {
  quant_sequence *sequence;
  const int32_t *tokens;
  int64_t count;
  int64_t outputs;
  float *logits;
} quant_sequence_step;

/** quant_forward for `count` sequences of the session at once; each may have one step. Steps of at most 4 tokens are computed
 * together. Where a check fails (token id, context, room in the cache: QUANT_CONTEXT_FULL), nothing has changed. */
QUANT_API quant_status quant_forward_steps(quant_session *session, const quant_sequence_step *steps, int64_t count);

/* Guesses
 *
 * A model's MTP layer (multi-token prediction: DeepSeek-V3, arXiv 2412.19437) guesses the token after the next one, for a
 * fraction of a pass. Who has chosen the next token t asks for a guess d, runs both with quant_forward, and gets the logits
 * behind each: where those behind t choose d, the pass made two tokens, else quant_session_reset forgets d. The tokens are the
 * same as without, as far as passes of one and of two tokens compute the same numbers: on the host they do, bit for bit. */

/** What a sequence wants to have guessed: `logits`, vocab floats, are those of the token behind `token`, its next one. */
typedef struct quant_draft_step {
  quant_sequence *sequence;
  int32_t token;
  float *logits;
} quant_draft_step;

/** Guesses for `count` sequences of a session with quant_session_options.mtp, each of at least one token and with room for one
 * more. The sequences' tokens stay as they are. */
QUANT_API quant_status quant_guess_steps(quant_session *session, const quant_draft_step *steps, int64_t count);
/** The same for the session's own sequence. */
QUANT_API quant_status quant_guess(quant_session *session, int32_t token, float *logits);

/** Pages of 64 tokens of the KV cache, and those of them that no sequence holds. */
QUANT_API int64_t quant_session_cache_pages(const quant_session *session);
QUANT_API int64_t quant_session_free_pages(const quant_session *session);

QUANT_API int32_t quant_session_threads(const quant_session *session);
QUANT_API int64_t quant_session_context(const quant_session *session);
/** The instruction set whose code runs, e.g. "avx512". */
QUANT_API const char *quant_session_isa(const quant_session *session);

/** What people should know of how the code was loaded, a line each: which of the module's code a GPU's driver did not take, and
 * kernels that keep registers in memory. Empty on the host. Good as long as the session. */
QUANT_API const char *quant_session_notes(const quant_session *session);

/** Where time went so far: a table of seconds, calls and dispatch label, slowest first. Empty unless asked for in the options.
 * Good until the next call of this function on this session. */
QUANT_API const char *quant_session_profile(quant_session *session);

/** A source of random tokens. `temperature` 0 takes the likeliest token always (the lowest id among equals); above, probabilities
 * are softmax(logits / temperature). `top_p` in (0, 1] keeps the likeliest tokens, as few as have that much probability together
 * (nucleus sampling, Holtzman et al., arXiv 1904.09751).
 *
 * The same seed gives the same random numbers everywhere: xoshiro256** 1.0 (Blackman and Vigna, prng.di.unimi.it), its four words
 * taken from splitmix64 started at `seed`; a draw is the top 53 bits times 2^-53. Each quant_sample with temperature above 0
 * takes one. Free with quant_sampler_free. */
QUANT_API quant_status quant_sampler_create(double temperature, double top_p, uint64_t seed, quant_sampler **sampler);
QUANT_API void quant_sampler_free(quant_sampler *sampler);

/** Chooses a token by `vocab` logits. Fails where one is NaN or +infinity, or all are -infinity. */
QUANT_API quant_status quant_sample(quant_sampler *sampler, const float *logits, int64_t vocab, int32_t *token);

/** quant_sample where `guess` was drawn by it from `guess_logits` with the same temperature and top_p: the token has the same
 * distribution, and is `guess` as often as this allows (rejection sampling of speculative decoding: Leviathan et al., arXiv
 * 2211.17192). At temperature 0 the likeliest token. */
QUANT_API quant_status quant_sample_guessed(quant_sampler *sampler, const float *logits, const float *guess_logits, int64_t vocab,
                                            int32_t guess, int32_t *token);

#ifdef __cplusplus
}
#endif

#endif /* QUANT_RUNTIME_API_QUANT_H */
