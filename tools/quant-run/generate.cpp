//===- generate.cpp - what quant-run does with a session ------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/quant-run/generate.h"

#include "tools/common/process_usage.h"

#include <fmt/core.h>

#include <algorithm>
#include <cstdio>

namespace quant::run {

Result<int64_t> rowsFor(const quant_module *module, const Options &options, size_t promptTokens, int64_t newTokens) {
  constexpr int64_t kRoundTo = 64;
  // The last new token is not run.
  int64_t needed = static_cast<int64_t>(promptTokens) + std::max<int64_t>(0, newTokens - 1);
  int64_t limit = quant_module_max_context(module);
  int64_t context = options.context ? options.context : std::min(limit, (needed + kRoundTo - 1) / kRoundTo * kRoundTo);
  // Without code for CPUs the limit is 0; the session says so.
  if (limit > 0 && needed > context)
    return fail(fmt::format("{} prompt tokens and {} new ones overflow the context of {} rows (the module allows {})",
                            promptTokens, newTokens, context, limit));
  return context;
}

Result<generate::SessionHandle> createSession(const quant_module *module, const Options &options, int64_t rows) {
  quant_session_options sessionOptions = {};
  sessionOptions.threads = options.threads;
  sessionOptions.profile = options.profile;
  sessionOptions.context = options.context ? options.context : rows;
  sessionOptions.max_chunk = options.chunk;
  sessionOptions.device = options.device.c_str();
  sessionOptions.mtp = options.mtp;
  sessionOptions.eager = options.eager;
  sessionOptions.overlap = options.overlap;
  sessionOptions.isa = options.isa.empty() ? nullptr : options.isa.c_str();
  return generate::openSession(module, options.weights, sessionOptions);
}

Result<std::vector<int32_t>> endTokens(const quant_module *module, const Options &options) {
  std::vector<int32_t> ends = options.stopTokens;
  int64_t vocab = quant_module_vocab(module);
  for (int32_t token : ends)
    if (vocab > 0 && (token < 0 || token >= vocab))
      return fail(fmt::format("--stop-token {}: never comes, the vocabulary has 0 to {}", token, vocab - 1));
  if (options.ignoreEos)
    return ends;
  Result<std::vector<int32_t>> model = generate::modelEndTokens(module);
  if (!model)
    return tl::unexpected(model.error().in(options.module));
  ends.insert(ends.end(), model->begin(), model->end());
  return ends;
}

void printTimes(const generate::Completion &completion, const quant_session *session) {
  std::fprintf(stderr, "prompt: %lld tokens in %.3f s, %.1f tokens/s", static_cast<long long>(completion.promptTokensRun),
               completion.prefillSeconds, static_cast<double>(completion.promptTokensRun) / completion.prefillSeconds);
  if (double seconds = completion.secondsPerToken(); seconds > 0)
    std::fprintf(stderr, "; generation: %.2f ms per token, %.2f tokens/s", seconds * 1e3, 1 / seconds);
  std::fprintf(stderr, " (%s, %d threads)\n%s", quant_session_isa(session), quant_session_threads(session),
               quant_session_notes(session));
  if (completion.guesses > 0)
    std::fprintf(stderr, "MTP: %lld of %lld guesses were right (%.1f %%)\n", static_cast<long long>(completion.rightGuesses),
                 static_cast<long long>(completion.guesses),
                 100.0 * static_cast<double>(completion.rightGuesses) / static_cast<double>(completion.guesses));
}

void printMemory(const quant_module *module) {
  if (quant_module_cache_layers(module) > 0)
    std::fprintf(stderr, "KV cache: %lld bytes a token in each of %lld layers\n",
                 static_cast<long long>(quant_module_cache_bytes_per_token(module)),
                 static_cast<long long>(quant_module_cache_layers(module)));
  tools::ProcessUsage usage = tools::processUsage();
  std::fprintf(stderr, "memory: %.1f MB at most, pages of the mapped weights among them; %lld page faults, %lld from disk\n",
               static_cast<double>(usage.peakBytes) / 1e6, static_cast<long long>(usage.minorFaults + usage.majorFaults),
               static_cast<long long>(usage.majorFaults));
}

} // namespace quant::run
