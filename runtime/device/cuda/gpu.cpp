//===- gpu.cpp - an H100 or H200, with a context and a stream ------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/device/cuda/gpu.h"

#include <fmt/core.h>

namespace quant::runtime::cuda {

Result<Gpu> Gpu::find() {
  QUANT_TRY_ASSIGN(const auto *driver, Driver::get());
  const Driver &cuda = *driver;
  Gpu gpu = {&cuda, 0, 0};
  int major = 0, minor = 0;
  char name[256] = "";
  QUANT_TRY(cuda.deviceGet(&gpu.device, 0)
                .and_then([&] { return cuda.deviceGetName(name, sizeof name - 1, gpu.device); })
                .and_then([&] { return cuda.deviceGetAttribute(&major, kCapabilityMajor, gpu.device); })
                .and_then([&] { return cuda.deviceGetAttribute(&minor, kCapabilityMinor, gpu.device); })
                .and_then([&] { return cuda.deviceGetAttribute(&gpu.multiprocessors, kMultiprocessorCount, gpu.device); }));
  if (major != 9 || minor != 0)
    return fail(fmt::format("the GPU is {} of compute capability {}.{}, {} code runs on 9.0 (H100, H200); "
                            "CUDA_VISIBLE_DEVICES chooses another GPU",
                            name, major, minor, kTarget),
                ErrorKind::NoDevice);
  return gpu;
}

} // namespace quant::runtime::cuda
