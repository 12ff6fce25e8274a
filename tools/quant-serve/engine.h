//===- engine.h - many requests in one session ----------------- -*- C++ -*-===//
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
#include <thread>

namespace quant::serve {

using Clock = std::chrono::steady_clock;

/// Computes requests side by side in one session, each as a sequence of its own (continuous batching, as in Orca, OSDI 2022):
/// every pass has a token of each answer that is being written, and a chunk of one prompt. Requests begin in the order in which
/// they came, as soon as one of `maxSequences` places is free and the KV cache has room for prompt and answer. Any thread may
/// call it.
class Engine {
public:
  struct Options {
    int64_t vocab = 0, maxTokens = 0; ///< the module's; of a call
    int maxSequences = 1;
    bool guesses = false; ///< the session has an MTP layer
  };
  Engine(generate::SessionHandle session, std::shared_ptr<const text::Tokenizer> tokenizer, const Options &options);
  ~Engine();
  Engine(const Engine &) = delete;

  enum class Outcome : uint8_t { Done, Failed, TimedOut, GoneAway, Stopping };
  struct Result {
    Outcome outcome = Outcome::Done;
    generate::Completion completion; ///< of Done, which a deadline or stop() may have cut short
    std::string error;               ///< of Failed
  };

  using OnStep = std::function<bool(size_t request, const generate::Step &step)>;

  /// Runs a client's requests and returns when all have ended. `whileWaiting` is called about once a second while nothing comes,
  /// `onStep` with each token; false from either: the client is gone. Past `deadline` a request that still waits is TimedOut, one
  /// that runs is cut short.
  std::vector<Result> run(std::span<const generate::Request> requests, Clock::time_point deadline,
                          const std::function<bool()> &whileWaiting, const OnStep &onStep);

  /// Cuts running requests short and lets none begin.
  void stop();

  int64_t context() const { return contextTokens; } ///< of a sequence
  struct Counts {
    size_t running = 0, waiting = 0;
    int64_t pages = 0, freePages = 0; ///< of the KV cache
    int64_t reusedTokens = 0;         ///< of prompts, found in the cache
  };
  Counts counts() const;

private:
  struct Client;
  struct Job;
  using JobPtr = std::shared_ptr<Job>;

  void work();
  void dropEnded();
  void admit();
  ::quant::Result<void> begin(Job &job);
  void pass(std::unique_lock<std::mutex> &lock);
  std::vector<JobPtr> jobsOfPass() const;
  bool guess(const std::vector<JobPtr> &jobs);
  void compute(const std::vector<JobPtr> &jobs);
  void end(Job &job, Outcome outcome, std::string error = {});
  void endAll();

  generate::SessionHandle session;
  const Options options;
  const int64_t contextTokens, cachePages;
  const std::shared_ptr<const text::Tokenizer> tokenizer;

  mutable std::mutex mutex;
  std::condition_variable changed; ///< for the worker
  std::deque<JobPtr> queue;        ///< those that wait, the first comes next
  std::vector<JobPtr> active;
  int64_t promisedPages = 0; ///< to active jobs, for all that they may hold
  int64_t reusedTokens = 0, freePages = 0;
  bool stopping = false;
  std::thread worker; ///< last: it uses all of the above
};

} // namespace quant::serve

#endif // QUANT_TOOLS_QUANT_SERVE_ENGINE_H
