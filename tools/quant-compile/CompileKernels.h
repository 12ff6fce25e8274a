//===- CompileKernels.h - GPU kernels to a folder -----------------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The folder holds for each kernel NAME.ptx, NAME.cubin (where there is a ptxas) and NAME.json, its launch recipe; kernels.json
// says which kernel serves which M (docs/gpu-kernels.md).
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_TOOLS_QUANT_COMPILE_COMPILEKERNELS_H
#define QUANT_TOOLS_QUANT_COMPILE_COMPILEKERNELS_H

#include "tools/quant-compile/KernelPlan.h"

#include <nlohmann/json.hpp>

#include <map>

namespace quant {

/// What was written.
struct KernelReport {
  /// kernels.json.
  nlohmann::ordered_json index;
  std::vector<std::string> files;
  int64_t bytes = 0;
  std::vector<std::string> notes;
  double seconds = 0;
};

/// Compiles the planned kernels on all cores and writes the folder, completely or not at all. A folder that is there must be
/// empty or hold what quant-compile wrote before, which is then replaced.
Result<KernelReport> compileKernels(const KernelOptions &options, const KernelPlan &plan);

/// Files by name, written to a folder beside `folder` that then takes its place.
Result<void> writeKernelFolder(const std::filesystem::path &folder, const std::map<std::string, std::string> &files);

} // namespace quant

#endif // QUANT_TOOLS_QUANT_COMPILE_COMPILEKERNELS_H
