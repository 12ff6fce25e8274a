//===- Gpu.cpp - the GPUs that kernels are built for -------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "dialects/machine/Gpu.h"

#include <algorithm>

namespace quant::machine {

static Gpu h100() {
  return {
      .name = "h100",
      // NVIDIA H100 data sheet and architecture white paper (2022), SXM5: 132 multiprocessors, 50 MB of L2, 3.35 TB/s, 1979
      // TFLOPS of dense FP8, which are 4 tensor cores x 1024 multiply-adds a cycle at the boost clock of 1.83 GHz.
      .sms = 132,
      // A guess: between the base and the boost clock, as the power limit leaves.
      .clockHz = 1.755e9,
      .tensorFlopsPerCycle = 2 * 4 * 1024,
      .nominalTensorFlops = 1979e12,
      // 32 banks of 4 bytes.
      .sharedBytesPerCycle = 128,
      // DeepGEMM's figure (csrc/jit_kernels/heuristics/sm90.hpp, commit 54e2261).
      .l2BytesPerCycle = 6153,
      // 0.8 of the 64 that a multiprocessor's port takes.
      .loadBytesPerCycle = 51,
      .l2Bytes = int64_t(50) << 20,
      .hbmBytesPerSecond = 3.35e12,
      // Fitted, with launchSeconds, to the times that DeepGEMM published (docs/gpu-kernels.md).
      .hbmEfficiency = 0.87,
      // An estimate.
      .loadLatencySeconds = 0.8e-6,
      .launchSeconds = 1.6e-6,
  };
}

const std::vector<Gpu> &gpus() {
  static const std::vector<Gpu> all = [] {
    Gpu h200 = h100(), h800 = h100();
    h200.name = "h200";
    // NVIDIA H200 data sheet (2024): the H100's chip with HBM3e.
    h200.hbmBytesPerSecond = 4.8e12;
    h800.name = "h800";
    return std::vector<Gpu>{h100(), h200, h800};
  }();
  return all;
}

Result<Gpu> findGpu(std::string_view name) {
  std::string known;
  for (const Gpu &gpu : gpus()) {
    if (gpu.name == name)
      return gpu;
    known += (known.empty() ? "" : ", ") + gpu.name;
  }
  return fail("there is no model of the GPU '" + std::string(name) + "': " + known);
}

const Gpu &defaultGpu() {
  static const Gpu &gpu = *std::ranges::find(gpus(), "h200", &Gpu::name);
  return gpu;
}

} // namespace quant::machine
