//===- Ptx.h - from a gpu.module to PTX and to a cubin -------------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_LOWERING_TARGET_SM90_PTX_H
#define QUANT_LOWERING_TARGET_SM90_PTX_H

#include "runtime/support/result.h"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace mlir {
class DialectRegistry;
namespace gpu {
class GPUModuleOp;
}
} // namespace mlir

namespace quant::nvvm {

/// Adds the dialects, conversion interfaces and LLVM translations that building and compiling kernels needs.
void registerNvvmLowering(mlir::DialectRegistry &registry);

/// What ptxas says a kernel uses.
struct KernelUsage {
  std::string kernel;
  int64_t registers = 0;
  int64_t stackBytes = 0;
  int64_t spillStoreBytes = 0;
  int64_t spillLoadBytes = 0;
};

/// A compiled gpu.module. Without an assembler `cubin`, `ptxasLog` and `usage` are empty, and the driver compiles the PTX at
/// load.
struct GpuArtifact {
  std::string ptx;
  /// The kernels' IR that the PTX's .loc directives point into; empty if it has none.
  std::string ir;
  std::vector<char> cubin;
  std::string ptxasLog;
  std::vector<KernelUsage> usage;

  /// Reasons to distrust the assembled kernels' speed: spills, local memory, serialised wgmma (ptxas notes C75xx). ptxas exits
  /// with 0 in all these cases.
  std::vector<std::string> findings() const;
};

struct AssemblerOptions {
  /// Path of ptxas; empty: $CUDA_HOME/bin/ptxas, then PATH.
  std::string ptxas;
};

/// PTX, and the IR that its .loc directives point into.
struct PtxText {
  std::string ptx, ir;
};

/// PTX for sm_90a of all kernels (hopper.kernel, and llvm.func with nvvm.kernel) in the module, which is left as it is. Runs in
/// process, needs no CUDA toolkit. The PTX version is 8.0, the first with wgmma, so that every driver since CUDA 12.0 takes it.
/// With `irName` each instruction's .loc names its op's line in a file of that name, whose text comes along: what the module
/// looks like in the hopper dialect.
Result<PtxText> compileToPtx(mlir::gpu::GPUModuleOp gpuModule, const std::string &irName = {});

/// Where ptxas is, if anywhere. An explicit path is returned as it is.
std::optional<std::string> findPtxas(const AssemblerOptions &options = {});

/// Assembles PTX for sm_90a. Without a ptxas the result holds the PTX alone; a ptxas that rejects the text, or an explicit path
/// that cannot be run, is an error.
Result<GpuArtifact> assemble(std::string ptx, const AssemblerOptions &options = {});

} // namespace quant::nvvm

#endif // QUANT_LOWERING_TARGET_SM90_PTX_H
