//===- engine.cpp - many requests in one session --------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/quant-serve/engine.h"

#include <algorithm>
#include <utility>

namespace quant::serve {

static double secondsBetween(Clock::time_point first, Clock::time_point last) {
  return std::chrono::duration<double>(last - first).count();
}

/// Who asked, under the engine's lock.
struct Engine::Client {
  std::deque<std::pair<size_t, generate::Step>> steps; ///< that it has not seen, each with the number of its request
  size_t running = 0;                                  ///< requests that have not ended
  bool isGone = false;
  std::condition_variable changed; ///< for its thread
};

/// A request at work. The worker alone uses it until its end, which is told under the engine's lock.
struct Engine::Job {
  Job(Client &client, size_t number, const generate::Request &request, Clock::time_point deadline)
      : client(client), number(number), request(request), deadline(deadline) {}

  Client &client;
  const size_t number; ///< among its client's
  const generate::Request &request;
  const Clock::time_point deadline;
  std::optional<generate::AnswerWriter> answer;
  generate::SequenceHandle sequence;
  std::vector<int32_t> tokens;    ///< the prompt and what was chosen
  std::vector<int32_t> running;   ///< in this pass; the last may be a guess
  std::vector<float> logits;      ///< of the last token, then of the guess
  std::optional<int32_t> guessed; ///< in this pass
  int64_t pages = 0;              ///< that it was promised
  Clock::time_point begun, answering;
  std::vector<generate::Step> chosen; ///< in this pass
  int64_t reusedTokens = 0;
  std::string failure;
  Result result;

  /// Tokens that the sequence does not hold yet: of the prompt, or the one chosen last.
  std::span<const int32_t> next(int64_t most) const {
    auto held = static_cast<size_t>(quant_sequence_position(sequence.get())); // and perhaps a guess
    std::span<const int32_t> rest = std::span(tokens).subspan(std::min(held, tokens.size()));
    return rest.first(std::min(rest.size(), static_cast<size_t>(most)));
  }
  bool isInPrompt() const { return answer->completion.tokens.empty(); }
  bool isAnswered() const { return next(1).empty() || (!isInPrompt() && answer->ended()); }

  /// Takes what the cache knows of the prompt, before its first pass: other prompts have run by then.
  void reuse() {
    auto size = static_cast<int64_t>(tokens.size());
    int64_t known = 0;
    if (quant_sequence_reuse(sequence.get(), tokens.data(), size, &known) != QUANT_OK)
      failure = quant_last_error();
    reusedTokens = known;
    answer->completion.promptTokensRun = size - known;
  }

  /// The token behind those that have run; where it was guessed, the one behind it, too.
  void choose(int64_t vocab) {
    if (isInPrompt()) {
      answering = Clock::now();
      answer->completion.prefillSeconds = secondsBetween(begun, answering);
    }
    std::span<const float> rows = logits;
    chooseBy(rows.first(static_cast<size_t>(vocab)));
    std::optional<int32_t> guess = std::exchange(guessed, std::nullopt);
    if (!guess || !failure.empty())
      return;
    if (tokens.back() == guess)
      chooseBy(rows.last(static_cast<size_t>(vocab)));
    else if (quant_sequence_reset(sequence.get(), quant_sequence_position(sequence.get()) - 1) != QUANT_OK)
      failure = quant_last_error();
  }

private:
  void chooseBy(std::span<const float> row) {
    if (answer->ended())
      return;
    ::quant::Result<generate::Step> step = answer->choose(row, tokens);
    if (!step) {
      failure = step.error().message;
      return;
    }
    tokens.push_back(step->token);
    chosen.push_back(std::move(*step));
  }
};

Engine::Engine(generate::SessionHandle given, std::shared_ptr<const text::Tokenizer> tokenizer, const Options &options)
    : session(std::move(given)), options(options), contextTokens(quant_session_context(session.get())),
      cachePages(quant_session_cache_pages(session.get())), tokenizer(std::move(tokenizer)), freePages(cachePages),
      worker([this] { work(); }) {}

Engine::~Engine() {
  stop();
  worker.join();
}

Engine::Counts Engine::counts() const {
  std::lock_guard lock(mutex);
  return {active.size(), queue.size(), cachePages, freePages, reusedTokens};
}

void Engine::stop() {
  std::lock_guard lock(mutex);
  stopping = true;
  changed.notify_all();
}

//===----------------------------------------------------------------------===//
// The client's thread
//===----------------------------------------------------------------------===//

std::vector<Engine::Result> Engine::run(std::span<const generate::Request> requests, Clock::time_point deadline,
                                        const std::function<bool()> &whileWaiting, const OnStep &onStep) {
  Client client;
  std::vector<JobPtr> jobs;
  for (const generate::Request &request : requests)
    jobs.push_back(std::make_shared<Job>(client, jobs.size(), request, deadline));
  std::unique_lock lock(mutex);
  if (stopping)
    return std::vector<Result>(requests.size(), Result{Outcome::Stopping, {}, {}});
  client.running = jobs.size();
  queue.insert(queue.end(), jobs.begin(), jobs.end());
  changed.notify_all();
  // The worker uses client and requests until the last has ended, whether anyone still listens or not.
  while (client.running > 0 || !client.steps.empty()) {
    bool isThere = true;
    if (!client.steps.empty()) {
      auto [number, step] = std::move(client.steps.front());
      client.steps.pop_front();
      lock.unlock();
      isThere = client.isGone || onStep(number, step);
      lock.lock();
    } else if (client.changed.wait_for(lock, std::chrono::seconds(1)) == std::cv_status::timeout && !client.isGone) {
      lock.unlock();
      isThere = whileWaiting();
      lock.lock();
    }
    client.isGone = client.isGone || !isThere;
  }
  std::vector<Result> results;
  for (const JobPtr &job : jobs) {
    if (client.isGone && job->result.outcome != Outcome::Failed)
      job->result.outcome = Outcome::GoneAway;
    results.push_back(std::move(job->result));
  }
  return results;
}

//===----------------------------------------------------------------------===//
// The worker
//===----------------------------------------------------------------------===//

void Engine::work() {
  std::unique_lock lock(mutex);
  while (true) {
    changed.wait(lock, [&] { return stopping || !queue.empty() || !active.empty(); });
    if (stopping)
      return endAll();
    dropEnded();
    admit();
    if (!active.empty())
      pass(lock);
  }
}

void Engine::end(Job &job, Outcome outcome, std::string error) {
  if (job.answer) {
    if (std::optional<generate::Step> rest = job.answer->rest())
      job.client.steps.emplace_back(job.number, std::move(*rest));
    job.result.completion = std::move(job.answer->completion);
    job.result.completion.decodeSeconds = secondsBetween(job.answering, Clock::now());
  }
  job.sequence.reset();
  promisedPages -= job.pages;
  job.result.outcome = outcome;
  job.result.error = std::move(error);
  --job.client.running;
  job.client.changed.notify_all();
}

void Engine::endAll() {
  for (const JobPtr &job : active) {
    job->answer->cancel();
    end(*job, Outcome::Done);
  }
  for (const JobPtr &job : queue)
    end(*job, Outcome::Stopping);
  active.clear();
  queue.clear();
}

/// Ends those that nobody waits for any longer.
void Engine::dropEnded() {
  Clock::time_point now = Clock::now();
  std::erase_if(queue, [&](const JobPtr &job) {
    if (!job->client.isGone && now < job->deadline)
      return false;
    end(*job, job->client.isGone ? Outcome::GoneAway : Outcome::TimedOut);
    return true;
  });
  std::erase_if(active, [&](const JobPtr &job) {
    if (!job->client.isGone && now < job->deadline)
      return false;
    job->answer->cancel();
    end(*job, Outcome::Done);
    return true;
  });
}

/// Gives the job a sequence.
::quant::Result<void> Engine::begin(Job &job) {
  job.begun = job.answering = Clock::now();
  QUANT_TRY_ASSIGN(job.answer, generate::AnswerWriter::create(job.request, tokenizer));
  job.tokens = job.request.prompt;
  job.logits.resize(static_cast<size_t>(options.guesses ? 2 * options.vocab : options.vocab));
  quant_sequence *sequence = nullptr;
  if (quant_sequence_create(session.get(), &sequence) != QUANT_OK)
    return generate::apiError();
  job.sequence.reset(sequence);
  return {};
}

void Engine::admit() {
  while (!queue.empty() && active.size() < static_cast<size_t>(options.maxSequences)) {
    JobPtr job = queue.front();
    // The last new token is not run. A sequence of its own length always fits an empty cache.
    int64_t tokens = static_cast<int64_t>(job->request.prompt.size()) + std::max<int64_t>(job->request.maxNewTokens - 1, 0);
    int64_t pages = (std::min(tokens, contextTokens) + QUANT_PAGE_TOKENS - 1) / QUANT_PAGE_TOKENS;
    if (promisedPages + pages > cachePages)
      return;
    queue.pop_front();
    job->pages = pages;
    promisedPages += pages;
    if (::quant::Result<void> begun = begin(*job); begun)
      active.push_back(std::move(job));
    else
      end(*job, Outcome::Failed, begun.error().message);
  }
}

/// Those of the next pass: all that write, and the prompt that came first.
std::vector<Engine::JobPtr> Engine::jobsOfPass() const {
  std::vector<JobPtr> jobs;
  bool hasPrompt = false;
  for (const JobPtr &job : active) {
    if (job->isInPrompt() && hasPrompt)
      continue;
    hasPrompt = hasPrompt || job->isInPrompt();
    jobs.push_back(job);
  }
  return jobs;
}

/// Guesses for the answers that are being written what comes behind the token that they run now, if a guess can save a pass and
/// has room among the pages that they were promised. False: it failed.
bool Engine::guess(const std::vector<JobPtr> &jobs) {
  std::vector<JobPtr> guessing;
  std::vector<quant_draft_step> steps;
  for (const JobPtr &job : jobs) {
    int64_t room = std::min(contextTokens, job->pages * QUANT_PAGE_TOKENS) - quant_sequence_position(job->sequence.get());
    if (job->isInPrompt() || !job->answer->wantsGuess() || room < 2)
      continue;
    guessing.push_back(job);
    steps.push_back({job->sequence.get(), job->running.back(), job->logits.data()});
  }
  if (steps.empty())
    return true;
  if (quant_guess_steps(session.get(), steps.data(), static_cast<int64_t>(steps.size())) != QUANT_OK)
    return false;
  for (const JobPtr &job : guessing) {
    ::quant::Result<int32_t> guess =
        job->answer->guess(std::span(job->logits).first(static_cast<size_t>(options.vocab)), job->tokens);
    if (!guess) {
      job->failure = guess.error().message;
      continue;
    }
    job->guessed = *guess;
    job->running.push_back(*guess);
  }
  return true;
}

/// Runs the tokens at hand, a chunk of a prompt or one with a guess, and chooses what follows where the prompt is through.
void Engine::compute(const std::vector<JobPtr> &jobs) {
  for (const JobPtr &job : jobs) {
    if (quant_sequence_position(job->sequence.get()) == 0)
      job->reuse();
    std::span<const int32_t> tokens = job->next(options.maxTokens);
    job->running.assign(tokens.begin(), tokens.end());
  }
  bool isRun = !options.guesses || guess(jobs);
  std::vector<quant_sequence_step> steps;
  for (const JobPtr &job : jobs)
    steps.push_back({job->sequence.get(), job->running.data(), static_cast<int64_t>(job->running.size()), job->guessed ? 2 : 1,
                     job->logits.data()});
  isRun = isRun && quant_forward_steps(session.get(), steps.data(), static_cast<int64_t>(steps.size())) == QUANT_OK;
  for (const JobPtr &job : jobs) {
    if (!isRun)
      job->failure = quant_last_error();
    else if (job->failure.empty() && job->next(1).empty())
      job->choose(options.vocab);
  }
}

void Engine::pass(std::unique_lock<std::mutex> &lock) {
  std::vector<JobPtr> jobs = jobsOfPass();
  lock.unlock();
  compute(jobs);
  lock.lock();
  for (const JobPtr &job : jobs) {
    for (generate::Step &step : job->chosen)
      job->client.steps.emplace_back(job->number, std::move(step));
    job->chosen.clear();
    reusedTokens += std::exchange(job->reusedTokens, 0);
    job->client.changed.notify_all();
  }
  std::erase_if(active, [&](const JobPtr &job) {
    if (job->failure.empty() && !job->isAnswered())
      return false;
    end(*job, job->failure.empty() ? Outcome::Done : Outcome::Failed, job->failure);
    return true;
  });
  freePages = quant_session_free_pages(session.get());
}

} // namespace quant::serve
