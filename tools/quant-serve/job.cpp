//===- job.cpp - requests for answers -------------------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/quant-serve/job.h"

#include "runtime/support/text.h"

#include <fmt/core.h>
#include <httplib.h>

#include <random>

namespace quant::serve {

//===----------------------------------------------------------------------===//
// From a body to requests of a session
//===----------------------------------------------------------------------===//

static tl::unexpected<Refusal> refuse(std::string message, std::string parameter, std::string code = {}) {
  return tl::unexpected(Refusal{400, std::move(message), std::move(parameter), std::move(code)});
}

Answer<std::vector<int32_t>> Server::promptOf(const Call &call, const Prompt *prompt) {
  const char *field = prompt ? "prompt" : "messages";
  auto checked = [&](Result<std::vector<int32_t>> tokens) -> Answer<std::vector<int32_t>> {
    if (!tokens)
      return refuse(tokens.error().message, field);
    if (tokens->empty())
      return refuse("the prompt has no tokens", field);
    return std::move(*tokens);
  };
  if (!prompt) {
    Result<std::string> rendered = model.files.renderChat(call.messages, call.templateVariables);
    if (!rendered)
      return refuse(rendered.error().message, field);
    std::lock_guard lock(encoding);
    return checked(encoder.encode(*rendered));
  }
  if (const auto *text = std::get_if<std::string>(prompt)) {
    std::lock_guard lock(encoding);
    return checked(model.files.encodeText(encoder, *text));
  }
  const auto &ids = std::get<std::vector<int32_t>>(*prompt);
  for (int32_t id : ids)
    if (id >= model.vocab)
      return refuse(fmt::format("prompt has id {}, the vocabulary has 0 to {}", id, model.vocab - 1), field);
  return ids;
}

/// How many tokens an answer may have.
Answer<int64_t> Server::newTokensOf(const Call &call, size_t promptTokens) const {
  // The last new token is not run.
  int64_t room = engine.context() - static_cast<int64_t>(promptTokens) + 1;
  if (room < 1)
    return refuse(fmt::format("the prompt has {} tokens, the context {} rows", promptTokens, engine.context()),
                  call.chat ? "messages" : "prompt", "context_length_exceeded");
  int64_t most = options.maxTokens > 0 ? std::min(room, options.maxTokens) : room;
  if (call.maxTokens.value_or(0) > most)
    return refuse(
        fmt::format("max_tokens is {}, after a prompt of {} tokens there can be {}", *call.maxTokens, promptTokens, most),
        "max_tokens", "context_length_exceeded");
  return call.maxTokens.value_or(most);
}

Answer<std::vector<generate::Request>> Server::requestsOf(const Call &call) {
  std::vector<generate::Request> requests;
  uint64_t seed = call.seed ? *call.seed : std::random_device()();
  size_t prompts = call.chat ? 1 : call.prompts.size();
  for (size_t i = 0; i < prompts; ++i) {
    generate::Request request;
    QUANT_TRY_ASSIGN(request.prompt, promptOf(call, call.chat ? nullptr : &call.prompts[i]));
    QUANT_TRY_ASSIGN(request.maxNewTokens, newTokensOf(call, request.prompt.size()));
    request.sampling = call.sampling;
    request.ends = model.ends;
    request.stops = call.stops;
    request.logprobs = call.logprobs;
    for (int64_t choice = 0; choice < call.n; ++choice) {
      request.sampling.seed = seed + static_cast<uint64_t>(choice);
      requests.push_back(request);
    }
  }
  return requests;
}

Answer<Server::JobPtr> Server::jobOf(const httplib::Request &request, bool chat) {
  auto job = std::make_shared<Job>(clients);
  if (clients > options.maxClients)
    return tl::unexpected(Refusal{503, fmt::format("{} requests are at work or waiting already", options.maxClients), {}, {}});
  // A page of another origin cannot send this type without asking first.
  if (!request.get_header_value("Content-Type").starts_with("application/json"))
    return tl::unexpected(Refusal{415, "the Content-Type is not application/json", {}, {}});
  job->deadline = Clock::now() + std::chrono::seconds(options.timeout);
  QUANT_TRY_ASSIGN(job->call, parseCall(request.body, chat, model.name));
  QUANT_TRY_ASSIGN(job->requests, requestsOf(job->call));
  job->responses.emplace(job->call, model.name, *model.files.tokenizer);
  // A prompt counts once, however many choices follow it.
  for (size_t i = 0; i < job->requests.size(); i += static_cast<size_t>(job->call.n))
    job->usage.promptTokens += static_cast<int64_t>(job->requests[i].prompt.size());
  return job;
}

//===----------------------------------------------------------------------===//
// Answers
//===----------------------------------------------------------------------===//

void Server::complete(const httplib::Request &request, httplib::Response &response, bool chat) {
  Answer<JobPtr> made = jobOf(request, chat);
  if (!made)
    return answer(response, made.error());
  JobPtr job = *made;
  if (!job->call.stream)
    return whole(job, response);
  response.set_header("Cache-Control", "no-cache");
  response.set_chunked_content_provider("text/event-stream", [this, job](size_t, httplib::DataSink &sink) {
    stream(job, [&](const std::string &text) { return sink.write(text.data(), text.size()); });
    sink.done();
    return true;
  });
}

Answer<generate::Completion> Server::completionOf(Engine::Result result, Job &job) {
  switch (result.outcome) {
  case Engine::Outcome::Done:
  case Engine::Outcome::GoneAway:
    metrics.countCompletion(result.completion);
    job.usage.completionTokens += static_cast<int64_t>(result.completion.tokens.size());
    return std::move(result.completion);
  case Engine::Outcome::Failed:
    return tl::unexpected(Refusal{500, printable(result.error), {}, {}});
  case Engine::Outcome::TimedOut:
    return tl::unexpected(Refusal{503, fmt::format("no place was free for {} s", options.timeout), {}, {}});
  case Engine::Outcome::Stopping:
    break;
  }
  return tl::unexpected(Refusal{503, "the server ends", {}, {}});
}

void Server::whole(const JobPtr &job, httplib::Response &response) {
  std::vector<std::vector<generate::Step>> steps(job->requests.size());
  auto keep = [&](size_t request, const generate::Step &step) {
    steps[request].push_back(step);
    return true;
  };
  std::vector<Engine::Result> results = engine.run(job->requests, job->deadline, [] { return true; }, keep);
  Json choices = Json::array();
  for (size_t i = 0; i < results.size(); ++i) {
    auto completion = completionOf(std::move(results[i]), *job);
    if (!completion)
      return answer(response, completion.error());
    choices.push_back(job->responses->choice(static_cast<int64_t>(i), steps[i], completion->finish));
  }
  response.set_content(jsonText(job->responses->whole(std::move(choices), job->usage)), "application/json");
}

/// Server-sent events: a chunk for each step, [DONE] at the end. `write` is false once the client is gone.
void Server::stream(const JobPtr &job, const std::function<bool(const std::string &)> &write) {
  bool here = true;
  auto send = [&](const Json &json) { return here = here && write("data: " + jsonText(json) + "\n\n"); };
  for (size_t i = 0; i < job->requests.size(); ++i)
    if (Json opening = job->responses->opening(static_cast<int64_t>(i)); !opening.is_null())
      send(opening);
  // A comment, which clients skip, finds out whether anyone still listens.
  auto whileWaiting = [&] { return here = here && write(": waiting\n\n"); };
  auto onStep = [&](size_t request, const generate::Step &step) {
    bool isSeen = !step.text.empty() || !step.logprobs.empty();
    return isSeen ? send(job->responses->chunk(static_cast<int64_t>(request), step)) : here;
  };
  std::vector<Engine::Result> results = engine.run(job->requests, job->deadline, whileWaiting, onStep);
  for (size_t i = 0; i < results.size(); ++i) {
    auto completion = completionOf(std::move(results[i]), *job);
    if (!completion) {
      send(completion.error().json());
      return;
    }
    send(job->responses->closing(static_cast<int64_t>(i), completion->finish));
  }
  if (job->call.includeUsage)
    send(job->responses->usageChunk(job->usage));
  here = here && write("data: [DONE]\n\n");
}

} // namespace quant::serve
