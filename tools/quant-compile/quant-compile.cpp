//===- quant-compile.cpp - a model to a module file -----------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/quant-compile/Compile.h"
#include "tools/quant-compile/CompileKernels.h"
#include "tools/quant-compile/ExplainKernels.h"
#include "tools/quant-compile/KernelOptions.h"

#include "dialects/machine/X86.h"
#include "lowering/target/Target.h"
#include "tools/common/process_usage.h"
#include "tools/common/table.h"
#include "tools/common/units.h"

#include <CLI/CLI.hpp>
#include <fmt/core.h>
#include <nlohmann/json.hpp>

#include <cstdio>
#include <iostream>
#include <map>

using namespace quant;

static const char *kFooter = R"(
Examples:
  quant-compile DeepSeek-V3/ -o model.qmod                     a checkpoint, for this kind of machine
  quant-compile DeepSeek-V3/ --target=host,sm_90a -o v3.qmod   and kernels for the H100
  quant-compile models/configs/671B.json --stop-after=fused -o -   look at the IR after a stage
  quant-compile --list-kernels                                 GPU kernels that can be had without a model
  quant-compile --kernel=fp8_gemm --n=7168 --k=2048 -o gemm/   one of them: PTX, cubin and launch recipes, a few variants by M
  quant-compile --kernel=fp8_gemm --n=7168 --k=2048 --explain  which variants, and why
  quant-compile --kernel=fp8_grouped_gemm --groups=32 --n=4096 --k=7168 --layout=masked -o experts/

Weights stay in the checkpoint: a module names them, and quant-run maps the files.
Exit codes: 0 done, 1 it cannot be compiled, 2 wrong usage.)";

static void addOptions(CLI::App &app, CompileOptions &options, bool &json) {
  app.add_option("input", options.input, "folder of a Hugging Face checkpoint, or a config.json")->check(CLI::ExistingPath);
  app.add_option("-o,--output", options.output,
                 "module file to write (with --stop-after: IR; - for standard output; with --kernel: a folder)");
  std::vector<std::string> targetNames;
  std::string targetHelp = "what to compile for:";
  for (const Target *target : targets()) {
    targetHelp += fmt::format("{}{} ({})", targetNames.empty() ? " " : ", ", target->name().str(), target->summary().str());
    targetNames.push_back(target->name().str());
  }
  app.add_option("--target", options.targets, targetHelp)
      ->delimiter(',')
      ->check(CLI::IsMember(targetNames))
      ->capture_default_str();
  std::vector<std::string> units = machine::x86UnitNames();
  units.emplace_back(kNativeUnit);
  app.add_option(
         "--host-isa", options.hostIsas,
         "instruction sets of the host code, best first (default: all whose code differs); native: the best one of this CPU")
      ->delimiter(',')
      ->check(CLI::IsMember(units));
  app.add_option(
         "--activations", options.activations,
         "inputs of matmuls: fp8 (of FP8 weights: quantized online, per token and 128 columns), bf16 (on the host: "
         "rounded where the CPU has dot products of bf16; on sm_90a of bf16 weights, which tensor cores then multiply; "
         "there fp8 and int8 round those, too), int8 (of INT8 weights with a scale a row, on the host also of INT4 and in "
         "groups: quantized online, per token), f32 (as they are), auto (on sm_90a fp8, int8 or bf16, as the weight is; "
         "f32 on the host)")
      ->check(CLI::IsMember({"auto", "fp8", "bf16", "int8", "f32"}))
      ->capture_default_str();
  app.add_option("--kv-cache", options.kvCache,
                 "how the latents and rope keys of past tokens are stored: f32, bf16, or latents quantized beside bf16 keys: fp8 "
                 "(a scale "
                 "for each 128), int8 (one for each token), int4 (one for each 32); docs/kv-cache.md")
      ->check(CLI::IsMember({"f32", "bf16", "fp8", "int8", "int4"}))
      ->capture_default_str();
  app.add_option(
         "--launch-dependents", options.launchDependents,
         "on sm_90a: when a kernel on tensor cores lets the next one start where launches overlap (quant-run --overlap): at "
         "its start, when a block has issued its last load (loaded), or never before its end; results are the same")
      ->check(CLI::IsMember({"start", "loaded", "never"}))
      ->capture_default_str();
  app.add_flag("--mtp", options.mtp,
               "also compile the model's first MTP layer, which guesses the token after the next (quant-run --mtp, quant-serve "
               "--mtp); without it MTP layers are left out");
  app.add_option("--max-tokens", options.maxTokens, "tokens of one call at most; longer prompts go in chunks")
      ->check(CLI::Range(1, 65536))
      ->capture_default_str();
  app.add_option("--max-context", options.maxContext, "longest context (default: the model's own)")
      ->check(CLI::Range(1, 1 << 24));
  app.add_option("--stop-after", options.stopAfter,
                 "print the IR after this stage and stop: model, fused, dispatched, scheduled, tiled, target")
      ->check(CLI::IsMember({"model", "fused", "dispatched", "scheduled", "tiled", "target"}));
  app.add_option("--dump-stages-to", options.dumpDirectory, "folder for one file of IR for each stage and target");
  app.add_option("--kernels-to", options.kernelDirectory, "folder for the GPU kernels as files: PTX, cubin, launch recipes");
  app.add_option("--ptxas", options.ptxas,
                 "path of ptxas (default: $CUDA_HOME/bin, then PATH; without one the module holds PTX)");
  app.add_flag("--json", json, "print the summary as JSON");
}

/// Which unit computes how many kernels, and by reason the matmuls and attention ops that get a slower one than there is.
static void printUnits(const CompileReport &report) {
  std::map<std::pair<std::string, std::string>, size_t> counts;
  std::map<std::string, std::vector<std::string>> slow;
  for (const KernelUnit &kernel : report.units) {
    ++counts[{kernel.target, kernel.unit}];
    if (!kernel.why.empty())
      slow[kernel.target + ", " + kernel.unit + ": " + kernel.why].push_back(kernel.name);
  }
  for (const auto &[unit, count] : counts)
    std::fprintf(stderr, "  %s: %zu kernels on %s\n", unit.first.c_str(), count, unit.second.c_str());
  for (const auto &[why, names] : slow)
    std::fprintf(stderr, "  %s (%zu kernels: %s%s)\n", why.c_str(), names.size(), names.front().c_str(),
                 names.size() > 1 ? ", ..." : "");
}

static void printNotes(const CompileReport &report) {
  for (const std::string &note : report.notes)
    std::fprintf(stderr, "  %s\n", note.c_str());
}

static void printSummary(const CompileReport &report, const CompileOptions &options) {
  std::fprintf(stderr, "%s: %s, %lld weights, %lld kernels, %lld dispatches, %.1f MB, compiled in %.1f s\n",
               options.output.c_str(), report.model.c_str(), static_cast<long long>(report.weights),
               static_cast<long long>(report.kernels), static_cast<long long>(report.dispatches), report.fileBytes / 1e6,
               report.seconds);
  printUnits(report);
  printNotes(report);
  for (const std::string &file : report.files)
    std::fprintf(stderr, "  wrote %s\n", file.c_str());
  if (report.unsupported.empty())
    return;
  std::fprintf(stderr, "  %s has no code yet for", report.unsupported.front().target.c_str());
  for (size_t index = 0; index < report.unsupported.size(); ++index)
    std::fprintf(stderr, "%s %s", index ? "," : "", report.unsupported[index].name.c_str());
  std::fprintf(stderr, " (--json says why)\n");
}

static void printJson(const CompileReport &report, const CompileOptions &options) {
  nlohmann::ordered_json unsupported = nlohmann::ordered_json::array();
  for (const UnsupportedKernel &kernel : report.unsupported)
    unsupported.push_back({{"target", kernel.target}, {"kernel", kernel.name}, {"reason", kernel.reason}});
  nlohmann::ordered_json units = nlohmann::ordered_json::array();
  for (const KernelUnit &kernel : report.units) {
    units.push_back({{"target", kernel.target}, {"kernel", kernel.name}, {"unit", kernel.unit}});
    if (!kernel.why.empty())
      units.back()["why"] = kernel.why;
  }
  nlohmann::ordered_json summary = {{"output", options.output.string()}, {"model", report.model},
                                    {"weights", report.weights},         {"kernels", report.kernels},
                                    {"dispatches", report.dispatches},   {"bytes", report.fileBytes},
                                    {"seconds", report.seconds},         {"peak_memory_bytes", tools::processUsage().peakBytes},
                                    {"unsupported", unsupported},        {"units", units}};
  summary["notes"] = report.notes;
  std::cout << summary.dump(2) << "\n";
}

//===----------------------------------------------------------------------===//
// Kernels by themselves
//===----------------------------------------------------------------------===//

static int fails(const Error &error) {
  std::fprintf(stderr, "quant-compile: error: %s\n", error.message.c_str());
  return 1;
}

/// Prints a text or its JSON form.
static int printResult(const Result<std::string> &text) {
  if (!text)
    return fails(text.error());
  std::fputs(text->c_str(), stdout);
  return 0;
}

static int listAllKernels(const KernelOptions &options, bool json) {
  if (options.explain)
    return printResult(explainDenseShapes(options));
  return printResult(json ? listKernelsJson().dump(2) + "\n" : listKernels());
}

static int explainKernel(const KernelOptions &options, bool json) {
  bool isAttention = options.kernel == "mla_decode";
  if (json)
    return printResult((isAttention ? explainMlaDecodeJson : explainGemmJson)(options).map(
        [](const auto &data) { return data.dump(2) + "\n"; }));
  return printResult((isAttention ? explainMlaDecode : explainGemm)(options));
}

static void printKernelSummary(const KernelReport &report, const KernelOptions &options) {
  std::fprintf(stderr, "%s: %s, %zu files, %s, compiled in %.1f s\n", options.output.c_str(), options.kernel.c_str(),
               report.files.size(), tools::humanBytes(static_cast<uint64_t>(report.bytes)).c_str(), report.seconds);
  const char *size = options.sizeOfRanges();
  tools::Table table({options.isGrouped() ? "rows of a group" : "M", "kernel", ">predicted us", "why"});
  for (const auto &variant : report.index["variants"]) {
    if (!variant.contains("predicted"))
      continue;
    std::string m = fmt::format("{}-{}", variant[size][0].get<int64_t>(), variant[size][1].get<int64_t>());
    char text[64];
    std::snprintf(text, sizeof text, "%.1f at %lld", variant["predicted"]["microseconds"].get<double>(),
                  static_cast<long long>(variant["predicted"][size].get<int64_t>()));
    table.add({m, variant["launch"], text, variant["reason"]});
  }
  if (!table.empty())
    std::fprintf(stderr, "%s", table.str(2).c_str());
  for (const std::string &note : report.notes)
    std::fprintf(stderr, "  %s\n", note.c_str());
}

static void printKernelJson(const KernelReport &report, const KernelOptions &options) {
  nlohmann::ordered_json summary = {
      {"output", options.output.string()}, {"kernels", report.index}, {"files", report.files}, {"bytes", report.bytes},
      {"seconds", report.seconds},         {"notes", report.notes}};
  std::cout << summary.dump(2) << "\n";
}

static int runKernelCommand(const KernelOptions &options, bool json) {
  if (options.list)
    return listAllKernels(options, json);
  if (options.explain)
    if (int status = explainKernel(options, json); status || options.output.empty())
      return status;
  auto report = planKernels(options).and_then([&](const KernelPlan &plan) { return compileKernels(options, plan); });
  if (!report)
    return fails(report.error());
  json && !options.explain ? printKernelJson(*report, options) : printKernelSummary(*report, options);
  return 0;
}

int main(int argc, char **argv) {
  CLI::App app("Compiles a DeepSeek-V2/V3 model to one module file: program, kernels, no weights. Or single GPU kernels.",
               "quant-compile");
  app.footer(kFooter);
  app.set_version_flag("--version", "quant-compile " QUANT_VERSION);
  CompileOptions options;
  KernelOptions kernel;
  bool json = false;
  addOptions(app, options, json);
  addKernelOptions(app, kernel);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError &error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  if (auto usage = checkKernelUsage(app, kernel); !usage) {
    std::fprintf(stderr, "%s\nRun with --help for more information.\n", usage.error().message.c_str());
    return 2;
  }
  if (kernel.list || !kernel.kernel.empty()) {
    kernel.output = options.output;
    kernel.ptxas = options.ptxas;
    return runKernelCommand(kernel, json);
  }
  Result<CompileReport> report = compileModel(options);
  if (!report)
    return fails(report.error());
  if (json)
    printJson(*report, options);
  else if (options.stopAfter.empty())
    printSummary(*report, options);
  else
    printNotes(*report);
  return 0;
}
