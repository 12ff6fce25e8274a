//===- Batch.cpp - a compiled model with several sequences ----------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/quant-bench/Batch.h"

#include "tools/generate/handles.h"
#include "tools/quant-bench/Machine.h"

#include <CLI/CLI.hpp>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <random>

namespace quant::bench {

using Json = nlohmann::ordered_json;
using Clock = std::chrono::steady_clock;

static double secondsSince(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

namespace {

/// A session, and sequences of random tokens.
class Decoder {
public:
  Decoder(generate::SessionHandle session, int64_t vocab) : session(std::move(session)), vocab(vocab) {}

  /// Begins `count` sequences with prompts; the seconds that this takes.
  Result<double> begin(int count, int64_t prompt) {
    sequences.clear();
    auto start = Clock::now();
    for (int i = 0; i < count; ++i) {
      quant_sequence *created = nullptr;
      if (quant_sequence_create(session.get(), &created) != QUANT_OK)
        return generate::apiError();
      sequences.emplace_back(created);
    }
    QUANT_TRY(step(prompt));
    return secondsSince(start);
  }

  /// `count` random tokens of each sequence, with logits of the last one.
  Result<void> step(int64_t count) {
    size_t all = sequences.size();
    std::vector<std::vector<int32_t>> tokens(all);
    std::vector<float> logits(all * static_cast<size_t>(vocab));
    std::vector<quant_sequence_step> steps;
    for (size_t i = 0; i < all; ++i) {
      for (int64_t t = 0; t < count; ++t)
        tokens[i].push_back(static_cast<int32_t>(random() % static_cast<uint64_t>(vocab)));
      steps.push_back({sequences[i].get(), tokens[i].data(), count, 1, &logits[i * static_cast<size_t>(vocab)]});
    }
    if (quant_forward_steps(session.get(), steps.data(), static_cast<int64_t>(all)) != QUANT_OK)
      return generate::apiError();
    return {};
  }

  const char *isa() const { return quant_session_isa(session.get()); }
  int threads() const { return quant_session_threads(session.get()); }

private:
  generate::SessionHandle session;
  int64_t vocab;
  std::vector<generate::SequenceHandle> sequences;
  std::mt19937_64 random{0};
};

/// What was measured with one number of sequences, a value for each round.
struct Times {
  std::vector<double> prompt, pass;
};

} // namespace

CLI::App *addBatchCommand(CLI::App &app, BatchOptions &options) {
  CLI::App *batch = app.add_subcommand("batch", "a compiled model: tokens per second with several sequences in one session");
  batch->add_option("module", options.module, "compiled model")->required()->check(CLI::ExistingFile);
  batch->add_option("--weights", options.weights, "folder of the checkpoint")->required()->check(CLI::ExistingDirectory);
  batch->add_option("--sequences", options.sequences, "how many at once")
      ->delimiter(',')
      ->check(CLI::Range(1, 256))
      ->capture_default_str();
  batch->add_option("--prompt", options.prompt, "tokens of each sequence before decoding")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 20))
      ->capture_default_str();
  batch->add_option("--steps", options.steps, "tokens of each sequence in a round")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 20))
      ->capture_default_str();
  batch->add_option("--rounds", options.rounds, "rounds")->check(CLI::Range(1, 1000))->capture_default_str();
  batch->add_option("--threads", options.threads, "CPU threads; 0: all CPUs")->check(CLI::Range(0, 1024))->capture_default_str();
  batch->add_option("--isa", options.isa, "this code of the module, not the best that the CPU runs");
  batch->add_flag("--json", options.json, "print JSON");
  return batch;
}

Result<Json> runBatch(const BatchOptions &options) {
  QUANT_TRY_ASSIGN(generate::ModuleHandle module, generate::openModule(options.module));
  quant_session_options chosen = {};
  chosen.threads = options.threads;
  chosen.context = options.prompt + options.steps;
  constexpr int64_t kPage = QUANT_PAGE_TOKENS;
  chosen.cache = (chosen.context + kPage - 1) / kPage * kPage * *std::ranges::max_element(options.sequences);
  chosen.isa = options.isa.empty() ? nullptr : options.isa.c_str();
  QUANT_TRY_ASSIGN(generate::SessionHandle session, generate::openSession(module.get(), options.weights, chosen));
  Decoder decoder(std::move(session), quant_module_vocab(module.get()));
  std::vector<Times> times(options.sequences.size());
  // The first round brings the weights into memory.
  for (int round = -1; round < options.rounds; ++round)
    for (size_t i = 0; i < times.size(); ++i) {
      QUANT_TRY_ASSIGN(double prompt, decoder.begin(options.sequences[i], options.prompt));
      auto start = Clock::now();
      for (int64_t step = 0; step < options.steps; ++step)
        QUANT_TRY(decoder.step(1));
      double pass = secondsSince(start) / static_cast<double>(options.steps);
      if (round < 0)
        continue;
      times[i].prompt.push_back(prompt);
      times[i].pass.push_back(pass);
    }
  Json rows = Json::array();
  double first = 0;
  for (size_t i = 0; i < times.size(); ++i) {
    double sequences = options.sequences[i], pass = median(times[i].pass), rate = sequences / pass;
    first = i == 0 ? rate : first;
    rows.push_back({{"sequences", options.sequences[i]},
                    {"isa", decoder.isa()},
                    {"threads", decoder.threads()},
                    {"pass_seconds", pass},
                    {"tokens_per_s", rate},
                    {"of_first", rate / first},
                    {"prompt_tokens_per_s", sequences * static_cast<double>(options.prompt) / median(times[i].prompt)}});
  }
  return rows;
}

void printBatch(const Json &rows) {
  std::printf("%9s %-10s %7s | %9s %9s %9s | %s\n", "sequences", "isa", "threads", "ms a pass", "tokens/s", "/ first",
              "prompt tokens/s");
  for (const Json &row : rows)
    std::printf("%9d %-10s %7d | %9.2f %9.1f %9.2f | %.1f\n", row["sequences"].get<int>(), row["isa"].get<std::string>().c_str(),
                row["threads"].get<int>(), row["pass_seconds"].get<double>() * 1e3, row["tokens_per_s"].get<double>(),
                row["of_first"].get<double>(), row["prompt_tokens_per_s"].get<double>());
}

} // namespace quant::bench
