//===- inference.h - tokens in, logits out ----------------------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_RUNTIME_API_INFERENCE_H
#define QUANT_RUNTIME_API_INFERENCE_H

#include "runtime/api/page_pool.h"
#include "runtime/api/paged_program.h"
#include "runtime/checkpoint/safetensors.h"

#include <filesystem>
#include <string>

namespace quant::runtime {

/// Tokens whose keys are in the cache, and the pages that hold them: token i is in row i % kPageRows of page i / kPageRows.
class Sequence {
public:
  int64_t position() const { return static_cast<int64_t>(tokens.size()); }

private:
  friend class Inference;
  std::vector<int32_t> tokens, pages;
  std::vector<PagePool::Prefix> prefixes; ///< of each whole page, the run up to its end
  /// The draft's key of a position is computed from its token and the state of the token in front. These are the states of the
  /// last tokens, [n, width], that the draft's keys still wait for. Zeros stand in for what is not known.
  std::vector<float> states;
  std::optional<int32_t> guessedFrom; ///< the draft's key of the next position is there, if this becomes the next token
};

/// What a sequence is to do in a call.
struct SequenceStep {
  Sequence *sequence = nullptr;
  std::span<const int32_t> tokens; ///< to append
  int64_t outputs = 0;             ///< the last of them that get a row of logits
  float *logits = nullptr;         ///< outputs x vocab
};

/// What a sequence wants to have guessed.
struct DraftStep {
  Sequence *sequence = nullptr;
  int32_t token = 0;       ///< the sequence's next one
  float *logits = nullptr; ///< [vocab], of the token behind it
};

/// What is made of a session.
struct InferenceOptions {
  int64_t maxChunk = 0;                ///< most tokens of a call; 0: the program's
  std::string identity = {};           ///< tells module and checkpoint from others
  std::unique_ptr<Session> draft = {}; ///< with the same pages; null: nothing is guessed
};

/// A session seen as a language model: keeps the sequences' positions and pages, and splits work into calls of the program.
///
/// On the host, what a sequence computes does not depend on the other sequences, bit for bit (planCalls).
class Inference {
public:
  /// Errors: programs that have not the inputs and outputs that docs/module-format.md asks for.
  static Result<Inference> create(std::unique_ptr<Session> session, InferenceOptions options);

  /// Errors: an id outside the vocabulary; the message names index and id.
  Result<void> checkTokens(std::span<const int32_t> tokens) const;

  /// Errors: `count` more tokens do not fit the context.
  Result<void> checkRoom(const Sequence &sequence, int64_t count) const;

  /// Runs checked steps of different sequences. Errors: too few pages (ErrorKind::CacheFull), and those of Session::run; the
  /// sequences then hold what they held before.
  Result<void> forward(std::span<const SequenceStep> steps);

  /// Guesses of different sequences with tokens, for whose next tokens there is room. The sequences keep their positions. Errors:
  /// those of forward.
  Result<void> guess(std::span<const DraftStep> steps);
  bool hasDraft() const { return draft.has_value(); }

  /// Keeps the first `position` tokens, which is in [0, sequence.position()].
  void truncate(Sequence &sequence, int64_t position);
  /// Gives its pages back.
  void clear(Sequence &sequence) { truncate(sequence, 0); }
  /// The same tokens, in the same pages.
  Sequence fork(const Sequence &sequence);
  /// Gives an empty sequence those of `tokens` that are known from other sequences, in whole pages and never the last token:
  /// that one is to be computed, for its logits. Returns how many.
  int64_t reuse(Sequence &sequence, std::span<const int32_t> tokens);

  /// A sequence's tokens and what the caches hold of them, to a safetensors file and back: `tokens` I32 [n], of each cache its
  /// rows as U8 [n, bytes], and where there is a draft `states` F32, with the identity as metadata. Errors: those of writing; a
  /// file that is damaged or was saved by another module or with another checkpoint; too few pages.
  Result<void> save(const Sequence &sequence, const std::filesystem::path &path) const;
  Result<Sequence> restore(const std::filesystem::path &path);

  const PagePool &pages() const { return pool; }
  const Session &device() const { return main.device(); }
  /// Also that of the draft.
  std::vector<const Session *> devices() const;

private:
  Inference(PagedProgram program, std::optional<PagedProgram> guesser, InferenceOptions &options);

  /// A KV cache of either program.
  struct Cache {
    Session *session;
    size_t value; ///< of its program
    const std::string &name() const { return session->program().values[value].name; }
    int64_t rowBytes() const { return runtime::rowBytes(session->program().values[value]); }
  };
  /// Draft keys to be computed.
  struct DraftJob {
    Sequence *sequence;
    std::vector<int32_t> tokens;
    float *logits; ///< of the last token; null: none are wanted
  };

  Result<void> reserve(std::span<const SequenceStep> steps);
  Result<void> makeRoom(Sequence &sequence, int64_t count);
  Result<void> separate(Sequence &sequence);
  Result<void> copyRows(int64_t from, int64_t to, int64_t count);
  void publish(Sequence &sequence);
  Result<void> readCaches(const checkpoint::SafetensorsFile &file, Sequence &sequence);
  Result<void> readStates(const checkpoint::SafetensorsFile &file, Sequence &sequence) const;
  void trim(Sequence &sequence);
  Result<void> run(std::span<const SequenceStep> steps, std::span<const CallPiece> call);
  Result<void> runAll(std::span<const SequenceStep> steps);
  int64_t waitingStates(const Sequence &sequence) const;
  void append(Sequence &sequence, std::span<const int32_t> tokens, std::span<const float> states);
  void keepStates(Sequence &sequence, int64_t removed) const;
  Result<void> followDraft(std::span<const SequenceStep> steps, std::span<const CallPiece> call);
  Result<void> runDraft(std::span<const DraftJob> jobs);

  PagedProgram main;
  std::optional<PagedProgram> draft;
  std::vector<Cache> caches;
  std::string identity;
  PagePool pool;
  int64_t maxChunk = 0;
};

} // namespace quant::runtime

#endif // QUANT_RUNTIME_API_INFERENCE_H
