//===- Quality.h - what quantization costs a model --------------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_TOOLS_QUANT_BENCH_QUALITY_H
#define QUANT_TOOLS_QUANT_BENCH_QUALITY_H

#include "runtime/support/result.h"

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace CLI {
class App;
}

namespace quant::bench {

/// What the command line says.
struct QualityOptions {
  std::filesystem::path model = "models/tiny";
  std::filesystem::path text;       ///< empty: eval.tokens.json of the model
  std::filesystem::path scratch;    ///< where checkpoints and modules are written for the time; empty: the system's folder
  std::vector<std::string> schemes; ///< names of rows; empty: all
  int64_t context = 256;
  int64_t tokens = 0; ///< of the text, from its beginning; 0: all
  int threads = 0;    ///< 0: all CPUs
  bool json = false;
};

/// The subcommand `quality` and its options.
CLI::App *addQualityCommand(CLI::App &app, QualityOptions &options);

/// Quantizes the model by quant-convert, compiles it by quant-compile, and judges it by quant-run --perplexity against the model
/// as it is: an object for each way. Beside it the figure of the model's own figures.json, where that has one, which counts for
/// the whole text at context 256. Errors: which program failed; what it said went to stderr.
Result<nlohmann::ordered_json> runQuality(const QualityOptions &options);

void printQuality(const nlohmann::ordered_json &rows);

} // namespace quant::bench

#endif // QUANT_TOOLS_QUANT_BENCH_QUALITY_H
