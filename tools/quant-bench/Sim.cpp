//===- Sim.cpp - how fast the simulator is ----------------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/quant-bench/Sim.h"

#include "lowering/target/sm90/Gemm.h"
#include "tools/quant-sim/api/simulator.h"

#include <CLI/CLI.hpp>

#include <algorithm>
#include <cstdio>
#include <random>
#include <thread>

namespace quant::bench {

using Json = nlohmann::ordered_json;

namespace {

constexpr int64_t kTile = 128;

/// Finite e4m3, and scales near 1.
void fill(const sim::RecipeOperand &operand, std::vector<std::byte> &data) {
  std::mt19937 random(1);
  if (operand.dtype == "f32") {
    for (size_t i = 0; i + sizeof(float) <= data.size(); i += sizeof(float)) {
      float scale = 0.5f + static_cast<float>(random() % 1024) / 1024;
      std::memcpy(data.data() + i, &scale, sizeof scale);
    }
    return;
  }
  for (std::byte &value : data) {
    auto bits = static_cast<uint8_t>(random());
    value = static_cast<std::byte>((bits & 0x7f) == 0x7f ? bits ^ 1 : bits);
  }
}

struct SimKernel {
  std::unique_ptr<sim::Module> module;
  std::unique_ptr<sim::Recipe> recipe;

  /// Medians of runs with `tiles` tiles on as many threads.
  Result<Json> measure(const SimOptions &options, int64_t tiles, bool check) const;
};

Result<Json> SimKernel::measure(const SimOptions &options, int64_t tiles, bool check) const {
  sim::Dims dims = {{abi::Dim::M, kTile * tiles}, {abi::Dim::Sms, tiles}};
  QUANT_TRY_ASSIGN(auto operands, recipe->operands(dims));
  std::vector<std::vector<std::byte>> storage;
  std::vector<sim::Buffer> buffers;
  for (const sim::RecipeOperand &operand : operands) {
    fill(operand, storage.emplace_back(operand.bytes));
    buffers.push_back({.name = operand.name, .bytes = storage.back(), .writable = operand.written});
  }
  QUANT_TRY_ASSIGN(auto launch, recipe->launch(dims, buffers));
  sim::Options run;
  run.check = check;
  run.threads = static_cast<int>(tiles);
  std::vector<double> seconds;
  uint64_t instructions = 0;
  for (double spent = 0; spent < options.seconds || seconds.size() < 3; spent += seconds.back()) {
    QUANT_TRY_ASSIGN(auto report, sim::run(*module, launch, run));
    if (!report.findings.empty())
      return fail("the simulator objects to the kernel: " + report.findings[0].toString());
    seconds.push_back(report.seconds);
    instructions = report.instructions;
  }
  std::nth_element(seconds.begin(), seconds.begin() + seconds.size() / 2, seconds.end());
  double median = seconds[seconds.size() / 2];
  return Json{{"kernel", launch.kernel},
              {"k", options.k},
              {"threads", tiles},
              {"checks", check},
              {"tiles", tiles},
              {"seconds", median},
              {"seconds_per_tile", median / static_cast<double>(tiles)},
              {"instructions", instructions},
              {"instructions_per_s", static_cast<double>(instructions) / median}};
}

Result<SimKernel> compileKernel(int64_t k) {
  QUANT_TRY_ASSIGN(auto compiled, nvvm::compileGemm({.n = kTile, .k = k, .blockM = kTile, .blockN = kTile}));
  QUANT_TRY_ASSIGN(auto module, sim::Module::load(compiled.artifact.ptx));
  QUANT_TRY_ASSIGN(auto recipe, sim::Recipe::parse(compiled.recipe.toJson().dump(), ""));
  return SimKernel{std::move(module), std::make_unique<sim::Recipe>(std::move(recipe))};
}

} // namespace

CLI::App *addSimCommand(CLI::App &app, SimOptions &options) {
  CLI::App *command = app.add_subcommand("sim", "quant-sim: seconds per 128x128 tile of the FP8 GEMM, instructions a second");
  command->add_option("--k", options.k, "K")->check(CLI::Range(16, 1 << 20))->capture_default_str();
  command->add_option("--threads", options.threads, "threads (default: all CPUs)")->check(CLI::Range(1, 1024));
  command->add_option("--seconds", options.seconds, "how long to measure each line")
      ->check(CLI::Range(0.01, 600.0))
      ->capture_default_str();
  command->add_flag("--json", options.json, "print JSON");
  return command;
}

Result<Json> runSim(const SimOptions &options) {
  QUANT_TRY_ASSIGN(auto kernel, compileKernel(options.k));
  int64_t threads = options.threads > 0 ? options.threads : std::max(std::thread::hardware_concurrency(), 1u);
  Json rows = Json::array();
  auto add = [&](int64_t tiles, bool check) -> Result<void> {
    QUANT_TRY_ASSIGN(auto row, kernel.measure(options, tiles, check));
    rows.push_back(std::move(row));
    return {};
  };
  for (bool check : {true, false})
    QUANT_TRY(add(1, check));
  if (threads > 1)
    QUANT_TRY(add(threads, true));
  return rows;
}

void printSim(const Json &rows) {
  std::printf("%-46s %7s %6s | %8s %10s | %14s\n", "kernel", "threads", "checks", "s", "s per tile", "instructions/s");
  for (const Json &row : rows)
    std::printf("%-46s %7d %6s | %8.3f %10.3f | %14.3g\n", row["kernel"].get<std::string>().c_str(), row["threads"].get<int>(),
                row["checks"].get<bool>() ? "all" : "none", row["seconds"].get<double>(), row["seconds_per_tile"].get<double>(),
                row["instructions_per_s"].get<double>());
}

} // namespace quant::bench
