//===- Sim.h - how fast the simulator is --------------------------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_TOOLS_QUANT_BENCH_SIM_H
#define QUANT_TOOLS_QUANT_BENCH_SIM_H

#include "runtime/support/result.h"

#include <cstdint>
#include <nlohmann/json.hpp>

namespace CLI {
class App;
}

namespace quant::bench {

/// What the command line says.
struct SimOptions {
  int64_t k = 7168;
  int threads = 0; ///< 0: all CPUs
  double seconds = 3;
  bool json = false;
};

/// The subcommand `sim` and its options.
CLI::App *addSimCommand(CLI::App &app, SimOptions &options);

/// quant-sim on the FP8 GEMM that the compiler makes for 128x128 tiles: seconds per tile and warp instructions a second, of one
/// thread with and without checks, and of all threads. An object for each.
Result<nlohmann::ordered_json> runSim(const SimOptions &options);

void printSim(const nlohmann::ordered_json &rows);

} // namespace quant::bench

#endif // QUANT_TOOLS_QUANT_BENCH_SIM_H
