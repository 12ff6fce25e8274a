//===- inference.h - tokens in, logits out ----------------------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_RUNTIME_API_INFERENCE_H
#define QUANT_RUNTIME_API_INFERENCE_H

#include "runtime/api/page_pool.h"
#include "runtime/checkpoint/safetensors.h"
#include "runtime/device/common/session.h"

#include <filesystem>
#include <span>
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
};

/// What a sequence is to do in a call.
struct SequenceStep {
  Sequence *sequence = nullptr;
  std::span<const int32_t> tokens; ///< to append
  int64_t outputs = 0;             ///< the last of them that get a row of logits
  float *logits = nullptr;         ///< outputs x vocab
};

/// A session seen as a language model: keeps the sequences' positions and pages, and splits work into calls of the program.
///
/// On the host, what a sequence computes does not depend on the other sequences, bit for bit: steps of few tokens share a call,
/// a longer one has calls of its own (abi::kShortStep).
class Inference {
public:
  /// `maxChunk` is the most tokens of a call, 0 for the program's; `identity` tells module and checkpoint from others. Errors:
  /// the program has not the inputs and outputs that docs/module-format.md asks for.
  static Result<Inference> create(std::unique_ptr<Session> session, int64_t maxChunk, std::string identity = {});

  /// Errors: an id outside the vocabulary; the message names index and id.
  Result<void> checkTokens(std::span<const int32_t> tokens) const;

  /// Errors: `count` more tokens do not fit the context.
  Result<void> checkRoom(const Sequence &sequence, int64_t count) const;

  /// Runs checked steps of different sequences. Errors: too few pages (ErrorKind::CacheFull), and those of Session::run; the
  /// sequences then hold what they held before.
  Result<void> forward(std::span<const SequenceStep> steps);

  /// Keeps the first `position` tokens, which is in [0, sequence.position()].
  void truncate(Sequence &sequence, int64_t position);
  /// Gives its pages back.
  void clear(Sequence &sequence) { truncate(sequence, 0); }
  /// The same tokens, in the same pages.
  Sequence fork(const Sequence &sequence);
  /// Gives an empty sequence those of `tokens` that are known from other sequences, in whole pages and never the last token:
  /// that one is to be computed, for its logits. Returns how many.
  int64_t reuse(Sequence &sequence, std::span<const int32_t> tokens);

  /// A sequence's tokens and what the caches hold of them, to a safetensors file and back: `tokens` I32 [n], and of each cache
  /// its rows as U8 [n, bytes], with the identity as metadata. Errors: those of writing; a file that is damaged or was saved by
  /// another module or with another checkpoint; too few pages.
  Result<void> save(const Sequence &sequence, const std::filesystem::path &path) const;
  Result<Sequence> restore(const std::filesystem::path &path);

  const PagePool &pages() const { return pool; }
  const Session &device() const { return *session; }

private:
  explicit Inference(std::unique_ptr<Session> session);

  /// Some tokens of a step.
  struct Piece {
    const SequenceStep *step;
    int64_t first, count;
    int64_t outputs() const;
  };
  using Call = std::vector<Piece>;

  Result<void> reserve(std::span<const SequenceStep> steps);
  Result<void> makeRoom(Sequence &sequence, int64_t count);
  Result<void> separate(Sequence &sequence);
  Result<void> copyRows(int64_t from, int64_t to, int64_t count);
  void publish(Sequence &sequence);
  Result<void> readCaches(const checkpoint::SafetensorsFile &file, Sequence &sequence);
  void trim(Sequence &sequence);
  std::vector<Call> plan(std::span<const SequenceStep> steps) const;
  Result<void> run(const Call &call);
  Result<void> runAll(std::span<const SequenceStep> steps);
  void enter(const Call &call);
  void append(const Piece &piece);

  std::unique_ptr<Session> session;
  std::vector<size_t> caches; ///< values of the program
  std::string identity;
  PagePool pool;
  int64_t maxChunk = 0;
  int64_t tableColumns = 0; ///< of the table of pages
  /// The session's memory; as long as the program's limits.
  struct Inputs {
    int32_t *tokens, *positions, *sequences, *pages, *selected;
  } inputs = {};
  const float *logitsOutput = nullptr;
};

} // namespace quant::runtime

#endif // QUANT_RUNTIME_API_INFERENCE_H
