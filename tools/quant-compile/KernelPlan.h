//===- KernelPlan.h - which kernels a request comes to ------------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_TOOLS_QUANT_COMPILE_KERNELPLAN_H
#define QUANT_TOOLS_QUANT_COMPILE_KERNELPLAN_H

#include "lowering/target/sm90/Gemm.h"
#include "passes/schedule/ChooseVariants.h"
#include "tools/quant-compile/KernelOptions.h"

#include <functional>
#include <optional>

namespace quant {

/// A kernel to be compiled.
struct PlannedKernel {
  std::string name;
  std::function<Result<nvvm::CompiledKernel>(const nvvm::AssemblerOptions &)> compile;
};

/// The kernel for a range of M, of a grouped matmul for a range of rows of a group.
struct PlannedRange {
  /// Both 0 where a kernel has no M.
  int64_t minM = 0, maxM = 0;
  /// True if the kernel is meant for all M from minM on.
  bool open = false;
  size_t kernel = 0;
  /// The prediction at maxM and its reason, where the cost model had a say.
  std::optional<schedule::RankedConfig> choice = std::nullopt;
  std::string reason = {};
};

struct KernelPlan {
  std::vector<PlannedKernel> kernels;
  std::vector<PlannedRange> ranges;
};

/// M as --m gives it.
struct RequestedM {
  int64_t min = 1, max = 8192;
  /// For every M, also beyond max.
  bool dynamic = true;
};
Result<RequestedM> parseM(const std::string &text);

/// "128x192,swap,stages=4,multicast=a,split-k=2" onto a config. Errors name the word that is wrong.
Result<void> parseTile(const std::string &text, machine::GemmConfig &config);
/// The inverse, without what is default.
std::string tileText(const machine::GemmConfig &config);

/// What --n, --k, --out, ... ask of a matmul, --heads of a projection of heads.
schedule::GemmProblem gemmProblem(const KernelOptions &options);

/// What --heads, --pages, ... ask of mla_decode.
machine::MlaDecodeConfig mlaDecodeConfig(const KernelOptions &options);

/// Errors name the flag that asks for what there is not.
Result<KernelPlan> planKernels(const KernelOptions &options);

} // namespace quant

#endif // QUANT_TOOLS_QUANT_COMPILE_KERNELPLAN_H
