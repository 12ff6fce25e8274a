//===- inference.cpp - tokens in, logits out ------------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/api/inference.h"

#include <fmt/core.h>

#include <algorithm>

namespace quant::runtime {

static constexpr int64_t kPageRows = abi::kPageRows;

/// Pages that so many tokens take.
static int64_t pagesOf(int64_t tokens) { return (tokens + kPageRows - 1) / kPageRows; }

Inference::Inference(PagedProgram program, std::optional<PagedProgram> guesser, InferenceOptions &options)
    : main(std::move(program)), draft(std::move(guesser)), identity(std::move(options.identity)),
      pool(main.device().cacheRows() / kPageRows), maxChunk(options.maxChunk == 0 ? main.limits().tokens : options.maxChunk) {
  auto addCaches = [&](Session &session) {
    const std::vector<Value> &values = session.program().values;
    for (size_t i = 0; i < values.size(); ++i)
      if (values[i].kind == ValueKind::Cache)
        caches.push_back({&session, i});
  };
  addCaches(main.device());
  if (draft)
    addCaches(draft->device());
}

Result<Inference> Inference::create(std::unique_ptr<Session> session, InferenceOptions options) {
  using States = PagedProgram::States;
  QUANT_TRY_ASSIGN(PagedProgram program,
                   PagedProgram::create(std::move(session), options.draft ? States::Written : States::None));
  std::optional<PagedProgram> draft;
  if (options.draft) {
    QUANT_TRY_ASSIGN(draft, PagedProgram::create(std::move(options.draft), States::Read));
    if (draft->stateWidth() != program.stateWidth() || draft->limits().tokens != program.limits().tokens ||
        draft->limits().vocab != program.limits().vocab)
      return fail("the draft is not that of the program: it has other limits, or states of another width");
  }
  return Inference(std::move(program), std::move(draft), options);
}

std::vector<const Session *> Inference::devices() const {
  std::vector<const Session *> result = {&main.device()};
  if (draft)
    result.push_back(&draft->device());
  return result;
}

Result<void> Inference::checkTokens(std::span<const int32_t> tokens) const {
  int64_t vocab = main.limits().vocab;
  for (size_t i = 0; i < tokens.size(); ++i)
    if (tokens[i] < 0 || tokens[i] >= vocab)
      return fail(fmt::format("token {} is id {}, the vocabulary has 0 to {}", i, tokens[i], vocab - 1));
  return {};
}

Result<void> Inference::checkRoom(const Sequence &sequence, int64_t count) const {
  int64_t rows = device().context(), position = sequence.position();
  if (count <= rows - position)
    return {};
  return fail(fmt::format("{} tokens at position {} overflow the context of {} rows", count, position, rows),
              ErrorKind::CacheFull);
}

//===----------------------------------------------------------------------===//
// Pages of sequences
//===----------------------------------------------------------------------===//

void Inference::truncate(Sequence &sequence, int64_t position) {
  keepStates(sequence, sequence.position() - position);
  sequence.tokens.resize(static_cast<size_t>(position));
  sequence.prefixes.resize(std::min(sequence.prefixes.size(), static_cast<size_t>(position / kPageRows)));
  trim(sequence);
}

/// Gives back the pages that hold no token; the last first, so that of a known run the end is forgotten before the start.
void Inference::trim(Sequence &sequence) {
  while (static_cast<int64_t>(sequence.pages.size()) > pagesOf(sequence.position())) {
    pool.release(sequence.pages.back());
    sequence.pages.pop_back();
  }
}

Sequence Inference::fork(const Sequence &sequence) {
  Sequence result = sequence;
  // What was guessed is not shared: the draft's key of the next position may lie in a page of its own.
  result.guessedFrom.reset();
  result.pages.resize(static_cast<size_t>(pagesOf(result.position())));
  for (int32_t page : result.pages)
    pool.hold(page);
  return result;
}

int64_t Inference::reuse(Sequence &sequence, std::span<const int32_t> tokens) {
  PagePool::Prefix prefix = 0;
  while (tokens.size() - sequence.tokens.size() > kPageRows) {
    auto next = tokens.subspan(sequence.tokens.size()).first<kPageRows>();
    std::optional<PagePool::Known> known = pool.find(prefix, next);
    if (!known)
      break;
    pool.hold(known->page);
    sequence.pages.push_back(known->page);
    sequence.prefixes.push_back(prefix = known->prefix);
    sequence.tokens.insert(sequence.tokens.end(), next.begin(), next.end());
  }
  if (draft && sequence.position() > 0)
    sequence.states.assign(static_cast<size_t>(draft->stateWidth()), 0.0F);
  return sequence.position();
}

/// Makes the last page, if there are tokens to be added to it, the sequence's own.
Result<void> Inference::separate(Sequence &sequence) {
  int64_t rows = sequence.position() % kPageRows;
  if (rows == 0)
    return {};
  int32_t &page = sequence.pages.back();
  if (!pool.isShared(page)) {
    pool.withdraw(page);
    return {};
  }
  QUANT_TRY_ASSIGN(int32_t own, pool.take());
  if (Result<void> copied = copyRows(page * kPageRows, own * kPageRows, rows); !copied) {
    pool.release(own);
    return copied;
  }
  pool.release(page);
  page = own;
  sequence.guessedFrom.reset(); // that key was not copied
  return {};
}

/// Through the host: a page is copied once in the life of a forked sequence.
Result<void> Inference::copyRows(int64_t from, int64_t to, int64_t count) {
  for (const Cache &cache : caches) {
    std::vector<std::byte> rows(static_cast<size_t>(count * cache.rowBytes()));
    QUANT_TRY(cache.session->readRows(cache.value, from, rows));
    QUANT_TRY(cache.session->writeRows(cache.value, to, rows));
  }
  return {};
}

/// Whole pages of tokens that are new become what others may find.
void Inference::publish(Sequence &sequence) {
  std::span<const int32_t> tokens = sequence.tokens;
  for (size_t page = sequence.prefixes.size(); (page + 1) * kPageRows <= tokens.size(); ++page) {
    PagePool::Prefix before = page == 0 ? 0 : sequence.prefixes.back();
    sequence.prefixes.push_back(pool.publish(sequence.pages[page], before, tokens.subspan(page * kPageRows).first<kPageRows>()));
  }
}

Result<void> Inference::makeRoom(Sequence &sequence, int64_t count) {
  QUANT_TRY(separate(sequence));
  while (static_cast<int64_t>(sequence.pages.size()) < pagesOf(sequence.position() + count)) {
    QUANT_TRY_ASSIGN(int32_t page, pool.take());
    sequence.pages.push_back(page);
  }
  return {};
}

//===----------------------------------------------------------------------===//
// Calls
//===----------------------------------------------------------------------===//

/// What is computed becomes part of the sequence, and of what others may find.
Result<void> Inference::run(std::span<const SequenceStep> steps, std::span<const CallPiece> call) {
  int64_t vocab = main.limits().vocab;
  std::vector<CallPart> parts;
  for (const CallPiece &piece : call) {
    const SequenceStep &step = steps[piece.job];
    const Sequence &sequence = *step.sequence;
    auto total = static_cast<int64_t>(step.tokens.size()), position = sequence.position();
    // The last tokens of the step have outputs.
    int64_t firstOutput = total - step.outputs, done = std::max<int64_t>(piece.first - firstOutput, 0);
    parts.push_back({.tokens = step.tokens.subspan(static_cast<size_t>(piece.first), static_cast<size_t>(piece.count)),
                     .position = position,
                     .pages = std::span(sequence.pages).first(static_cast<size_t>(pagesOf(position + piece.count))),
                     .outputs = std::clamp<int64_t>(piece.first + piece.count - firstOutput, 0, piece.count),
                     .logits = step.logits + done * vocab});
  }
  std::vector<std::vector<float>> states(parts.size());
  for (size_t i = 0; i < parts.size(); ++i) {
    states[i].resize(parts[i].tokens.size() * static_cast<size_t>(main.stateWidth()));
    parts[i].statesWritten = states[i].data();
  }
  QUANT_TRY(main.run(parts));
  for (size_t i = 0; i < parts.size(); ++i)
    append(*steps[call[i].job].sequence, parts[i].tokens, states[i]);
  if (draft)
    QUANT_TRY(followDraft(steps, call));
  for (const CallPiece &piece : call)
    publish(*steps[piece.job].sequence);
  return {};
}

Result<void> Inference::reserve(std::span<const SequenceStep> steps) {
  for (const SequenceStep &step : steps)
    QUANT_TRY(makeRoom(*step.sequence, static_cast<int64_t>(step.tokens.size())));
  return {};
}

Result<void> Inference::runAll(std::span<const SequenceStep> steps) {
  QUANT_TRY(reserve(steps));
  std::vector<int64_t> counts;
  for (const SequenceStep &step : steps)
    counts.push_back(static_cast<int64_t>(step.tokens.size()));
  for (const std::vector<CallPiece> &call : planCalls(counts, maxChunk))
    QUANT_TRY(run(steps, call));
  return {};
}

Result<void> Inference::forward(std::span<const SequenceStep> steps) {
  std::vector<int64_t> before;
  for (const SequenceStep &step : steps)
    before.push_back(step.sequence->position());
  // An exception (memory) is a failure like any other.
  auto restore = [&](const bool *isDone) {
    for (size_t i = 0; i < steps.size() && !*isDone; ++i)
      truncate(*steps[i].sequence, before[i]);
  };
  bool isDone = false;
  std::unique_ptr<const bool, decltype(restore)> onExit(&isDone, restore);
  Result<void> done = runAll(steps);
  isDone = done.has_value();
  return done;
}

//===----------------------------------------------------------------------===//
// The draft
//===----------------------------------------------------------------------===//

int64_t Inference::waitingStates(const Sequence &sequence) const {
  return static_cast<int64_t>(sequence.states.size()) / draft->stateWidth();
}

void Inference::append(Sequence &sequence, std::span<const int32_t> tokens, std::span<const float> states) {
  if (sequence.guessedFrom == tokens.front())
    sequence.states.clear();
  sequence.guessedFrom.reset();
  sequence.states.insert(sequence.states.end(), states.begin(), states.end());
  sequence.tokens.insert(sequence.tokens.end(), tokens.begin(), tokens.end());
}

/// Drops the states of the last `removed` tokens.
void Inference::keepStates(Sequence &sequence, int64_t removed) const {
  if (!draft || removed == 0)
    return;
  int64_t width = draft->stateWidth(), left = sequence.position() - removed;
  int64_t kept = std::max<int64_t>(waitingStates(sequence) - removed, 0);
  sequence.guessedFrom.reset();
  sequence.states.resize(static_cast<size_t>(kept * width));
  if (kept == 0 && left > 0)
    sequence.states.resize(static_cast<size_t>(width), 0.0F);
}

/// Computes draft keys of the tokens that a call has appended. The last state waits for the next token. Few tokens wait for the
/// next guess, which computes their keys in the same call, unless they end a page: others may find it.
Result<void> Inference::followDraft(std::span<const SequenceStep> steps, std::span<const CallPiece> call) {
  std::vector<DraftJob> jobs;
  for (const CallPiece &piece : call) {
    Sequence &sequence = *steps[piece.job].sequence;
    int64_t waiting = waitingStates(sequence), position = sequence.position();
    bool endsPage = position / kPageRows != (position - piece.count) / kPageRows;
    if (waiting > 1 && (waiting > abi::kShortStep || endsPage))
      jobs.push_back({&sequence, {sequence.tokens.end() - (waiting - 1), sequence.tokens.end()}, nullptr});
  }
  return runDraft(jobs);
}

/// The tokens of a job are those behind the states that wait.
Result<void> Inference::runDraft(std::span<const DraftJob> jobs) {
  int64_t width = draft->stateWidth();
  std::vector<int64_t> counts;
  counts.reserve(jobs.size());
  for (const DraftJob &job : jobs)
    counts.push_back(static_cast<int64_t>(job.tokens.size()));
  for (const std::vector<CallPiece> &call : planCalls(counts, maxChunk)) {
    std::vector<CallPart> parts;
    for (const CallPiece &piece : call) {
      const DraftJob &job = jobs[piece.job];
      const Sequence &sequence = *job.sequence;
      int64_t first = sequence.position() - waitingStates(sequence) + 1 + piece.first;
      bool isLast = piece.first + piece.count == counts[piece.job];
      parts.push_back(
          {.tokens = std::span(job.tokens).subspan(static_cast<size_t>(piece.first), static_cast<size_t>(piece.count)),
           .position = first,
           .pages = std::span(sequence.pages).first(static_cast<size_t>(pagesOf(first + piece.count))),
           .outputs = job.logits && isLast ? 1 : 0,
           .logits = job.logits,
           .statesRead = sequence.states.data() + piece.first * width});
    }
    QUANT_TRY(draft->run(parts));
  }
  for (const DraftJob &job : jobs)
    job.sequence->states.erase(job.sequence->states.begin(), job.sequence->states.end() - width);
  return {};
}

Result<void> Inference::guess(std::span<const DraftStep> steps) {
  std::vector<DraftJob> jobs;
  for (const DraftStep &step : steps) {
    Sequence &sequence = *step.sequence;
    QUANT_TRY(makeRoom(sequence, 1));
    std::vector<int32_t> tokens(sequence.tokens.end() - (waitingStates(sequence) - 1), sequence.tokens.end());
    tokens.push_back(step.token);
    sequence.guessedFrom.reset();
    jobs.push_back({&sequence, std::move(tokens), step.logits});
  }
  QUANT_TRY(runDraft(jobs));
  for (const DraftStep &step : steps)
    step.sequence->guessedFrom = step.token;
  return {};
}

} // namespace quant::runtime
