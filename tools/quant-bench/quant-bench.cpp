//===- quant-bench.cpp - how fast compiled kernels are here ---------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "dialects/machine/X86.h"
#include "tools/quant-bench/Batch.h"
#include "tools/quant-bench/Bench.h"
#include "tools/quant-bench/Convert.h"
#include "tools/quant-bench/Model.h"
#include "tools/quant-bench/Quality.h"
#include "tools/quant-bench/Sim.h"

#include "runtime/support/scheme.h"

#include <CLI/CLI.hpp>

#include <cstdio>
#include <iostream>
#include <map>

using namespace quant;
using namespace quant::bench;
using Json = nlohmann::ordered_json;

static const char *kFooter = R"(
Examples:
  quant-bench gemv --threads 2                      the matrices of DeepSeek-V3, one token
  quant-bench gemv --shapes 7168x2048 --isa avx2    one matrix, in AVX2 code
  quant-bench gemv --scheme ct-w4a16 --group 32     INT4 in groups of 32
  quant-bench gemm --tokens 8,64,256                many tokens at once
  quant-bench asm --shapes 7168x7168                what the compiler made of it
  quant-bench convert --dir /data --python PYTHON   quant-convert's casts against a plain copy and torch
  quant-bench batch model.qmod --weights DIR        a compiled model, tokens per second with 1 to 16 sequences at once
  quant-bench model models/configs/16B.json --layers 4 --dtype fp8 --svg roofline.svg
                                                    a whole model with random weights, by kernel, beside its bound
  quant-bench quality                               models/tiny in every scheme: perplexity of held-out text
  quant-bench sim                                   the simulator: seconds per tile at K = 7168

Kernels come from the compiler (qblock.matmul; E4M3 with 128x128 blocks, unless --scheme says otherwise), are loaded and run by the runtime. Every round measures
all contenders in turn, so read the ratios: they hold on a busy machine too, absolute figures do not. Weights are rotated through
256 MB and more, so that each call reads memory, not a cache. docs/performance.md says what to expect.
Exit codes: 0 done, 1 cannot be measured, 2 wrong usage.)";

static void printGemv(const Json &rows) {
  std::printf("read: %s\n", rows.front()["read"].get<std::string>().c_str());
  std::printf("%-12s %-7s %7s | %9s | %9s %9s %6s %6s | %10s %9s | %s\n", "N x K", "isa", "threads", "read GB/s", "GB/s", "ms",
              "/ read", "best", "bf16 GB/s", "ms", "faster than bf16, fp8 by");
  for (const Json &row : rows)
    std::printf("%-12s %-7s %7d | %9.1f | %9.1f %9.3f %6.2f %6.2f | %10.1f %9.3f | %.2f %.2f\n",
                row["shape"].get<std::string>().c_str(), row["isa"].get<std::string>().c_str(), row["threads"].get<int>(),
                row["read_gb_per_s"].get<double>(), row["gb_per_s"].get<double>(), row["ms"].get<double>(),
                row["of_read"].get<double>(), row["of_read_best"].get<double>(), row["bf16_gb_per_s"].get<double>(),
                row["bf16_ms"].get<double>(), row["speedup_over_bf16"].get<double>(), row["speedup_over_fp8"].get<double>());
}

static void printGemm(const Json &rows) {
  std::printf("%-12s %6s %-7s %7s | %12s | %9s %9s | %6s %6s %7s %7s\n", "N x K", "M", "isa", "threads", "peak GFLOP/s",
              "GFLOP/s", "ms", "/ peak", "/ read", "/ bound", "best");
  for (const Json &row : rows)
    std::printf("%-12s %6d %-7s %7d | %12.1f | %9.1f %9.3f | %6.2f %6.2f %7.2f %7.2f\n", row["shape"].get<std::string>().c_str(),
                row["tokens"].get<int>(), row["isa"].get<std::string>().c_str(), row["threads"].get<int>(),
                row["peak_gflop_per_s"].get<double>(), row["gflop_per_s"].get<double>(), row["ms"].get<double>(),
                row["of_peak"].get<double>(), row["of_read"].get<double>(), row["of_bound"].get<double>(),
                row["of_bound_best"].get<double>());
}

static int report(const Result<Json> &rows, bool json, void (*print)(const Json &)) {
  if (!rows) {
    std::fprintf(stderr, "quant-bench: error: %s\n", rows.error().message.c_str());
    return 1;
  }
  if (json)
    std::cout << rows->dump(2) << "\n";
  else
    print(*rows);
  return 0;
}

static int printAssembly(const BenchOptions &options) {
  Result<std::string> assembly = dumpAssembly(options);
  if (!assembly) {
    std::fprintf(stderr, "quant-bench: error: %s\n", assembly.error().message.c_str());
    return 1;
  }
  std::cout << *assembly;
  return 0;
}

static CLI::App *addCommand(CLI::App &app, BenchOptions &options, const char *name, const char *description) {
  CLI::App *command = app.add_subcommand(name, description);
  command->add_option("--shapes", options.shapes, "weights, N x K each")->delimiter(',');
  command->add_option("--scheme", options.scheme, "how the weights are stored: " + compiledSchemes())->capture_default_str();
  command->add_option("--group", options.group, "columns that share a scale, where the scheme has groups")
      ->check(CLI::Range(1, 1 << 20));
  command->add_option("--isa", options.isa, machine::x86UnitList() + " (default: the best one here)")
      ->check(CLI::IsMember(machine::x86UnitNames()));
  return command;
}

static void addTiming(CLI::App *command, BenchOptions &options) {
  command->add_option("--threads", options.threads, "threads (default: all CPUs)")->check(CLI::Range(1, 1024));
  command->add_option("--seconds", options.seconds, "how long to measure each line")
      ->check(CLI::Range(0.01, 600.0))
      ->capture_default_str();
  command->add_option("--rotate-mb", options.rotatedMegabytes, "memory that the copies of a weight take; 0 keeps it in the cache")
      ->check(CLI::Range(0, 1 << 16))
      ->capture_default_str();
  command->add_flag("--json", options.json, "print JSON: bytes and operations per call, medians, medians of the rounds' ratios");
}

int main(int argc, char **argv) {
  CLI::App app("Measures compiled block-scaled FP8 kernels against what the machine can do.", "quant-bench");
  app.footer(kFooter);
  app.set_version_flag("--version", "quant-bench " QUANT_VERSION);
  app.require_subcommand(1);
  BenchOptions options;
  CLI::App *gemv =
      addCommand(app, options, "gemv", "one token: bandwidth against a plain read, against bf16 and against FP8 weights");
  CLI::App *gemm = addCommand(app, options, "gemm", "many tokens: arithmetic against the peak of AMX, dot products or f32 FMAs");
  CLI::App *assembly = addCommand(app, options, "asm", "print a kernel's machine code as text");
  ConvertOptions convertOptions;
  CLI::App *convert = addConvertCommand(app, convertOptions);
  BatchOptions batchOptions;
  CLI::App *batch = addBatchCommand(app, batchOptions);
  ModelOptions modelOptions;
  CLI::App *model = addModelCommand(app, modelOptions);
  QualityOptions qualityOptions;
  CLI::App *quality = addQualityCommand(app, qualityOptions);
  SimOptions simOptions;
  CLI::App *sim = addSimCommand(app, simOptions);
  addTiming(gemv, options);
  addTiming(gemm, options);
  gemm->add_option("--activations", options.inputs, "how x is multiplied: f32, bf16 or int8 (quantized before)")
      ->transform(CLI::CheckedTransformer(
          std::map<std::string, Inputs>{{"f32", Inputs::F32}, {"bf16", Inputs::Bf16}, {"int8", Inputs::Int8}}));
  gemm->add_option("--tokens", options.tokens, "rows of x, M")->delimiter(',')->check(CLI::Range(1, 1 << 16));
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError &error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  if (convert->parsed())
    return report(runConvert(convertOptions), convertOptions.json, printConvert);
  if (batch->parsed())
    return report(runBatch(batchOptions), batchOptions.json, printBatch);
  if (model->parsed())
    return report(runModel(modelOptions), modelOptions.json, printModel);
  if (quality->parsed())
    return report(runQuality(qualityOptions), qualityOptions.json, printQuality);
  if (sim->parsed())
    return report(runSim(simOptions), simOptions.json, printSim);
  if (options.shapes.empty())
    options.shapes = gemv->parsed() ? std::vector<std::string>{"7168x7168", "2048x7168", "18432x7168", "7168x16384", "24576x1536"}
                                    : std::vector<std::string>{"7168x7168"};
  if (options.tokens.empty())
    options.tokens = {2, 8, 64, 256};
  if (assembly->parsed())
    return printAssembly(options);
  return gemv->parsed() ? report(runGemv(options), options.json, printGemv) : report(runGemm(options), options.json, printGemm);
}
