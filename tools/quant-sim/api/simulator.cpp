//===- simulator.cpp - launches ---------------------------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/quant-sim/api/simulator.h"

#include "tools/common/parallel.h"
#include "tools/quant-sim/machine/machine.h"

#include <fmt/core.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <thread>

namespace quant::sim {

namespace {
constexpr uint64_t kMaxSharedBytes = machine::kSm90a.sharedBytesPerBlock;
constexpr uint64_t kMaxCluster = machine::kSm90a.blocksPerCluster;
constexpr uint64_t kMaxThreads = machine::kSm90a.threadsPerBlock, kMaxGrid = uint64_t(1) << 31;
/// A word of shadow is about 16 times what it stands for.
constexpr uint64_t kShadowFactor = 16, kRowBytes = 8 * kWarpLanes;
} // namespace

//===----------------------------------------------------------------------===//
// Modules
//===----------------------------------------------------------------------===//

Module::Module() = default;
Module::~Module() = default;

static std::vector<PlacedVariable> placeGlobals(const PtxModule &module) {
  std::vector<PlacedVariable> globals;
  uint64_t next = kModuleGlobals;
  for (const Variable &variable : module.variables)
    if (variable.space == Space::Global || variable.space == Space::Const) {
      next = (next + variable.align - 1) / variable.align * variable.align;
      globals.push_back({variable.name, variable.space, next, variable.bytes});
      next += variable.bytes + kMaxSharedBytes; // A gap, so that an access past the end hits nothing.
    }
  return globals;
}

Result<std::unique_ptr<Module>> Module::load(std::string_view ptx) {
  QUANT_TRY_ASSIGN(auto parsed, parsePtx(ptx));
  std::unique_ptr<Module> module(new Module);
  module->parsed = std::make_unique<PtxModule>(std::move(parsed));
  std::vector<PlacedVariable> globals = placeGlobals(*module->parsed);
  for (const Function &function : module->parsed->functions) {
    QUANT_TRY_ASSIGN(auto program, decode(*module->parsed, function, globals));
    module->programs.push_back(std::make_unique<Program>(std::move(program)));
  }
  return module;
}

std::vector<std::string> Module::kernels() const {
  std::vector<std::string> names;
  for (const auto &program : programs)
    names.push_back(program->function->name);
  return names;
}

const Program *Module::find(std::string_view kernel) const {
  for (const auto &program : programs)
    if (program->function->name == kernel)
      return program.get();
  return nullptr;
}

//===----------------------------------------------------------------------===//
// Launches
//===----------------------------------------------------------------------===//

namespace {

/// Writes the arguments where the kernel looks for them.
struct ArgumentWriter {
  const Launch &launch;
  const std::vector<uint64_t> &addresses;

  Result<std::vector<std::byte>> operator()(const ScalarArgument &scalar) const { return bytesOf(scalar.value); }
  Result<std::vector<std::byte>> operator()(const PointerArgument &pointer) const {
    if (pointer.buffer >= addresses.size())
      return fail(fmt::format("an argument that points to buffer {}, which there is none", pointer.buffer));
    return bytesOf(addresses[pointer.buffer] + pointer.offset);
  }
  Result<std::vector<std::byte>> operator()(const TensorMapArgument &argument) const {
    if (argument.buffer >= addresses.size())
      return fail(fmt::format("a tensor map of buffer {}, which there is none", argument.buffer));
    TensorMap map = argument.map;
    map.address += addresses[argument.buffer];
    if (auto checked = map.check(); !checked)
      return tl::unexpected(checked.error().in(launch.buffers[argument.buffer].name));
    auto packed = map.pack();
    return std::vector<std::byte>(packed.begin(), packed.end());
  }
  Result<std::vector<std::byte>> operator()(const BytesArgument &argument) const { return argument.bytes; }
  static std::vector<std::byte> bytesOf(uint64_t value) {
    std::vector<std::byte> bytes(8);
    std::memcpy(bytes.data(), &value, 8);
    return bytes;
  }
};

Result<void> writeArguments(LaunchContext &context, const Launch &launch, const std::vector<uint64_t> &addresses) {
  const auto &params = context.program.function->params;
  if (params.size() != launch.arguments.size())
    return fail(fmt::format("'{}' has {} parameters, not {}", launch.kernel, params.size(), launch.arguments.size()));
  context.params.resize(context.program.paramBytes);
  for (size_t i = 0; i < params.size(); ++i) {
    auto bytes = std::visit(ArgumentWriter{launch, addresses}, launch.arguments[i]);
    if (!bytes)
      return tl::unexpected(bytes.error().in(fmt::format("argument {}", i)));
    // The variables begin with the parameters. A scalar may be narrower than the 8 bytes it comes in.
    const PlacedVariable &param = context.program.variables[i];
    bool isExact = std::holds_alternative<BytesArgument>(launch.arguments[i]);
    if (bytes->size() < param.bytes || (bytes->size() > param.bytes && (isExact || bytes->size() != 8)))
      return fail(fmt::format("argument {} of '{}' has {} bytes", i, launch.kernel, param.bytes));
    std::memcpy(context.params.data() + param.address, bytes->data(), param.bytes);
  }
  return {};
}

/// The kernel's own cluster size holds if the launch gives none, as with cuLaunchKernel.
std::array<uint32_t, 3> clusterOf(const Launch &launch, const Program &program) {
  bool required = program.function->cluster[0] != 0;
  return required && launch.cluster == std::array<uint32_t, 3>{1, 1, 1} ? program.function->cluster : launch.cluster;
}

uint64_t blocksOf(const std::array<uint32_t, 3> &cluster) { return uint64_t(cluster[0]) * cluster[1] * cluster[2]; }

Result<void> checkCluster(const Launch &launch, const Program &program) {
  std::array<uint32_t, 3> cluster = clusterOf(launch, program), required = program.function->cluster;
  if (required[0] != 0 && cluster != required)
    return fail("'" + launch.kernel + "' is for clusters of another size than the launch's");
  for (size_t i = 0; i < 3; ++i) {
    if (cluster[i] == 0 || cluster[i] > kMaxCluster || blocksOf(cluster) > kMaxCluster)
      return fail(fmt::format("a cluster of {} blocks (1 to {})", blocksOf(cluster), kMaxCluster));
    if (launch.grid[i] % cluster[i])
      return fail(fmt::format("a grid of {} blocks in a dimension in which a cluster has {}", launch.grid[i], cluster[i]));
  }
  return {};
}

Result<void> checkLaunch(const Launch &launch, const Program &program, const Options &options) {
  uint64_t threads = uint64_t(launch.block[0]) * launch.block[1] * launch.block[2];
  uint64_t most = program.function->maxThreads ? std::min(program.function->maxThreads, kMaxThreads) : kMaxThreads;
  if (threads == 0 || launch.block[0] > kMaxThreads || launch.block[1] > kMaxThreads || launch.block[2] > 64 || threads > most)
    return fail(fmt::format("a block of {} threads; '{}' takes 1 to {}", threads, launch.kernel, most));
  QUANT_TRY(checkCluster(launch, program));
  uint64_t shared = program.dynamicShared - kSharedBegin + launch.dynamicSharedBytes;
  if (shared > kMaxSharedBytes || launch.dynamicSharedBytes > kMaxSharedBytes)
    return fail(fmt::format("a block with {} bytes of shared memory; sm_90 has {}", shared, kMaxSharedBytes));
  uint64_t warps = (threads + kWarpLanes - 1) / kWarpLanes;
  uint64_t perBlock =
      warps * (program.slots.size() * (kRowBytes + 8) + program.localBytes * kWarpLanes) + shared * (1 + kShadowFactor);
  uint64_t needed = perBlock * blocksOf(clusterOf(launch, program)) * static_cast<uint64_t>(std::max(options.threads, 1));
  if (needed > options.maxBytes)
    return fail(fmt::format("the launch takes {} MiB, more than the {} MiB allowed", needed >> 20, options.maxBytes >> 20));
  return {};
}

/// Module variables with their initial values; `storage` holds them.
void addModuleVariables(LaunchContext &context, std::vector<std::vector<std::byte>> &storage) {
  const PtxModule &module = *context.program.module;
  std::vector<PlacedVariable> placed = placeGlobals(module);
  size_t next = 0;
  for (const Variable &variable : module.variables) {
    if (variable.space != Space::Global && variable.space != Space::Const)
      continue;
    auto &bytes = storage.emplace_back(variable.bytes);
    std::memcpy(bytes.data(), variable.initial.data(), variable.initial.size());
    context.memory.addAt(placed[next++].address, variable.name, bytes, variable.space == Space::Global);
  }
}

/// Runs the clusters on `threads` host threads; sums what they executed.
uint64_t runClusters(LaunchContext &context, uint64_t clusters, int threads) {
  std::atomic<uint64_t> next = 0, steps = 0;
  auto work = [&](size_t) {
    for (uint64_t i = next++; i < clusters && !context.stopped; i = next++) {
      Cluster cluster(context, i);
      cluster.run();
      steps += cluster.steps();
      if (cluster.stopped)
        context.stopped = true;
    }
  };
  auto workers = static_cast<unsigned>(threads);
  tools::parallelFor(workers, workers, work);
  return steps;
}

/// A kernel's end must mean that of the kernel in front, since it is all that the kernel behind waits for.
void checkGridWaits(LaunchContext &context, uint64_t blocks) {
  uint64_t missing = blocks - context.waitedBlocks;
  if (context.stopped || missing == 0 || (missing < blocks && !context.strict))
    return;
  std::string some = fmt::format(
      "{} of {} blocks end without griddepcontrol.wait: a launch of such blocks alone could end before the kernel in front of it",
      missing, blocks);
  std::string none =
      "no thread of the launch executes griddepcontrol.wait: it may end before the kernel in front of it, for which "
      "the kernel behind it then does not wait either";
  Finding finding{.kind = FindingKind::MissingGridWait,
                  .message = missing == blocks ? none : some,
                  .line = 0,
                  .instruction = {},
                  .source = {}};
  context.findings.add(std::move(finding));
}

} // namespace

Result<Report> run(const Module &module, const Launch &launch, const Options &given) {
  const Program *program = module.find(launch.kernel);
  if (!program)
    return fail("there is no kernel '" + launch.kernel + "'");
  Options options = given;
  if (options.threads <= 0)
    options.threads = static_cast<int>(std::max(std::thread::hardware_concurrency(), 1u));
  uint64_t blocks = uint64_t(launch.grid[0]) * launch.grid[1];
  if (launch.grid[1] > 65535 || launch.grid[2] > 65535 || (blocks *= launch.grid[2]) > kMaxGrid)
    return fail("a grid of more blocks than 2^31, or 65535 in y or z");
  if (blocks == 0)
    return Report{};
  options.threads = static_cast<int>(std::clamp<uint64_t>(blocks, 1, static_cast<uint64_t>(options.threads)));
  QUANT_TRY(checkLaunch(launch, *program, options));
  LaunchContext context{.program = *program,
                        .grid = launch.grid,
                        .block = launch.block,
                        .cluster = clusterOf(launch, *program),
                        .params = {},
                        .memory = {},
                        .findings = {},
                        .atomics = {}};
  context.dynamicShared = launch.dynamicSharedBytes;
  context.check = options.check;
  context.strict = options.check && options.strict;
  context.maxSteps = options.maxSteps;
  for (const std::string &what : options.trace) {
    context.traceInstructions |= what == "instructions";
    context.traceBarriers |= what == "barriers";
    context.traceTma |= what == "tma";
    context.traceWgmma |= what == "wgmma";
  }
  std::vector<std::vector<std::byte>> storage;
  addModuleVariables(context, storage);
  bool programmatic = context.check && launch.programmatic;
  std::vector<uint64_t> addresses;
  for (const Buffer &buffer : launch.buffers)
    addresses.push_back(
        context.memory.add(buffer.name, buffer.bytes, buffer.writable, buffer.address, programmatic && !buffer.early));
  QUANT_TRY(writeArguments(context, launch, addresses));
  auto begin = std::chrono::steady_clock::now();
  Report report;
  report.blocks = blocks;
  report.instructions = runClusters(context, blocks / blocksOf(context.cluster), options.threads);
  report.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  if (programmatic)
    checkGridWaits(context, blocks);
  report.findings = context.findings.take();
  return report;
}

} // namespace quant::sim
