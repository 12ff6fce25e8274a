//===- gemm_case.h - an FP8 GEMM in the simulator ---------------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_TEST_TOOLS_QUANT_SIM_GEMM_CASE_H
#define QUANT_TEST_TOOLS_QUANT_SIM_GEMM_CASE_H

#include "tools/quant-sim/api/simulator.h"
#include "test/gpu/Fp8Problem.h"

#include <filesystem>
#include <string>

namespace quant::test {

std::string readText(const std::filesystem::path &path);

/// A kernel of test/tools/quant-sim/ptx, say "sm90_fp8_gemm_1d2d_n256_k144_bm128_bn128", and its recipe.
struct GemmKernel {
  explicit GemmKernel(const std::string &name);
  /// The PTX with `from` replaced by `to` in its `nth` place (0: the first); fails the test if there is none. `line` becomes the
  /// number of that line.
  std::string mutated(const std::string &from, const std::string &to, int nth = 0);

  std::string name, ptx, recipe;
  int64_t n, k;
  int line = 0;
};

/// What came of a run.
struct GemmResult {
  /// An error of load or launch.
  std::string error;
  sim::Report report;
  /// What is wrong with D, or nothing; not looked at if there is an error.
  std::string wrong;

  bool clean() const { return error.empty() && report.findings.empty() && wrong.empty(); }
  /// Everything, for a failed test's message.
  std::string toString() const;
  bool has(sim::FindingKind kind, int line) const;
};

GemmResult runGemm(const GemmKernel &kernel, const std::string &ptx, int64_t m, const sim::Options &options = {},
                   int64_t sms = 4);

} // namespace quant::test

#endif // QUANT_TEST_TOOLS_QUANT_SIM_GEMM_CASE_H
