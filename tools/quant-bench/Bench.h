//===- Bench.h - quant-bench's measurements -----------------------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_TOOLS_QUANT_BENCH_BENCH_H
#define QUANT_TOOLS_QUANT_BENCH_BENCH_H

#include "tools/quant-bench/CompiledMatmul.h"

#include <nlohmann/json.hpp>

namespace quant::bench {

/// What the command line says.
struct BenchOptions {
  std::vector<std::string> shapes;
  std::vector<int64_t> tokens;
  int threads = 0;                     ///< 0: all CPUs
  std::string isa;                     ///< empty: the best one here
  std::string scheme = "deepseek-fp8"; ///< how weights are stored, by its name in runtime/support/scheme.cpp
  int64_t group = 0;                   ///< columns that share a scale, instead of the scheme's; 0: the scheme's
  Inputs inputs = Inputs::F32;         ///< of gemm
  double seconds = 3;
  /// Of the weights of one contender, all copies together: well over a last-level cache, so that each call reads memory.
  int64_t rotatedMegabytes = 256;
  bool json = false;
};

/// Matrix-vector products against reading the same bytes, and against bf16 weights of the same shape. An object for each shape.
Result<nlohmann::ordered_json> runGemv(const BenchOptions &options);

/// Products with M rows of x against the peak of what the unit multiplies such inputs with. An object for each shape and M.
Result<nlohmann::ordered_json> runGemm(const BenchOptions &options);

/// The kernel for the first shape as assembly.
Result<std::string> dumpAssembly(const BenchOptions &options);

} // namespace quant::bench

#endif // QUANT_TOOLS_QUANT_BENCH_BENCH_H
