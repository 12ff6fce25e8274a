//===- simulator.h - runs PTX kernels on the CPU ---------------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

//
//   auto module = sim::Module::load(ptxText);
//   auto recipe = sim::Recipe::parse(jsonText, "");
//   auto launch = recipe->launch({{abi::Dim::M, 100}, {abi::Dim::Sms, 132}}, buffers);
//   auto report = sim::run(**module, *launch, {});
//   // report->findings is empty, and the buffers that the kernel writes hold what it computes.
//
// docs/simulator.md says what is modelled.
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_TOOLS_QUANT_SIM_API_SIMULATOR_H
#define QUANT_TOOLS_QUANT_SIM_API_SIMULATOR_H

#include "runtime/abi/launch_recipe.h"
#include "runtime/support/result.h"
#include "tools/quant-sim/machine/finding.h"
#include "tools/quant-sim/machine/memory.h"

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace quant::sim {

struct PtxModule;
struct Program;

/// A PTX file whose every instruction is understood. Immutable; threads may share it.
class Module {
public:
  /// Errors begin with the line of the PTX.
  static Result<std::unique_ptr<Module>> load(std::string_view ptx);
  ~Module();
  Module(const Module &) = delete;

  std::vector<std::string> kernels() const;
  /// The kernel of that name, or null.
  const Program *find(std::string_view kernel) const;
  const PtxModule &ptx() const { return *parsed; }

private:
  Module();

  std::unique_ptr<PtxModule> parsed;
  std::vector<std::unique_ptr<Program>> programs;
};

/// Memory of the caller that a kernel may touch; what it touches beyond is a finding. Kernels see it at addresses of their own,
/// 256-byte aligned, unless it says which.
struct Buffer {
  std::string name;
  std::span<std::byte> bytes;
  bool writable = true;
  /// Where kernels see it; 0: at an address of its own.
  uint64_t address = 0;
  /// Of a programmatic launch: no kernel in front writes it, so that this one may touch it before griddepcontrol.wait.
  bool early = false;
};

/// Kernel arguments: a buffer's address (and `offset` bytes), a scalar of 4 or 8 bytes, a tensor map of a buffer.
struct PointerArgument {
  size_t buffer = 0;
  uint64_t offset = 0;
};
struct ScalarArgument {
  uint64_t value = 0;
};
struct TensorMapArgument {
  size_t buffer = 0;
  /// `address` is an offset into the buffer here.
  TensorMap map;
};
/// A struct by value. Pointers in it are addresses that buffers say, tensor maps what TensorMap::pack() makes.
struct BytesArgument {
  std::vector<std::byte> bytes;
};
using Argument = std::variant<PointerArgument, ScalarArgument, TensorMapArgument, BytesArgument>;

struct Launch {
  std::string kernel;
  /// In blocks, threads, blocks. A cluster's size must divide the grid's; a kernel that says its own needs none here.
  std::array<uint32_t, 3> grid = {1, 1, 1}, block = {1, 1, 1}, cluster = {1, 1, 1};
  uint64_t dynamicSharedBytes = 0;
  std::vector<Buffer> buffers;
  std::vector<Argument> arguments;
  /// The kernel in front may still run (abi::LaunchRecipe::programmatic). That is checked; here it never does.
  bool programmatic = false;
};

struct Options {
  /// False: compute only; out-of-bounds and misaligned accesses, traps and deadlocks are still found.
  bool check = true;
  /// With check: findings also on what kernels proven on hardware do, but ours should not: to end without waiting for committed
  /// bulk stores, which the PTX manual does not promise to work, and to load boxes that lie outside of their tensor.
  bool strict = false;
  /// Host threads; 0: as many as the machine has. Clusters of blocks are dealt to them.
  int threads = 0;
  /// Instructions a warp may execute in one block.
  uint64_t maxSteps = uint64_t(1) << 32;
  /// Memory that the blocks in flight may take.
  uint64_t maxBytes = uint64_t(4) << 30;
  /// What to print to stderr: "instructions", "barriers", "tma", "wgmma".
  std::vector<std::string> trace;
};

struct Report {
  std::vector<Finding> findings;
  uint64_t blocks = 0;
  /// Instructions that warps executed.
  uint64_t instructions = 0;
  double seconds = 0;
};

/// Runs a launch to its end, or to a finding that ends it. Errors: a kernel that is not there, arguments that do not fit, a block
/// or shared memory that no sm_90 has, too much memory, clusters that do not fit.
Result<Report> run(const Module &module, const Launch &launch, const Options &options);

using Dims = abi::Sizes;

/// An operand of a recipe, for the dims given to Recipe::operands.
struct RecipeOperand {
  std::string name, dtype;
  bool written = false, early = false;
  uint64_t bytes = 0;
  std::vector<int64_t> shape;
};

/// A launch recipe as the simulator follows it.
class Recipe {
public:
  explicit Recipe(abi::LaunchRecipe recipe) : recipe(std::move(recipe)) {}
  /// `text`: one recipe, or a list of {"name": ..., "launch": recipe} such as quant-compile --kernels-to writes, of which
  /// `kernel` picks one by either name; empty: the only one.
  static Result<Recipe> parse(std::string_view text, std::string_view kernel);

  const std::string &kernel() const { return recipe.kernel; }
  Result<std::vector<RecipeOperand>> operands(const Dims &dims) const;
  /// The launch for these dims (M, Sms, ...); a buffer per operand, in the recipe's order, then those that operands point to.
  /// A grid of 0 blocks has grid[0] = 0.
  Result<Launch> launch(const Dims &dims, std::vector<Buffer> buffers) const;

private:
  abi::LaunchRecipe recipe;
};

/// PTX and the recipe of one of its kernels.
struct KernelFiles {
  std::unique_ptr<Module> module;
  Recipe recipe;
};

/// Both from files; `kernel` as for Recipe::parse. Errors name the file.
Result<KernelFiles> loadFiles(const std::string &ptx, const std::string &recipe, std::string_view kernel);

} // namespace quant::sim

#endif // QUANT_TOOLS_QUANT_SIM_API_SIMULATOR_H
