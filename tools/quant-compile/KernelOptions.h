//===- KernelOptions.h - single GPU kernels on the command line ---*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_TOOLS_QUANT_COMPILE_KERNELOPTIONS_H
#define QUANT_TOOLS_QUANT_COMPILE_KERNELOPTIONS_H

#include "dialects/machine/MlaDecodePlan.h"
#include "runtime/support/result.h"

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace CLI {
class App;
}

namespace quant {

/// What the command line says about --kernel. Options that a kernel does not have keep their defaults.
struct KernelOptions {
  /// Empty: no kernel is asked for.
  std::string kernel;
  int64_t n = 0, k = 0;
  /// Of grouped matmuls: groups, "contiguous" or "masked", and where contiguous groups begin.
  int64_t groups = 0;
  std::string layout = "contiguous";
  int64_t align = 1;
  /// "dynamic", "64" or "1-256".
  std::string m = "dynamic";
  std::string gpu = "h200";
  /// bf16 or f32.
  std::string in = "bf16", out = "bf16";
  /// f32 or bf16, of int8_gemm and int8_grouped_gemm.
  std::string weightScales = "f32";
  /// Of mla_absorb: "none", "interleaved" or "halves".
  std::string rope = "none";
  /// Of mla kernels: heads, columns of the table of pages, parts of the keys, what scores are multiplied by,
  /// whether the logarithms of their sums are given, too.
  int64_t heads = 0, pages = 0, splits = 1;
  double softmaxScale = machine::MlaDecodeConfig().softmaxScale;
  bool lse = false;
  bool bias = false, accumulate = false, batchInvariant = false, swiglu = false;
  /// Empty: the cost model chooses. Else as parseTile takes it.
  std::string tile;
  int64_t maxKernels = 4;
  /// f32 or ue8m0, of quantize and of --swiglu.
  std::string scaleFormat = "f32";
  bool list = false, explain = false;

  std::filesystem::path output;
  std::string ptxas;

  bool isGrouped() const { return kernel.ends_with("_grouped_gemm"); }
  /// A projection of heads: a matmul with --heads instead of --n and --k.
  bool isMlaProjection() const { return kernel == "mla_absorb" || kernel == "mla_expand"; }
  /// What kernels.json's ranges are of.
  const char *sizeOfRanges() const { return isGrouped() ? "rows_per_group" : "m"; }
};

/// A flag of a kernel, for --list-kernels.
struct KernelFlag {
  const char *name, *values, *meaning;
  bool required = false;
};

/// A kernel that can be had alone; the cost model chooses its tiles, or there is nothing to choose.
struct KernelKind {
  const char *name, *summary;
  std::vector<KernelFlag> flags;
  bool hasChoice = false;
};

/// fp8_gemm, fp8_grouped_gemm, the same of int8 and bf16, mla_absorb, mla_expand, mla_decode, mla_combine, quantize, dequantize.
const std::vector<KernelKind> &kernelKinds();
/// Null if there is none of that name.
const KernelKind *findKernelKind(const std::string &name);

/// Adds --kernel, --list-kernels and every flag of a kernel.
void addKernelOptions(CLI::App &app, KernelOptions &options);

/// Checks that the flags which were given belong to what is asked for, and that those which it needs are there. Fails naming the
/// flag and the way out: wrong usage.
Result<void> checkKernelUsage(const CLI::App &app, const KernelOptions &options);

} // namespace quant

#endif // QUANT_TOOLS_QUANT_COMPILE_KERNELOPTIONS_H
