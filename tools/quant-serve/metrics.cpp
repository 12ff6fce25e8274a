//===- metrics.cpp - what the server counts -------------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/quant-serve/metrics.h"

#include <fmt/core.h>

#include <fstream>
#include <unistd.h>

namespace quant::serve {

void Metrics::countAnswer(const std::string &path, int status) {
  std::lock_guard lock(mutex);
  ++answers[{path, status}];
}

void Metrics::countCompletion(const generate::Completion &completion) {
  std::lock_guard lock(mutex);
  promptTokens += completion.promptTokensRun;
  newTokens += static_cast<int64_t>(completion.tokens.size());
  prefillSeconds += completion.prefillSeconds;
  decodeSeconds += completion.decodeSeconds;
  guesses += completion.guesses;
  rightGuesses += completion.rightGuesses;
}

/// Bytes of memory that the process has; 0 where /proc does not say.
static int64_t residentBytes() {
  std::ifstream file("/proc/self/statm");
  int64_t total = 0, resident = 0;
  file >> total >> resident;
  return resident * sysconf(_SC_PAGESIZE);
}

static std::string metric(const char *name, const char *type, const char *help, const std::string &value) {
  return fmt::format("# HELP {0} {2}\n# TYPE {0} {1}\n{0} {3}\n", name, type, help, value);
}

std::string Metrics::text(const Engine::Counts &counts) const {
  std::lock_guard lock(mutex);
  std::string out = "# HELP quant_http_answers_total Answers by path and status.\n# TYPE quant_http_answers_total counter\n";
  for (const auto &[key, count] : answers)
    out += fmt::format("quant_http_answers_total{{path=\"{}\",status=\"{}\"}} {}\n", key.first, key.second, count);
  return out +
         metric("quant_prompt_tokens_total", "counter", "Prompt tokens computed; those found in a cache are not.",
                std::to_string(promptTokens)) +
         metric("quant_new_tokens_total", "counter", "Tokens generated.", std::to_string(newTokens)) +
         metric("quant_prefill_seconds_total", "counter", "Time in prompts.", fmt::format("{:.6f}", prefillSeconds)) +
         metric("quant_decode_seconds_total", "counter", "Time in generation.", fmt::format("{:.6f}", decodeSeconds)) +
         metric("quant_mtp_guesses_total", "counter", "Tokens guessed by the MTP layer.", std::to_string(guesses)) +
         metric("quant_mtp_right_guesses_total", "counter", "Guesses that became tokens.", std::to_string(rightGuesses)) +
         metric("quant_requests_running", "gauge", "Sequences at work.", std::to_string(counts.running)) +
         metric("quant_requests_waiting", "gauge", "Sequences that wait for a place.", std::to_string(counts.waiting)) +
         metric("quant_cache_pages", "gauge", "Pages of 64 tokens of the KV cache.", std::to_string(counts.pages)) +
         metric("quant_cache_pages_free", "gauge", "Pages that no sequence holds.", std::to_string(counts.freePages)) +
         metric("quant_prompt_tokens_reused_total", "counter", "Prompt tokens found in the KV cache.",
                std::to_string(counts.reusedTokens)) +
         metric("process_resident_memory_bytes", "gauge", "Memory, pages of the mapped weights among it.",
                std::to_string(residentBytes()));
}

} // namespace quant::serve
