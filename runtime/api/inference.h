//===- inference.h - tokens in, logits out ----------------------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_RUNTIME_API_INFERENCE_H
#define QUANT_RUNTIME_API_INFERENCE_H

#include "runtime/device/common/session.h"

#include <span>

namespace quant::runtime {

/// A session seen as a language model: keeps the position in the context and splits long inputs into chunks.
class Inference {
public:
  /// Errors: the program has no input `tokens` or output `logits` of the form that docs/module-format.md asks for.
  static Result<Inference> create(std::unique_ptr<Session> session, int64_t maxChunk);

  /// Errors: an id outside the vocabulary; the message names index and id.
  Result<void> checkTokens(std::span<const int32_t> tokens) const;

  /// Errors: `count` more tokens do not fit the context.
  Result<void> checkRoom(int64_t count) const;

  /// Runs checked tokens; the last `outputs` of them get a row of `logits` each.
  Result<void> forward(std::span<const int32_t> tokens, int64_t outputs, float *logits);

  int64_t position() const { return nextPosition; }
  /// `position` is in [0, position()].
  void reset(int64_t position) { nextPosition = position; }

  const Session &device() const { return *session; }

private:
  Inference() = default;

  std::unique_ptr<Session> session;
  int64_t maxChunk = 0;
  int64_t nextPosition = 0;
  int32_t *tokenInput = nullptr;       ///< limits.tokens ids, the session's
  const float *logitsOutput = nullptr; ///< limits.tokens x limits.vocab, the session's
};

} // namespace quant::runtime

#endif // QUANT_RUNTIME_API_INFERENCE_H
