//===- generate.cpp - a prompt and what the model says to it --------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/quant-run/generate.h"

#include <fmt/core.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <chrono>

namespace quant::run {

static tl::unexpected<Error> apiError() { return fail(quant_last_error()); }

Result<ModuleHandle> openModule(const std::string &path) {
  quant_module *module = nullptr;
  if (quant_module_open(path.c_str(), &module) != QUANT_OK)
    return apiError();
  return ModuleHandle(module);
}

Result<SessionHandle> createSession(const quant_module *module, const Options &options, size_t promptTokens) {
  constexpr int64_t kRoundTo = 64;
  // The last new token is not run.
  int64_t needed = static_cast<int64_t>(promptTokens) + std::max<int64_t>(0, options.maxNewTokens - 1);
  int64_t limit = quant_module_max_context(module);
  int64_t context = options.context ? options.context : std::min(limit, (needed + kRoundTo - 1) / kRoundTo * kRoundTo);
  // Without code for CPUs the limit is 0; the session says so.
  if (limit > 0 && needed > context)
    return fail(fmt::format("{} prompt tokens and {} new ones overflow the context of {} rows (the module allows {})",
                            promptTokens, options.maxNewTokens, context, limit));
  quant_session_options sessionOptions = {};
  sessionOptions.threads = options.threads;
  sessionOptions.profile = options.profile;
  sessionOptions.context = context;
  sessionOptions.max_chunk = options.chunk;
  sessionOptions.device = options.device.c_str();
  sessionOptions.isa = options.isa.empty() ? nullptr : options.isa.c_str();
  quant_session *session = nullptr;
  if (quant_session_create(module, options.weights.c_str(), &sessionOptions, &session) != QUANT_OK)
    return apiError();
  return SessionHandle(session);
}

static double secondsSince(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

Result<std::vector<int32_t>> endTokens(const quant_module *module, const Options &options) {
  std::vector<int32_t> ends = options.stopTokens;
  int64_t vocab = quant_module_vocab(module);
  for (int32_t token : ends)
    if (vocab > 0 && (token < 0 || token >= vocab))
      return fail(fmt::format("--stop-token {}: never comes, the vocabulary has 0 to {}", token, vocab - 1));
  if (options.ignoreEos)
    return ends;
  auto config = nlohmann::json::parse(quant_module_config(module), nullptr, /*allow_exceptions=*/false);
  auto ids = config.is_object() ? config.value("eos_token_id", nlohmann::json()) : nlohmann::json();
  for (const nlohmann::json &id : ids.is_array() ? ids : nlohmann::json::array({ids})) {
    if (id.is_null())
      continue;
    if (!id.is_number_integer())
      return fail(options.module + ": eos_token_id of its model is no integer and no list of them; compile it again");
    // An id that is none of the vocabulary's never comes.
    if (id >= 0 && id < vocab)
      ends.push_back(id.get<int32_t>());
  }
  return ends;
}

Result<Generation> generate(quant_session *session, int64_t vocab, const std::vector<int32_t> &prompt,
                            const std::vector<int32_t> &ends, const Options &options,
                            const std::function<void(int32_t)> &onToken) {
  quant_sampler *rawSampler = nullptr;
  if (quant_sampler_create(options.temperature, options.topP, options.seed, &rawSampler) != QUANT_OK)
    return apiError();
  SamplerHandle sampler(rawSampler);

  Generation result;
  auto promptTokens = static_cast<int64_t>(prompt.size());
  int64_t outputs = options.logits.empty() ? 1 : promptTokens;
  result.promptLogits.resize(static_cast<size_t>(outputs * vocab));
  auto start = std::chrono::steady_clock::now();
  if (quant_forward(session, prompt.data(), promptTokens, outputs, result.promptLogits.data()) != QUANT_OK)
    return apiError();
  result.prefillSeconds = secondsSince(start);

  start = std::chrono::steady_clock::now();
  std::vector<float> logits(result.promptLogits.end() - vocab, result.promptLogits.end());
  for (int64_t i = 0; i < options.maxNewTokens; ++i) {
    if (i > 0 && quant_forward(session, &result.tokens.back(), 1, 1, logits.data()) != QUANT_OK)
      return apiError();
    int32_t token = 0;
    if (quant_sample(sampler.get(), logits.data(), vocab, &token) != QUANT_OK)
      return apiError();
    result.tokens.push_back(token);
    onToken(token);
    if (std::ranges::find(ends, token) != ends.end())
      break;
  }
  result.decodeSeconds = secondsSince(start);
  return result;
}

} // namespace quant::run
