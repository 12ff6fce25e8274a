//===- engine.h - sessions, and requests that wait for one ---- -*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_TOOLS_QUANT_SERVE_ENGINE_H
#define QUANT_TOOLS_QUANT_SERVE_ENGINE_H

#include "tools/generate/completion.h"

#include <chrono>
#include <condition_variable>
#include <deque>
#include <mutex>

namespace quant::serve {

using Clock = std::chrono::steady_clock;

/// Hands out sessions, each to one request at a time, first come first served. Any thread may call it.
class Engine {
public:
  explicit Engine(std::vector<generate::Generator> generators);

  enum class Outcome : uint8_t { Done, Failed, TimedOut, GoneAway, Stopping };
  struct Result {
    Outcome outcome = Outcome::Done;
    generate::Completion completion; ///< of Done, which a deadline or stop() may have cut short
    std::string error;               ///< of Failed
  };

  /// Waits for a session and runs the request there. `whileWaiting` is called about once a second as long as it waits, `onStep`
  /// with each token; false from either: the client is gone. Past `deadline` a request that still waits is TimedOut, one that
  /// runs is cut short.
  Result run(const generate::Request &request, Clock::time_point deadline, const std::function<bool()> &whileWaiting,
             const std::function<bool(const generate::Step &)> &onStep);

  /// Cuts running requests short and lets none begin.
  void stop();

  int64_t context() const { return rows; } ///< rows of each session
  size_t running() const;
  size_t waiting() const;

private:
  std::optional<Outcome> acquire(Clock::time_point deadline, const std::function<bool()> &whileWaiting,
                                 generate::Generator *&taken);
  void release(generate::Generator *generator);

  std::vector<generate::Generator> generators;
  std::vector<generate::Generator *> free;
  std::deque<uint64_t> queue; ///< tickets of those that wait, the first comes next
  uint64_t nextTicket = 0;
  int64_t rows = 0;
  bool stopping = false;
  mutable std::mutex mutex;
  std::condition_variable changed;
};

} // namespace quant::serve

#endif // QUANT_TOOLS_QUANT_SERVE_ENGINE_H
