//===- quant-compile.cpp - a model to a module file -----------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/quant-compile/Compile.h"

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include <cstdio>
#include <iostream>
#include <sys/resource.h>

using namespace quant;

static const char *kFooter = R"(
Examples:
  quant-compile DeepSeek-V3/ -o model.qmod                     a checkpoint, for this kind of machine
  quant-compile DeepSeek-V3/ --target=host,sm_90a -o v3.qmod   and kernels for the H100
  quant-compile models/configs/671B.json --stop-after=fused -o -   look at the IR after a stage

Weights stay in the checkpoint: a module names them, and quant-run maps the files.
Exit codes: 0 done, 1 the model cannot be compiled, 2 wrong usage.)";

static void addOptions(CLI::App &app, CompileOptions &options, bool &json) {
  app.add_option("input", options.input, "folder of a Hugging Face checkpoint, or a config.json")->required()->check(CLI::ExistingPath);
  app.add_option("-o,--output", options.output, "module file to write (with --stop-after: IR; - for standard output)")->required();
  app.add_option("--target", options.targets, "what to compile for: host, sm_90a (H100 and H200: FP8 matmul kernels so far)")
      ->delimiter(',')
      ->check(CLI::IsMember({"host", "sm_90a"}))
      ->capture_default_str();
  app.add_option("--host-isa", options.hostIsas, "instruction sets of the host code, best first")
      ->delimiter(',')
      ->check(CLI::IsMember({"avx512", "avx2"}))
      ->capture_default_str();
  app.add_option("--activations", options.activations,
                 "inputs of FP8 matmuls: fp8 (quantized online, per token and 128 columns), bf16 (not quantized; the host "
                 "keeps them in f32), auto (fp8 on sm_90a, bf16 on the host)")
      ->check(CLI::IsMember({"auto", "fp8", "bf16"}))
      ->capture_default_str();
  app.add_option("--max-tokens", options.maxTokens, "tokens of one call at most; longer prompts go in chunks")
      ->check(CLI::Range(1, 65536))
      ->capture_default_str();
  app.add_option("--max-context", options.maxContext, "longest context (default: the model's own)")->check(CLI::Range(1, 1 << 24));
  app.add_option("--stop-after", options.stopAfter, "print the IR after this stage and stop: model, fused, dispatched, tiled, target")
      ->check(CLI::IsMember({"model", "fused", "dispatched", "tiled", "target"}));
  app.add_option("--dump-stages-to", options.dumpDirectory, "folder for one file of IR for each stage and target");
  app.add_option("--kernels-to", options.kernelDirectory, "folder for the GPU kernels as files: PTX, cubin, launch recipes");
  app.add_option("--ptxas", options.ptxas, "path of ptxas (default: $CUDA_HOME/bin, then PATH; without one the module holds PTX)");
  app.add_flag("--json", json, "print the summary as JSON");
}

static void printSummary(const CompileReport &report, const CompileOptions &options) {
  std::fprintf(stderr, "%s: %s, %lld weights, %lld kernels, %lld dispatches, %.1f MB, compiled in %.1f s\n",
               options.output.c_str(), report.model.c_str(), static_cast<long long>(report.weights),
               static_cast<long long>(report.kernels), static_cast<long long>(report.dispatches), report.fileBytes / 1e6,
               report.seconds);
  for (const std::string &note : report.notes)
    std::fprintf(stderr, "  %s\n", note.c_str());
  for (const std::string &file : report.files)
    std::fprintf(stderr, "  wrote %s\n", file.c_str());
  if (report.unsupported.empty())
    return;
  std::fprintf(stderr, "  %s has no code yet for", report.unsupported.front().target.c_str());
  for (size_t index = 0; index < report.unsupported.size(); ++index)
    std::fprintf(stderr, "%s %s", index ? "," : "", report.unsupported[index].name.c_str());
  std::fprintf(stderr, " (--json says why)\n");
}

/// The largest resident size this process has had.
static int64_t peakMemoryBytes() {
  rusage usage = {};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<int64_t>(usage.ru_maxrss) * 1024;
}

static void printJson(const CompileReport &report, const CompileOptions &options) {
  nlohmann::ordered_json unsupported = nlohmann::ordered_json::array();
  for (const UnsupportedKernel &kernel : report.unsupported)
    unsupported.push_back({{"target", kernel.target}, {"kernel", kernel.name}, {"reason", kernel.reason}});
  nlohmann::ordered_json summary = {{"output", options.output.string()}, {"model", report.model},
                                    {"weights", report.weights},         {"kernels", report.kernels},
                                    {"dispatches", report.dispatches},   {"bytes", report.fileBytes},
                                    {"seconds", report.seconds},         {"peak_memory_bytes", peakMemoryBytes()},
                                    {"unsupported", unsupported}};
  std::cout << summary.dump(2) << "\n";
}

int main(int argc, char **argv) {
  CLI::App app("Compiles a DeepSeek-V2/V3 model to one module file: program, kernels, no weights.", "quant-compile");
  app.footer(kFooter);
  app.set_version_flag("--version", "quant-compile " QUANT_VERSION);
  CompileOptions options;
  bool json = false;
  addOptions(app, options, json);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError &error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  Result<CompileReport> report = compileModel(options);
  if (!report) {
    std::fprintf(stderr, "quant-compile: error: %s\n", report.error().message.c_str());
    return 1;
  }
  if (json)
    printJson(*report, options);
  else if (options.stopAfter.empty())
    printSummary(*report, options);
  return 0;
}
