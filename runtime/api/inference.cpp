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

//===----------------------------------------------------------------------===//
// The program's inputs and outputs
//===----------------------------------------------------------------------===//

static Extent extentOf(abi::Dim dim) { return {.size = 0, .dim = dim}; }
static Extent extentOf(int64_t size) { return {.size = size, .dim = {}}; }

static Result<void> checkValue(const Program &program, std::string_view name, ValueKind kind, DType dtype, const Shape &shape) {
  bool isThere = std::ranges::any_of(program.values, [&](const Value &value) {
    return value.kind == kind && value.name == name && value.dtype == dtype && value.shape == shape;
  });
  return isThere ? Result<void>()
                 : fail(fmt::format("the program has no {} '{}' of type {}", kindName(kind), name, typeText(shape, dtype)));
}

Inference::Inference(std::unique_ptr<Session> owned) : session(std::move(owned)), pool(session->cacheRows() / kPageRows) {}

Result<Inference> Inference::create(std::unique_ptr<Session> session, int64_t maxChunk, std::string identity) {
  const Program &program = session->program();
  Inference inference(std::move(session));
  inference.maxChunk = maxChunk == 0 ? program.limits.tokens : maxChunk;
  inference.tableColumns = pagesOf(program.limits.context);
  inference.identity = std::move(identity);
  for (size_t i = 0; i < program.values.size(); ++i)
    if (program.values[i].kind == ValueKind::Cache)
      inference.caches.push_back(i);
  Shape perToken = {extentOf(abi::Dim::Tokens)}, perOutput = {extentOf(abi::Dim::Outputs)};
  auto input = [&](const char *name, int32_t *&memory, const Shape &shape) {
    memory = reinterpret_cast<int32_t *>(inference.session->buffer(name));
    return checkValue(program, name, ValueKind::Input, DType::I32, shape);
  };
  QUANT_TRY(input("tokens", inference.inputs.tokens, perToken));
  QUANT_TRY(input("positions", inference.inputs.positions, perToken));
  QUANT_TRY(input("sequences", inference.inputs.sequences, perToken));
  QUANT_TRY(input("pages", inference.inputs.pages, {extentOf(abi::Dim::Sequences), extentOf(inference.tableColumns)}));
  QUANT_TRY(input("selected", inference.inputs.selected, perOutput));
  perOutput.push_back(extentOf(program.limits.vocab));
  QUANT_TRY(checkValue(program, "logits", ValueKind::Output, DType::F32, perOutput));
  inference.logitsOutput = reinterpret_cast<const float *>(inference.session->buffer("logits"));
  return inference;
}

Result<void> Inference::checkTokens(std::span<const int32_t> tokens) const {
  int64_t vocab = session->program().limits.vocab;
  for (size_t i = 0; i < tokens.size(); ++i)
    if (tokens[i] < 0 || tokens[i] >= vocab)
      return fail(fmt::format("token {} is id {}, the vocabulary has 0 to {}", i, tokens[i], vocab - 1));
  return {};
}

Result<void> Inference::checkRoom(const Sequence &sequence, int64_t count) const {
  int64_t rows = session->context(), position = sequence.position();
  if (count <= rows - position)
    return {};
  return fail(fmt::format("{} tokens at position {} overflow the context of {} rows", count, position, rows),
              ErrorKind::CacheFull);
}

//===----------------------------------------------------------------------===//
// Pages of sequences
//===----------------------------------------------------------------------===//

void Inference::truncate(Sequence &sequence, int64_t position) {
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
  for (int32_t page : sequence.pages)
    pool.hold(page);
  return sequence;
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
  return {};
}

/// Through the host: a page is copied once in the life of a forked sequence.
Result<void> Inference::copyRows(int64_t from, int64_t to, int64_t count) {
  for (size_t cache : caches) {
    std::vector<std::byte> rows(static_cast<size_t>(count * rowBytes(session->program().values[cache])));
    QUANT_TRY(session->readRows(cache, from, rows));
    QUANT_TRY(session->writeRows(cache, to, rows));
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

/// Of the piece's tokens, those among the step's outputs: the last ones.
int64_t Inference::Piece::outputs() const {
  auto total = static_cast<int64_t>(step->tokens.size());
  return std::clamp<int64_t>(first + count - (total - step->outputs), 0, count);
}

/// Steps of more tokens than fit a call are cut; what is short shares calls, behind all others.
std::vector<Inference::Call> Inference::plan(std::span<const SequenceStep> steps) const {
  std::vector<Call> calls, shared;
  int64_t room = 0;
  for (const SequenceStep &step : steps) {
    auto total = static_cast<int64_t>(step.tokens.size());
    for (int64_t first = 0; first < total; first += maxChunk) {
      Piece piece = {&step, first, std::min(maxChunk, total - first)};
      bool isShort = piece.count <= abi::kShortStep && first + piece.count == total;
      if (!isShort) {
        calls.push_back({piece});
        continue;
      }
      if (piece.count > room) {
        shared.emplace_back();
        room = maxChunk;
      }
      shared.back().push_back(piece);
      room -= piece.count;
    }
  }
  std::ranges::move(shared, std::back_inserter(calls));
  return calls;
}

void Inference::enter(const Call &call) {
  int64_t token = 0, output = 0, number = 0;
  for (const Piece &piece : call) {
    const Sequence &sequence = *piece.step->sequence;
    std::ranges::copy(piece.step->tokens.subspan(piece.first, piece.count), inputs.tokens + token);
    for (int64_t i = 0; i < piece.count; ++i) {
      inputs.positions[token + i] = static_cast<int32_t>(sequence.position() + i);
      inputs.sequences[token + i] = static_cast<int32_t>(number);
    }
    std::copy_n(sequence.pages.begin(), pagesOf(sequence.position() + piece.count), inputs.pages + number * tableColumns);
    token += piece.count;
    for (int64_t i = piece.outputs(); i > 0; --i)
      inputs.selected[output++] = static_cast<int32_t>(token - i);
    ++number;
  }
}

/// What has been computed is part of the sequence, and of what others may find.
void Inference::append(const Piece &piece) {
  Sequence &sequence = *piece.step->sequence;
  auto added = piece.step->tokens.subspan(piece.first, piece.count);
  sequence.tokens.insert(sequence.tokens.end(), added.begin(), added.end());
  publish(sequence);
}

Result<void> Inference::run(const Call &call) {
  int64_t tokens = 0, outputs = 0, vocab = session->program().limits.vocab;
  for (const Piece &piece : call) {
    tokens += piece.count;
    outputs += piece.outputs();
  }
  enter(call);
  QUANT_TRY(session->run({tokens, static_cast<int64_t>(call.size()), outputs, session->cacheRows()}));
  const float *logits = logitsOutput;
  for (const Piece &piece : call) {
    auto total = static_cast<int64_t>(piece.step->tokens.size());
    int64_t firstOutput = total - piece.step->outputs, done = std::max<int64_t>(piece.first - firstOutput, 0);
    std::copy_n(logits, piece.outputs() * vocab, piece.step->logits + done * vocab);
    logits += piece.outputs() * vocab;
    append(piece);
  }
  return {};
}

Result<void> Inference::reserve(std::span<const SequenceStep> steps) {
  for (const SequenceStep &step : steps)
    QUANT_TRY(makeRoom(*step.sequence, static_cast<int64_t>(step.tokens.size())));
  return {};
}

Result<void> Inference::runAll(std::span<const SequenceStep> steps) {
  QUANT_TRY(reserve(steps));
  for (const Call &call : plan(steps))
    QUANT_TRY(run(call));
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

} // namespace quant::runtime
