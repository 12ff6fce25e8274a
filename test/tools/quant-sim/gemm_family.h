//===- gemm_family.h - any FP8 GEMM of the compiler in the simulator -*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_TEST_TOOLS_QUANT_SIM_GEMM_FAMILY_H
#define QUANT_TEST_TOOLS_QUANT_SIM_GEMM_FAMILY_H

#include "lowering/target/sm90/Gemm.h"
#include "test/gpu/Fp8Problem.h"
#include "tools/quant-sim/api/simulator.h"

#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace quant::test {

/// A kernel of the compiler's, as the simulator has it.
struct LoadedKernel {
  nvvm::LaunchRecipe recipe;
  std::shared_ptr<sim::Module> module;
};

/// Loads what was compiled; ptxas must have no complaint. Nothing after a failure of the test, for ASSERT_TRUE.
std::optional<LoadedKernel> loadKernel(Result<nvvm::CompiledKernel> kernel);
/// Compiles it before.
std::optional<LoadedKernel> loadKernel(const machine::GemmConfig &config);

/// Runs a kernel on buffers that are the recipe's operands, with every check; an error or the findings.
std::string runStrictly(const sim::Module &module, const nvvm::LaunchRecipe &recipe, const sim::Dims &dims,
                        std::vector<sim::Buffer> buffers, int threads);

template <typename T>
std::span<std::byte> bytesOf(std::vector<T> &data) {
  return std::as_writable_bytes(std::span<T>(data));
}

/// Rows of A and B, each of K codes, and the scales of their K blocks, `stride` apart.
struct ScaledRow {
  const uint8_t *codes;
  const float *scales;
  int64_t stride;
};

/// What two rows' product is in f64, and what f32 sums of the simulator's order may lose of it.
struct Expected {
  double sum, noise;
  /// By how much a D of that type may differ.
  double tolerance(machine::OutputType type) const;
};
Expected expectedProduct(const ScaledRow &a, const ScaledRow &b, int64_t k);

/// Element `index` of a D of that type.
double valueOfD(const std::vector<std::byte> &d, int64_t index, machine::OutputType outputType);

/// Inputs of a config at one M in the layouts of its recipe, what the kernel made of them, and the f64 reference. What a kernel
/// must not use is poisoned: the bytes between two rows are NaN codes, D and the workspace NaN.
class GemmFamilyCase {
public:
  GemmFamilyCase(const machine::GemmConfig &config, int64_t m);

  /// Runs the kernel. An error, the findings, or what is wrong with the result; empty if all is well.
  std::string run(const sim::Module &module, const nvvm::LaunchRecipe &recipe, int64_t sms, int threads);
  /// D's bits.
  const std::vector<std::byte> &result() const { return d; }

private:
  std::vector<sim::Buffer> buffers(const nvvm::LaunchRecipe &recipe, const sim::Dims &dims);
  std::string checkResult() const;
  std::string checkElement(int64_t row, int64_t column) const;

  machine::GemmConfig config;
  int64_t m, pitch;
  Fp8Problem problem;
  std::vector<uint8_t> pitchedA, pitchedB;
  std::vector<float> bias, workspace;
  std::vector<int32_t> counters;
  std::vector<std::byte> before, d;
};

/// A config of groups with so many rows each, or of no groups with one number of rows. What a kernel must not use is poisoned:
/// rows of A that belong to no group, their scales, the weights of groups without rows; D holds NaN before, and keeps them where
/// no group has rows.
class GroupedGemmCase {
public:
  /// `capacity`: rows of A, of masked groups each one's place; 0: as many as the groups need.
  GroupedGemmCase(const machine::GemmConfig &config, std::vector<int64_t> rowsOfGroups, int64_t capacity = 0);

  /// As GemmFamilyCase::run.
  std::string run(const sim::Module &module, const nvvm::LaunchRecipe &recipe, int64_t sms, int threads);

  /// Runs a kernel that quantizes silu(gate) * up of the same operands, gate and up being the halves of D's columns: its codes
  /// and scales must be those of the D that run() has left, in bf16.
  std::string runSwiglu(const sim::Module &module, const nvvm::LaunchRecipe &recipe, bool powerOfTwo, int64_t sms, int threads);

  /// What the kernel reads: where groups end or how many rows they have.
  std::vector<int32_t> counts;

private:
  /// A quantized D.
  struct Hidden {
    std::vector<uint8_t> codes;
    std::vector<float> scales;
  };
  std::vector<sim::Buffer> buffers(std::span<std::byte> result, std::vector<int32_t> &given);
  std::string checkHidden(const Hidden &hidden, size_t group, int64_t row, bool powerOfTwo) const;
  bool belongsToAGroup(int64_t row) const;
  int64_t firstRow(size_t group) const;
  void fill();
  std::string checkResult() const;
  std::string checkRow(size_t group, int64_t row) const;
  ScaledRow rowOfA(size_t group, int64_t row) const;
  ScaledRow rowOfB(size_t group, int64_t column) const;

  machine::GemmConfig config;
  std::vector<int64_t> rowsOfGroups;
  int64_t m, rows, scaleRows, pitch, kBlocks, scaleRowsB;
  std::vector<uint8_t> a, b;
  std::vector<float> scaleA, scaleB;
  std::vector<std::byte> d;
};

} // namespace quant::test

#endif // QUANT_TEST_TOOLS_QUANT_SIM_GEMM_FAMILY_H
