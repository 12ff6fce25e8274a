//===- engine.cpp - sessions, and requests that wait for one --------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/quant-serve/engine.h"

#include <algorithm>

namespace quant::serve {

Engine::Engine(std::vector<generate::Generator> given) : generators(std::move(given)) {
  for (generate::Generator &generator : generators)
    free.push_back(&generator);
  rows = quant_session_context(generators.front().api());
}

size_t Engine::running() const {
  std::lock_guard lock(mutex);
  return generators.size() - free.size();
}

size_t Engine::waiting() const {
  std::lock_guard lock(mutex);
  return queue.size();
}

void Engine::stop() {
  std::lock_guard lock(mutex);
  stopping = true;
  changed.notify_all();
}

std::optional<Engine::Outcome> Engine::acquire(Clock::time_point deadline, const std::function<bool()> &whileWaiting,
                                               generate::Generator *&taken) {
  std::unique_lock lock(mutex);
  uint64_t ticket = nextTicket++;
  queue.push_back(ticket);
  auto leave = [&](Outcome outcome) {
    std::erase(queue, ticket);
    changed.notify_all(); // another one may be first now
    return std::optional(outcome);
  };
  auto ready = [&] { return stopping || (queue.front() == ticket && !free.empty()); };
  while (!ready()) {
    changed.wait_until(lock, std::min(deadline, Clock::now() + std::chrono::seconds(1)));
    if (ready())
      break;
    if (Clock::now() >= deadline)
      return leave(Outcome::TimedOut);
    lock.unlock();
    bool here = whileWaiting();
    lock.lock();
    if (!here)
      return leave(Outcome::GoneAway);
  }
  if (stopping)
    return leave(Outcome::Stopping);
  taken = free.back();
  free.pop_back();
  queue.pop_front();
  changed.notify_all();
  return std::nullopt;
}

void Engine::release(generate::Generator *generator) {
  std::lock_guard lock(mutex);
  free.push_back(generator);
  changed.notify_all();
}

Engine::Result Engine::run(const generate::Request &request, Clock::time_point deadline,
                           const std::function<bool()> &whileWaiting, const std::function<bool(const generate::Step &)> &onStep) {
  Result result;
  generate::Generator *generator = nullptr;
  if (auto outcome = acquire(deadline, whileWaiting, generator)) {
    result.outcome = *outcome;
    return result;
  }
  bool gone = false;
  auto step = [&](const generate::Step &one) {
    gone = gone || !onStep(one);
    std::lock_guard lock(mutex);
    return !gone && !stopping && Clock::now() < deadline;
  };
  auto completion = generator->complete(request, step);
  // What a failed pass left in the session is not relied on.
  if (!completion)
    generator->reset();
  release(generator);
  if (!completion) {
    result.outcome = Outcome::Failed;
    result.error = completion.error().message;
  } else {
    result.outcome = gone ? Outcome::GoneAway : Outcome::Done;
    result.completion = std::move(*completion);
  }
  return result;
}

} // namespace quant::serve
