//===- Compile.h - from a checkpoint to a module file -------------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_TOOLS_QUANT_COMPILE_COMPILE_H
#define QUANT_TOOLS_QUANT_COMPILE_COMPILE_H

#include "dialects/machine/X86.h"
#include "runtime/support/result.h"

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace quant {

/// A name in CompileOptions::hostIsas: of the units whose code differs, the best that this CPU runs.
inline constexpr std::string_view kNativeUnit = "native";

/// What the command line says.
struct CompileOptions {
  std::filesystem::path input; // a config.json, or a folder with one and perhaps a checkpoint
  std::filesystem::path output;
  std::vector<std::string> targets = {"host"};
  /// Units of machine::x86Units(), or kNativeUnit. Empty: all whose code differs.
  std::vector<std::string> hostIsas;
  std::string activations = "auto";
  std::string kvCache = "bf16"; // a deepseek::CacheFormat
  /// Of sm_90a: start, loaded or never.
  std::string launchDependents = "start";
  bool mtp = false;      // the draft, too
  std::string stopAfter; // empty: go on to the module
  std::filesystem::path dumpDirectory;
  std::filesystem::path kernelDirectory; // GPU kernels as files of their own, too
  std::string ptxas;
  int64_t maxTokens = 256;
  std::optional<int64_t> maxContext;
};

/// One kernel that a target has no code for, and why.
struct UnsupportedKernel {
  std::string target, name, reason;
};

/// What computes a kernel, and why it is not something faster (empty where there is nothing to say).
struct KernelUnit {
  std::string target, name, unit, why;
};

/// What was done, for the summary.
struct CompileReport {
  std::string model;
  int64_t weights = 0, dispatches = 0, kernels = 0, fileBytes = 0;
  std::vector<UnsupportedKernel> unsupported;
  std::vector<KernelUnit> units;
  std::vector<std::string> notes;
  std::vector<std::string> files; // beside the module
  double seconds = 0;
};

Result<CompileReport> compileModel(const CompileOptions &options);

} // namespace quant

#endif // QUANT_TOOLS_QUANT_COMPILE_COMPILE_H
