//===- gemm_family.h - any FP8 GEMM of the compiler in the simulator -*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_TEST_TOOLS_QUANT_SIM_GEMM_FAMILY_H
#define QUANT_TEST_TOOLS_QUANT_SIM_GEMM_FAMILY_H

#include "lowering/target/sm90/Fp8Gemm.h"
#include "test/gpu/Fp8Problem.h"
#include "tools/quant-sim/api/simulator.h"

#include <string>
#include <vector>

namespace quant::test {

/// Inputs of a config at one M in the layouts of its recipe, what the kernel made of them, and the f64 reference. What a kernel
/// must not use is poisoned: the bytes between two rows are NaN codes, D and the workspace NaN.
class GemmFamilyCase {
public:
  GemmFamilyCase(const machine::Fp8GemmConfig &config, int64_t m);

  /// Runs the kernel. An error, the findings, or what is wrong with the result; empty if all is well.
  std::string run(const sim::Module &module, const nvvm::LaunchRecipe &recipe, int64_t sms, int threads);
  /// D's bits.
  const std::vector<std::byte> &result() const { return d; }

private:
  std::vector<sim::Buffer> buffers(const sim::Recipe &recipe, const sim::Dims &dims);
  double valueOfD(const std::vector<std::byte> &bytes, int64_t index) const;
  std::string checkResult() const;
  std::string checkElement(int64_t row, int64_t column) const;

  machine::Fp8GemmConfig config;
  int64_t m, pitch;
  Fp8Problem problem;
  std::vector<uint8_t> pitchedA, pitchedB;
  std::vector<float> bias, workspace;
  std::vector<int32_t> counters;
  std::vector<std::byte> before, d;
};

} // namespace quant::test

#endif // QUANT_TEST_TOOLS_QUANT_SIM_GEMM_FAMILY_H
