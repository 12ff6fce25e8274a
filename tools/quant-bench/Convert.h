//===- Convert.h - how fast checkpoints are converted -------------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_TOOLS_QUANT_BENCH_CONVERT_H
#define QUANT_TOOLS_QUANT_BENCH_CONVERT_H

#include "runtime/support/result.h"

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>

namespace CLI {
class App;
}

namespace quant::bench {

/// What the command line says.
struct ConvertOptions {
  std::filesystem::path dir;    ///< on the disk to be measured; empty: memory only
  std::filesystem::path tool;   ///< quant-convert; empty: the one beside this program
  std::filesystem::path python; ///< one that has torch and safetensors; empty: no torch
  int experts = 32, threads = 0, rounds = 5;
  double seconds = 3;
  bool warm = false, json = false;
};

/// The subcommand `convert` and its options.
CLI::App *addConvertCommand(CLI::App &app, ConvertOptions &options);

/// {"memory": ..., "disk": [...]}: one core from memory to memory, and quant-convert end to end against a plain copy, with torch
/// beside both. Needs about five times the bytes of the FP8 checkpoint in `dir`, and removes all that it wrote.
Result<nlohmann::ordered_json> runConvert(const ConvertOptions &options);

void printConvert(const nlohmann::ordered_json &result);

} // namespace quant::bench

#endif // QUANT_TOOLS_QUANT_BENCH_CONVERT_H
