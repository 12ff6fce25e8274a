//===- paged_program.h - a program, called with tokens and pages -*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_RUNTIME_API_PAGED_PROGRAM_H
#define QUANT_RUNTIME_API_PAGED_PROGRAM_H

#include "runtime/device/common/session.h"

#include <span>

namespace quant::runtime {

/// Some tokens of one sequence in a call.
struct CallPart {
  std::span<const int32_t> tokens;
  int64_t position = 0;              ///< of the first
  std::span<const int32_t> pages;    ///< of the sequence, up to the last of these tokens
  int64_t outputs = 0;               ///< the last tokens, which get logits
  float *logits = nullptr;           ///< outputs x vocab
  const float *statesRead = nullptr; ///< tokens x width, where the program reads states: of the token in front of each
  float *statesWritten = nullptr;    ///< tokens x width, where it writes them: of each token
};

/// Of job number `job`, `count` tokens from `first` on.
struct CallPiece {
  size_t job;
  int64_t first, count;
};

/// How jobs of so many tokens are called: what is longer than `maxChunk` is cut, jobs of few tokens share calls behind all
/// others. On the host, what a job computes does not depend on the other jobs then, bit for bit (abi::kShortStep).
std::vector<std::vector<CallPiece>> planCalls(std::span<const int64_t> jobs, int64_t maxChunk);

/// A session whose program has the inputs and outputs that docs/module-format.md asks for.
class PagedProgram {
public:
  enum class States : uint8_t { None, Written, Read };

  /// Errors: the program has not those inputs and outputs; `states` tells which of them there are beside tokens, pages and
  /// logits.
  static Result<PagedProgram> create(std::unique_ptr<Session> session, States states);

  /// Runs one call.
  Result<void> run(std::span<const CallPart> parts);

  Session &device() const { return *session; }
  const Limits &limits() const { return session->program().limits; }
  /// Numbers of a state, 0 where the program has none.
  int64_t stateWidth() const { return width; }

private:
  explicit PagedProgram(std::unique_ptr<Session> session) : session(std::move(session)) {}
  Result<void> bind(States states);
  void enter(std::span<const CallPart> parts);

  std::unique_ptr<Session> session;
  int64_t tableColumns = 0; ///< of the table of pages
  int64_t width = 0;
  /// The session's memory; as long as the program's limits.
  int32_t *tokens = nullptr, *positions = nullptr, *sequences = nullptr, *pages = nullptr, *selected = nullptr;
  const float *logits = nullptr, *statesWritten = nullptr;
  float *statesRead = nullptr;
};

} // namespace quant::runtime

#endif // QUANT_RUNTIME_API_PAGED_PROGRAM_H
