//===- Model.h - a whole model beside its bound --------------------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_TOOLS_QUANT_BENCH_MODEL_H
#define QUANT_TOOLS_QUANT_BENCH_MODEL_H

#include "runtime/support/result.h"

#include <nlohmann/json.hpp>

#include <filesystem>
#include <string>
#include <vector>

namespace CLI {
class App;
}

namespace quant::bench {

/// What the command line says.
struct ModelOptions {
  std::filesystem::path model;      ///< a config.json, or a folder with one
  std::filesystem::path weights;    ///< where random weights are kept; empty: in a folder that is gone afterwards
  std::string dtype;                ///< of random weights: fp8, bf16, f32; empty: what the configuration says
  int64_t layers = 0;               ///< only so many of the model; 0: all
  std::vector<std::string> compile; ///< further options of quant-compile
  int64_t prompt = 512, steps = 32; ///< tokens of the prompt, and of decoding
  int rounds = 3;
  int threads = 0;                       ///< 0: all CPUs
  std::string isa;                       ///< empty: the best one here
  std::filesystem::path peer, peerModel; ///< llama-bench and a GGUF of the same shape; empty: none
  std::filesystem::path svg;             ///< where the roofline plot goes; empty: nowhere
  bool json = false;
};

/// The subcommand `model` and its options.
CLI::App *addModelCommand(CLI::App &app, ModelOptions &options);

/// Compiles a model and runs prompts and decoding of random tokens, in turn with the peer if there is one. The result has, for
/// `prompt` and `decode` each, tokens per second and the share of the bound, and a row for each kernel label: seconds of a call,
/// bytes of weights and cache, operations, and the bound of these, the larger of bytes over the best read and operations over the
/// unit's peak; also what read and peak are, and the peer's tokens per second with the median of the rounds' own ratios. Of
/// experts the bytes are those that so many tokens choose on average if they choose at random. Errors: those of the tools that it
/// runs, and of the peer.
Result<nlohmann::ordered_json> runModel(const ModelOptions &options);

void printModel(const nlohmann::ordered_json &result);

} // namespace quant::bench

#endif // QUANT_TOOLS_QUANT_BENCH_MODEL_H
