//===- Batch.h - a compiled model with several sequences -----------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_TOOLS_QUANT_BENCH_BATCH_H
#define QUANT_TOOLS_QUANT_BENCH_BATCH_H

#include "runtime/support/result.h"

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace CLI {
class App;
}

namespace quant::bench {

/// What the command line says.
struct BatchOptions {
  std::string module, weights;
  std::vector<int> sequences = {1, 2, 4, 8, 16};
  int64_t prompt = 64; ///< tokens of each sequence before decoding
  int64_t steps = 16;  ///< tokens of each sequence that are timed in a round
  int rounds = 3;
  int threads = 0; ///< 0: all CPUs
  std::string isa; ///< empty: the module's best
  bool json = false;
};

/// The subcommand `batch` and its options.
CLI::App *addBatchCommand(CLI::App &app, BatchOptions &options);

/// Decodes random tokens in one session with so many sequences at once, the numbers of sequences in turn in each round: an object
/// for each with tokens per second of all sequences together (the median of the rounds), that over the first one's, and seconds
/// of a pass; with the first also the tokens per second of prompts. Errors: those of the C API.
Result<nlohmann::ordered_json> runBatch(const BatchOptions &options);

void printBatch(const nlohmann::ordered_json &rows);

} // namespace quant::bench

#endif // QUANT_TOOLS_QUANT_BENCH_BATCH_H
