//===- quant.cpp - C API of the runtime -----------------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/api/quant.h"

#include "runtime/abi/module_format.h"
#include "runtime/api/devices.h"
#include "runtime/api/inference.h"
#include "runtime/api/sampler.h"
#include "runtime/api/status.h"
#include "runtime/device/common/thread_pool.h"
#include "runtime/device/common/unread.h"
#include "runtime/support/text.h"

#include <fmt/core.h>

#include <algorithm>
#include <iomanip>
#include <set>
#include <sstream>

using namespace quant;
using namespace quant::runtime;

struct quant_module {
  std::shared_ptr<const Module> module;
  const Target *target; ///< the one that the module is described by: of CPUs, else of GPUs; null where no device runs any
  std::string targets, program;
};

struct quant_sequence {
  std::shared_ptr<Inference> inference; ///< the session's
  Sequence sequence = {};

  ~quant_sequence() { inference->clear(sequence); }
};

struct quant_session {
  quant_sequence own;
  std::string notes, profile;

  Inference &inference() const { return *own.inference; }
};

struct quant_sampler {
  Sampler sampler;
};

static_assert(QUANT_PAGE_TOKENS == abi::kPageRows);

const char *quant_version(void) { return QUANT_VERSION; }

static std::string listTargets(const Module &module) {
  std::string list;
  for (const Target &target : module.targets)
    for (const CodeObject &object : target.objects)
      list += fmt::format("{}/{}\n", target.name, object.isa);
  return list;
}

quant_status quant_module_open(const char *path, quant_module **module) {
  return guarded([&] {
    if (!path || !module)
      return failed(QUANT_INVALID_ARGUMENT, "quant_module_open: null argument");
    Result<Module> opened = openModule(path);
    if (!opened)
      return failed(QUANT_INVALID_MODULE, opened.error().message);
    auto result = std::make_unique<quant_module>();
    result->module = std::make_shared<const Module>(std::move(*opened));
    result->target = findTarget(*result->module);
    result->targets = listTargets(*result->module);
    if (result->target) {
      std::ostringstream os;
      printProgram(os, *result->target);
      os << fmt::format("// by {}; hash {:016x} (FNV-1a: tells damage, not forgery)\n", printable(result->module->producer),
                        result->module->hash);
      result->program = os.str();
    }
    *module = result.release();
    return QUANT_OK;
  });
}

void quant_module_free(quant_module *module) { delete module; }

const char *quant_module_config(const quant_module *module) { return module->module->modelConfig.c_str(); }
const char *quant_module_targets(const quant_module *module) { return module->targets.c_str(); }
const char *quant_module_program(const quant_module *module) { return module->program.c_str(); }

int64_t quant_module_vocab(const quant_module *module) { return module->target ? module->target->program.limits.vocab : 0; }
int64_t quant_module_max_tokens(const quant_module *module) { return module->target ? module->target->program.limits.tokens : 0; }
int64_t quant_module_max_context(const quant_module *module) {
  return module->target ? module->target->program.limits.context : 0;
}

/// The bytes of a token in each of the program's caches.
static std::vector<int64_t> cacheRowBytes(const quant_module *module) {
  std::vector<int64_t> bytes;
  if (module->target)
    for (const Value &value : module->target->program.values)
      if (value.kind == ValueKind::Cache)
        bytes.push_back(rowBytes(value));
  return bytes;
}

int32_t quant_module_has_mtp(const quant_module *module) { return module->target && module->target->draft ? 1 : 0; }

int64_t quant_module_cache_layers(const quant_module *module) { return static_cast<int64_t>(cacheRowBytes(module).size()); }
int64_t quant_module_cache_bytes_per_token(const quant_module *module) {
  std::vector<int64_t> bytes = cacheRowBytes(module);
  return bytes.empty() ? 0 : *std::ranges::max_element(bytes);
}

/// Errors: which option is out of range.
static Result<void> checkOptions(const quant_session_options &options, const Limits &limits) {
  auto check = [](const char *name, int64_t value, int64_t max) -> Result<void> {
    if (value >= 0 && value <= max)
      return {};
    return fail(fmt::format("{} is {}, not 0 (the default) to {}", name, value, max));
  };
  QUANT_TRY(check("threads", options.threads, ThreadPool::kMaxThreads));
  QUANT_TRY(check("context", options.context, limits.context));
  QUANT_TRY(check("cache", options.cache, Limits::kMaxCacheRows));
  return check("max_chunk", options.max_chunk, limits.tokens);
}

/// What a device runs of a module. Errors say what to do.
static Result<const Target *> targetOf(const Module &module, const Device &device) {
  const Target *target = module.find(device.target);
  if (!target)
    return fail(fmt::format("the module has no code of target '{0}'; compile it with --target={0}", device.target));
  if (target->isForeign)
    return fail(fmt::format("the module's target '{}' is made for another version of the runtime", device.target));
  return target;
}

/// Tells module and checkpoint from others: the module's hash and one of the norm vectors, which training changes and loading has
/// read anyway.
static std::string identityOf(const Module &module, const Program &program, const checkpoint::Checkpoint &weights) {
  uint64_t hash = 0;
  for (const Value &value : program.values)
    if (value.kind == ValueKind::Weight && value.shape.size() == 1)
      if (const auto *tensor = weights.find(value.name))
        hash = hash * 31 + abi::fnv1a(tensor->data.data(), tensor->data.size());
  return fmt::format("{:016x}-{:016x}", module.hash, hash);
}

quant_status quant_session_create(const quant_module *module, const char *weights, const quant_session_options *options,
                                  quant_session **session) {
  return guarded([&] {
    if (!module || !weights || !session)
      return failed(QUANT_INVALID_ARGUMENT, "quant_session_create: null argument");
    const std::string &path = module->module->path;
    quant_session_options chosen = options ? *options : quant_session_options{};
    const Device *device = findDevice(chosen.device ? chosen.device : "host");
    if (!device)
      return failed(QUANT_INVALID_ARGUMENT, "there is no device '" + std::string(chosen.device) + "': " + deviceNames());
    Result<const Target *> found = targetOf(*module->module, *device);
    if (!found)
      return failed(QUANT_INVALID_MODULE, found.error().in(path).message);
    const Target *target = *found;
    if (Result<void> checked = checkOptions(chosen, target->program.limits); !checked)
      return failed(QUANT_INVALID_ARGUMENT, checked.error().message);
    SessionOptions asked = {.threads = chosen.threads,
                            .context = chosen.context,
                            .cache = chosen.cache,
                            .isa = chosen.isa ? chosen.isa : "",
                            .profile = chosen.profile != 0,
                            .eager = chosen.eager != 0,
                            .overlap = chosen.overlap != 0,
                            .tap = {}};
    Result<std::unique_ptr<Session>> created = device->create(module->module, *target, asked);
    if (!created)
      return failed(created.error().in(path), QUANT_INVALID_MODULE);
    if (chosen.mtp != 0 && !target->draft)
      return failed(QUANT_UNSUPPORTED, path + ": has no MTP layer to guess with; compile it with --mtp");
    std::unique_ptr<Session> draft;
    if (chosen.mtp != 0) {
      Result<std::unique_ptr<Session>> made = (*created)->createDraft();
      if (!made)
        return failed(made.error().in(path), QUANT_INVALID_MODULE);
      draft = std::move(*made);
    }
    Result<checkpoint::Checkpoint> opened = checkpoint::Checkpoint::open(weights);
    if (!opened)
      return failed(QUANT_INVALID_WEIGHTS, opened.error().message);
    if (Result<void> read = checkUnread(*target, *opened); !read)
      return failed(QUANT_INVALID_WEIGHTS, read.error().in(path).message);
    std::string identity = identityOf(*module->module, target->program, *opened);
    auto checkpoint = std::make_shared<const checkpoint::Checkpoint>(std::move(*opened));
    for (Session *loading : {created->get(), draft.get()})
      if (Result<void> loaded = loading ? loading->load(checkpoint) : Result<void>(); !loaded)
        return failed(loaded.error(), QUANT_INVALID_WEIGHTS);
    Result<Inference> inference = Inference::create(
        std::move(*created), {.maxChunk = chosen.max_chunk, .identity = std::move(identity), .draft = std::move(draft)});
    if (!inference)
      return failed(inference.error().in(path), QUANT_INVALID_MODULE);
    auto made = std::make_unique<quant_session>(quant_sequence{std::make_shared<Inference>(std::move(*inference))});
    for (const Session *each : made->inference().devices())
      for (const std::string &note : each->notes())
        if (made->notes.find(note) == std::string::npos) // model and draft have the same code
          made->notes += note + "\n";
    *session = made.release();
    return QUANT_OK;
  });
}

void quant_session_free(quant_session *session) { delete session; }

//===----------------------------------------------------------------------===//
// Sequences
//===----------------------------------------------------------------------===//

quant_status quant_sequence_create(quant_session *session, quant_sequence **sequence) {
  return guarded([&] {
    if (!session || !sequence)
      return failed(QUANT_INVALID_ARGUMENT, "quant_sequence_create: null argument");
    *sequence = new quant_sequence{session->own.inference};
    return QUANT_OK;
  });
}

quant_status quant_sequence_fork(const quant_sequence *sequence, quant_sequence **fork) {
  return guarded([&] {
    if (!sequence || !fork)
      return failed(QUANT_INVALID_ARGUMENT, "quant_sequence_fork: null argument");
    std::unique_ptr<quant_sequence> result(new quant_sequence{sequence->inference});
    result->sequence = sequence->inference->fork(sequence->sequence);
    *fork = result.release();
    return QUANT_OK;
  });
}

void quant_sequence_free(quant_sequence *sequence) { delete sequence; }

int64_t quant_sequence_position(const quant_sequence *sequence) { return sequence->sequence.position(); }

quant_status quant_sequence_reset(quant_sequence *sequence, int64_t position) {
  return guarded([&] {
    if (!sequence)
      return failed(QUANT_INVALID_ARGUMENT, "quant_sequence_reset: null sequence");
    int64_t current = sequence->sequence.position();
    if (position < 0 || position > current)
      return failed(QUANT_INVALID_ARGUMENT, fmt::format("cannot go back to position {} from {}", position, current));
    sequence->inference->truncate(sequence->sequence, position);
    return QUANT_OK;
  });
}

quant_status quant_sequence_reuse(quant_sequence *sequence, const int32_t *tokens, int64_t count, int64_t *reused) {
  return guarded([&] {
    if (!sequence || !tokens || count < 1 || !reused)
      return failed(QUANT_INVALID_ARGUMENT, fmt::format("quant_sequence_reuse: null argument or count of {}", count));
    if (int64_t position = sequence->sequence.position(); position > 0)
      return failed(QUANT_INVALID_ARGUMENT, fmt::format("quant_sequence_reuse: the sequence has {} tokens already", position));
    std::span<const int32_t> ids(tokens, static_cast<size_t>(std::min(count, sequence->inference->device().context())));
    *reused = sequence->inference->reuse(sequence->sequence, ids);
    return QUANT_OK;
  });
}

quant_status quant_sequence_save(const quant_sequence *sequence, const char *path) {
  return guarded([&] {
    if (!sequence || !path)
      return failed(QUANT_INVALID_ARGUMENT, "quant_sequence_save: null argument");
    Result<void> saved = sequence->inference->save(sequence->sequence, path);
    return saved ? QUANT_OK : failed(saved.error(), QUANT_INVALID_ARGUMENT);
  });
}

quant_status quant_sequence_restore(quant_session *session, const char *path, quant_sequence **sequence) {
  return guarded([&] {
    if (!session || !path || !sequence)
      return failed(QUANT_INVALID_ARGUMENT, "quant_sequence_restore: null argument");
    std::unique_ptr<quant_sequence> result(new quant_sequence{session->own.inference});
    Result<Sequence> restored = session->inference().restore(path);
    if (!restored)
      return failed(restored.error(), QUANT_INVALID_ARGUMENT);
    result->sequence = std::move(*restored);
    *sequence = result.release();
    return QUANT_OK;
  });
}

/// Looks at a step before anything has changed.
static quant_status checkStep(const quant_sequence_step &step) {
  const Inference &inference = *step.sequence->inference;
  if (step.count < 1 || !step.tokens)
    return failed(QUANT_INVALID_ARGUMENT,
                  fmt::format("no tokens: a forward pass needs at least 1, got {}", step.tokens ? step.count : 0));
  if (step.outputs < 0 || step.outputs > step.count || (step.outputs > 0 && !step.logits))
    return failed(QUANT_INVALID_ARGUMENT, fmt::format("logits of {} positions asked for, with {} tokens{}", step.outputs,
                                                      step.count, step.logits ? "" : " and no memory for them"));
  if (Result<void> room = inference.checkRoom(step.sequence->sequence, step.count); !room)
    return failed(QUANT_CONTEXT_FULL, room.error().message);
  Result<void> valid = inference.checkTokens({step.tokens, static_cast<size_t>(step.count)});
  return valid ? QUANT_OK : failed(QUANT_INVALID_TOKEN, valid.error().message);
}

/// Looks at all steps: each is of another sequence of the session. `check` looks at one.
template <typename Step>
static quant_status checkSteps(const char *function, const quant_session *session, const Step *steps, int64_t count,
                               quant_status (*check)(const Step &)) {
  if (!session || !steps || count < 1)
    return failed(QUANT_INVALID_ARGUMENT, fmt::format("{}: null argument or count of {}", function, count));
  std::set<const quant_sequence *> seen;
  for (int64_t i = 0; i < count; ++i) {
    const quant_sequence *sequence = steps[i].sequence;
    if (!sequence || sequence->inference != session->own.inference || !seen.insert(sequence).second)
      return failed(QUANT_INVALID_ARGUMENT, fmt::format("step {}: the sequence is {}", i,
                                                        !sequence                 ? "null"
                                                        : seen.contains(sequence) ? "in a step before"
                                                                                  : "of another session"));
    if (quant_status status = check(steps[i]); status != QUANT_OK)
      return failed(status, fmt::format("step {}: {}", i, quant_last_error()));
  }
  return QUANT_OK;
}

/// Runs checked steps.
static quant_status runSteps(Inference &inference, std::span<const quant_sequence_step> steps) {
  std::vector<SequenceStep> work;
  for (const quant_sequence_step &step : steps)
    work.push_back({.sequence = &step.sequence->sequence,
                    .tokens = {step.tokens, static_cast<size_t>(step.count)},
                    .outputs = step.outputs,
                    .logits = step.logits});
  Result<void> ran = inference.forward(work);
  return ran ? QUANT_OK : failed(ran.error(), QUANT_INTERNAL_ERROR);
}

quant_status quant_forward_steps(quant_session *session, const quant_sequence_step *steps, int64_t count) {
  return guarded([&] {
    if (quant_status status = checkSteps("quant_forward_steps", session, steps, count, checkStep); status != QUANT_OK)
      return status;
    return runSteps(session->inference(), {steps, static_cast<size_t>(count)});
  });
}

/// Looks at a step before anything has changed.
static quant_status checkDraftStep(const quant_draft_step &step) {
  const Inference &inference = *step.sequence->inference;
  if (step.sequence->sequence.position() == 0 || !step.logits)
    return failed(QUANT_INVALID_ARGUMENT,
                  step.logits ? "a guess needs at least one token in the sequence" : "no memory for logits");
  if (Result<void> room = inference.checkRoom(step.sequence->sequence, 1); !room)
    return failed(QUANT_CONTEXT_FULL, room.error().message);
  Result<void> valid = inference.checkTokens({&step.token, 1});
  return valid ? QUANT_OK : failed(QUANT_INVALID_TOKEN, valid.error().message);
}

quant_status quant_guess_steps(quant_session *session, const quant_draft_step *steps, int64_t count) {
  return guarded([&] {
    if (quant_status status = checkSteps("quant_guess_steps", session, steps, count, checkDraftStep); status != QUANT_OK)
      return status;
    if (!session->inference().hasDraft())
      return failed(QUANT_INVALID_ARGUMENT, "quant_guess_steps: the session was created without quant_session_options.mtp");
    std::vector<DraftStep> work;
    for (const quant_draft_step &step : std::span(steps, static_cast<size_t>(count)))
      work.push_back({.sequence = &step.sequence->sequence, .token = step.token, .logits = step.logits});
    Result<void> ran = session->inference().guess(work);
    return ran ? QUANT_OK : failed(ran.error(), QUANT_INTERNAL_ERROR);
  });
}

quant_status quant_guess(quant_session *session, int32_t token, float *logits) {
  if (!session)
    return failed(QUANT_INVALID_ARGUMENT, "quant_guess: null session");
  quant_draft_step step = {&session->own, token, logits};
  return quant_guess_steps(session, &step, 1);
}

quant_status quant_forward(quant_session *session, const int32_t *tokens, int64_t count, int64_t outputs, float *logits) {
  return guarded([&] {
    if (!session)
      return failed(QUANT_INVALID_ARGUMENT, "quant_forward: null session");
    quant_sequence_step step = {&session->own, tokens, count, outputs, logits};
    quant_status status = checkStep(step);
    return status == QUANT_OK ? runSteps(session->inference(), {&step, 1}) : status;
  });
}

int64_t quant_session_position(const quant_session *session) { return quant_sequence_position(&session->own); }

quant_status quant_session_reset(quant_session *session, int64_t position) {
  return quant_sequence_reset(session ? &session->own : nullptr, position);
}

int64_t quant_session_cache_pages(const quant_session *session) { return session->inference().pages().size(); }
int64_t quant_session_free_pages(const quant_session *session) { return session->inference().pages().available(); }

//===----------------------------------------------------------------------===//
// What a session is
//===----------------------------------------------------------------------===//

int32_t quant_session_threads(const quant_session *session) { return session->inference().device().threads(); }
int64_t quant_session_context(const quant_session *session) { return session->inference().device().context(); }
const char *quant_session_isa(const quant_session *session) { return session->inference().device().isa().c_str(); }

const char *quant_session_notes(const quant_session *session) { return session->notes.c_str(); }

const char *quant_session_profile(quant_session *session) {
  guarded([&] {
    std::vector<std::pair<std::string, ProfileEntry>> entries;
    for (const Session *device : session->inference().devices())
      entries.insert(entries.end(), device->profile().begin(), device->profile().end());
    std::ranges::sort(entries, std::ranges::greater(), [](const auto &entry) { return entry.second.seconds; });
    std::ostringstream os;
    for (const auto &[label, entry] : entries)
      os << std::fixed << std::setprecision(6) << std::setw(12) << entry.seconds << std::setw(10) << entry.calls << "  " << label
         << '\n';
    session->profile = os.str();
    return QUANT_OK;
  });
  return session->profile.c_str();
}

quant_status quant_sampler_create(double temperature, double top_p, uint64_t seed, quant_sampler **sampler) {
  return guarded([&] {
    if (!sampler)
      return failed(QUANT_INVALID_ARGUMENT, "quant_sampler_create: null argument");
    Result<Sampler> created = Sampler::create(temperature, top_p, seed);
    if (!created)
      return failed(QUANT_INVALID_ARGUMENT, created.error().message);
    *sampler = new quant_sampler{std::move(*created)};
    return QUANT_OK;
  });
}

void quant_sampler_free(quant_sampler *sampler) { delete sampler; }

quant_status quant_sample(quant_sampler *sampler, const float *logits, int64_t vocab, int32_t *token) {
  return guarded([&] {
    if (!sampler || !logits || !token || vocab < 1 || vocab > INT32_MAX)
      return failed(QUANT_INVALID_ARGUMENT, fmt::format("quant_sample: null argument or vocab of {}", vocab));
    Result<int32_t> sampled = sampler->sampler.sample({logits, static_cast<size_t>(vocab)});
    if (!sampled)
      return failed(QUANT_INVALID_ARGUMENT, sampled.error().message);
    *token = *sampled;
    return QUANT_OK;
  });
}

quant_status quant_sample_guessed(quant_sampler *sampler, const float *logits, const float *guess_logits, int64_t vocab,
                                  int32_t guess, int32_t *token) {
  return guarded([&] {
    if (!sampler || !logits || !guess_logits || !token || vocab < 1 || vocab > INT32_MAX || guess < 0 || guess >= vocab)
      return failed(QUANT_INVALID_ARGUMENT,
                    fmt::format("quant_sample_guessed: null argument, or guess {} of vocab {}", guess, vocab));
    auto count = static_cast<size_t>(vocab);
    Result<int32_t> sampled = sampler->sampler.sampleGuessed({logits, count}, {guess_logits, count}, guess);
    if (!sampled)
      return failed(QUANT_INVALID_ARGUMENT, sampled.error().message);
    *token = *sampled;
    return QUANT_OK;
  });
}
