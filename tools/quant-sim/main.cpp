//===- main.cpp - quant-sim: runs PTX kernels on the CPU ------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "dialects/machine/Gpu.h"
#include "tools/quant-sim/api/simulator.h"
#include "tools/quant-sim/operands.h"

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include <cstdio>

using namespace quant;

namespace {

/// Exit codes: no finding, a finding or an error, called wrongly.
enum ExitCode { kOk = 0, kFailed = 1, kUsage = 2 };

struct Flags {
  std::string ptx, recipe, kernel, out, check = "all";
  std::vector<std::string> args, trace;
  int64_t m = 1, sms = machine::defaultGpu().sms;
  std::vector<uint32_t> grid;
  uint64_t maxSteps = sim::Options().maxSteps;
  int threads = 0;
  bool json = false;
};

void addFlags(CLI::App &app, Flags &flags) {
  app.add_option("ptx", flags.ptx, "the PTX that ptxas gets")->required()->check(CLI::ExistingFile);
  app.add_option("--recipe", flags.recipe, "launch recipe (JSON), or the list that quant-compile --kernels-to writes")
      ->required()
      ->check(CLI::ExistingFile);
  app.add_option("--kernel", flags.kernel, "which recipe of a list");
  app.add_option("--arg", flags.args, "an operand: NAME=FILE.safetensors:TENSOR; NAME is the recipe's");
  app.add_option("--out", flags.out, "write what the kernel writes to DIR/NAME.safetensors");
  app.add_option("--m", flags.m, "rows (the recipe's M)")->check(CLI::Range(int64_t(0), int64_t(1) << 30))->capture_default_str();
  app.add_option("--sms", flags.sms, "multiprocessors that a persistent kernel spreads over")
      ->check(CLI::Range(1, 1024))
      ->capture_default_str();
  app.add_option("--grid", flags.grid, "blocks in x, y, z instead of the recipe's: X[,Y[,Z]]")
      ->delimiter(',')
      ->expected(1, 3)
      ->check(CLI::Range(1, 1 << 30));
  app.add_option("--check", flags.check,
                 "all; strict: also what works on hardware, but is most likely not meant; none: compute only")
      ->check(CLI::IsMember({"all", "strict", "none"}))
      ->capture_default_str();
  app.add_option("--trace", flags.trace, "print to stderr: barriers, tma, wgmma, instructions")
      ->delimiter(',')
      ->check(CLI::IsMember({"barriers", "tma", "wgmma", "instructions"}));
  app.add_option("--threads", flags.threads, "host threads; 0: all")->check(CLI::Range(0, 1024))->capture_default_str();
  app.add_option("--max-steps", flags.maxSteps, "instructions a warp may execute in one block")->capture_default_str();
  app.add_flag("--json", flags.json, "print the result as JSON");
}

void print(const sim::Report &report, bool json) {
  double rate = report.seconds > 0 ? static_cast<double>(report.instructions) / report.seconds : 0;
  if (!json) {
    for (const sim::Finding &finding : report.findings)
      std::printf("%s\n\n", finding.toString().c_str());
    std::printf("%zu findings; %llu blocks, %llu warp instructions in %.2f s (%.0f a second)\n", report.findings.size(),
                static_cast<unsigned long long>(report.blocks), static_cast<unsigned long long>(report.instructions),
                report.seconds, rate);
    return;
  }
  nlohmann::ordered_json result = {{"findings", nlohmann::ordered_json::array()},
                                   {"blocks", report.blocks},
                                   {"instructions", report.instructions},
                                   {"seconds", report.seconds}};
  for (const sim::Finding &finding : report.findings)
    result["findings"].push_back({{"kind", sim::nameOf(finding.kind)},
                                  {"message", finding.message},
                                  {"line", finding.line},
                                  {"instruction", finding.instruction},
                                  {"source", finding.source},
                                  {"block", finding.block},
                                  {"thread", finding.thread},
                                  {"count", finding.count}});
  std::printf("%s\n", result.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace).c_str());
}

Result<sim::Report> simulate(const Flags &flags) {
  QUANT_TRY_ASSIGN(auto files, sim::loadFiles(flags.ptx, flags.recipe, flags.kernel));
  const sim::Recipe &recipe = files.recipe;
  sim::Dims dims = {{abi::Dim::M, flags.m}, {abi::Dim::Sms, flags.sms}};
  QUANT_TRY_ASSIGN(auto operands, tools::readOperands(recipe, dims, flags.args));
  QUANT_TRY_ASSIGN(auto launch, recipe.launch(dims, operands.buffers()));
  for (size_t i = 0; i < flags.grid.size(); ++i)
    launch.grid[i] = flags.grid[i];
  sim::Options options{.check = flags.check != "none",
                       .strict = flags.check == "strict",
                       .threads = flags.threads,
                       .maxSteps = flags.maxSteps,
                       .trace = flags.trace};
  auto report = sim::run(*files.module, launch, options);
  if (report && !flags.out.empty())
    QUANT_TRY(operands.save(flags.out));
  return report;
}

} // namespace

int main(int argc, char **argv) {
  CLI::App app("Runs an sm_90a PTX kernel on the CPU by its launch recipe, with Hopper's rules, and reports what breaks them: "
               "deadlocks, races, missing fences and waits, wrong byte counts, accesses out of bounds.",
               "quant-sim");
  app.set_version_flag("--version", "quant-sim " QUANT_VERSION);
  app.footer("Example:\n"
             "  quant-compile models/configs/671B.json --target=sm_90a -o x.qmod --kernels-to=kernels\n"
             "  quant-sim kernels/kernels.ptx --recipe kernels/kernels.json --kernel matmul_f8E4M3FN_576x7168 --m 64 \\\n"
             "    --arg a=in.safetensors:a --arg scale_a=in.safetensors:scale_a --arg b=in.safetensors:b \\\n"
             "    --arg scale_b=in.safetensors:scale_b --out results\n"
             "Exit code: 0 no finding, 1 a finding or an error, 2 called wrongly. docs/simulator.md explains every finding.");
  Flags flags;
  addFlags(app, flags);
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success &asked) { // --help, --version
    return app.exit(asked);
  } catch (const CLI::ParseError &error) {
    std::fprintf(stderr, "quant-sim: error: %s; see quant-sim --help\n", error.what());
    return kUsage;
  }
  auto report = simulate(flags);
  if (!report) {
    std::fprintf(stderr, "quant-sim: error: %s\n", report.error().message.c_str());
    return kFailed;
  }
  print(*report, flags.json);
  return report->findings.empty() ? kOk : kFailed;
}
