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
 * order: a session keeps what it needs of its module. Strings that functions return belong to the handle asked (or, of
 * quant_last_error, to the thread) and last as long as it, unless said otherwise. Different handles may be used from different
 * threads at the same time; one session or sampler may not. */

#include <stddef.h>
#include <stdint.h>

#define QUANT_API __attribute__((visibility("default")))

#ifdef __cplusplus
extern "C" {
#endif

typedef struct quant_module quant_module;
typedef struct quant_session quant_session;
typedef struct quant_sampler quant_sampler;

typedef enum quant_status {
  QUANT_OK = 0,
  QUANT_INVALID_ARGUMENT = 1, /**< null pointer, count or option out of range */
  QUANT_INVALID_MODULE = 2,   /**< unreadable, damaged, or without code for the device and isa that were asked for */
  QUANT_INVALID_WEIGHTS = 3,  /**< checkpoint unreadable, or not the one the module was compiled for */
  QUANT_INVALID_TOKEN = 4,    /**< token id outside the vocabulary */
  QUANT_CONTEXT_FULL = 5,     /**< more tokens than the session's context has rows */
  QUANT_INTERNAL_ERROR = 6,   /**< a fault of the runtime or of the module's program */
  QUANT_OUT_OF_MEMORY = 7,    /**< memory or threads that the system does not give; memory that the device does not have */
  QUANT_NO_DEVICE = 8,        /**< the machine has no such device, or its driver is missing or too old */
  QUANT_UNSUPPORTED = 9,      /**< the module has no code for some of its kernels on the device */
  QUANT_DEVICE_ERROR = 10     /**< the device failed, or found fault with a kernel */
} quant_status;

/** "0.1.0". */
QUANT_API const char *quant_version(void);

/** What went wrong in this thread's last call that did not return QUANT_OK: one line, lowercase, naming file, tensor and value. Good
 * until the thread's next failing call. */
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

/** Most rows of a session's KV cache. */
QUANT_API int64_t quant_module_max_context(const quant_module *module);

/** Layers that keep a KV cache, and the bytes that a token takes in the cache of one of them (the largest, if they differ). */
QUANT_API int64_t quant_module_cache_layers(const quant_module *module);
QUANT_API int64_t quant_module_cache_bytes_per_token(const quant_module *module);

/** What the module has code for, one "target/isa" a line, best first: "host/avx512\nhost/avx2\n". */
QUANT_API const char *quant_module_targets(const quant_module *module);

/** The program as text, for people: that of CPUs, or of GPUs where the module has no other; then a line with the module's producer and
 * hash. */
QUANT_API const char *quant_module_program(const quant_module *module);

/** How to run. All zero is the default. */
typedef struct quant_session_options {
  int32_t threads;   /**< 0: as many as CPUs that the process may run on */
  int32_t profile;   /**< not 0: measure every dispatch, see quant_session_profile */
  int64_t context;   /**< rows of the KV cache; 0: the module's limit. The host takes memory as rows are used,
                          a GPU for all of them at once */
  int64_t max_chunk; /**< most tokens of one step; 0: the module's limit */
  const char *isa;   /**< "avx2": this code, not the best that the CPU has; NULL: the best */
  const char *device; /**< "host" (NULL): the CPU; "cuda": the first H100 or H200; others if the program has registered them
                           (runtime/api/devices.h) */
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
 * A weight file that is cut short while it is mapped, or whose disk fails, is no status: the touch of a lost page raises SIGBUS, and
 * a library takes no signal from its program. quant-run ends with an error that names the file; other programs set a handler of
 * their own. */
QUANT_API quant_status quant_session_create(const quant_module *module, const char *weights, const quant_session_options *options,
                                            quant_session **session);
QUANT_API void quant_session_free(quant_session *session);

/** Appends `count` (at least 1) tokens to the session's context and computes the logits of the last `outputs` (0 to `count`) of
 * them. `logits` takes outputs x vocab floats, row-major; it may be NULL where `outputs` is 0. Where a check fails (token id,
 * context), nothing has changed. Other failures are QUANT_DEVICE_ERROR, QUANT_OUT_OF_MEMORY or QUANT_INTERNAL_ERROR; the context
 * then holds what it held before. */
QUANT_API quant_status quant_forward(quant_session *session, const int32_t *tokens, int64_t count, int64_t outputs, float *logits);

/** Tokens in the session's context. */
QUANT_API int64_t quant_session_position(const quant_session *session);

/** Forgets all tokens from `position` (0 to the current one) on; 0 starts over. */
QUANT_API quant_status quant_session_reset(quant_session *session, int64_t position);

QUANT_API int32_t quant_session_threads(const quant_session *session);
QUANT_API int64_t quant_session_context(const quant_session *session);
/** The instruction set whose code runs, e.g. "avx512". */
QUANT_API const char *quant_session_isa(const quant_session *session);

/** Where time went so far: a table of seconds, calls and dispatch label, slowest first. Empty unless asked for in the options. Good
 * until the next call of this function on this session. */
QUANT_API const char *quant_session_profile(quant_session *session);

/** A source of random tokens. `temperature` 0 takes the likeliest token always (the lowest id among equals); above, probabilities are
 * softmax(logits / temperature). `top_p` in (0, 1] keeps the likeliest tokens, as few as have that much probability together (nucleus
 * sampling, Holtzman et al., arXiv 1904.09751).
 *
 * The same seed gives the same random numbers everywhere: xoshiro256** 1.0 (Blackman and Vigna, prng.di.unimi.it), its four words
 * taken from splitmix64 started at `seed`; a draw is the top 53 bits times 2^-53. Each quant_sample with temperature above 0 takes one.
 * Free with quant_sampler_free. */
QUANT_API quant_status quant_sampler_create(double temperature, double top_p, uint64_t seed, quant_sampler **sampler);
QUANT_API void quant_sampler_free(quant_sampler *sampler);

/** Chooses a token by `vocab` logits. Fails where one is NaN or +infinity, or all are -infinity. */
QUANT_API quant_status quant_sample(quant_sampler *sampler, const float *logits, int64_t vocab, int32_t *token);

#ifdef __cplusplus
}
#endif

#endif /* QUANT_RUNTIME_API_QUANT_H */
