//===- CudaDriver.cpp - the CUDA driver through dlopen -----------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "test/gpu/CudaDriver.h"

#include <dlfcn.h>

#include <stdexcept>

namespace quant::test {

std::string CudaDriver::load() {
  void *library = dlopen("libcuda.so.1", RTLD_NOW);
  if (!library)
    return std::string("no CUDA driver: ") + dlerror();
#define X(symbol, member, parameters)                                                                                            \
  member = reinterpret_cast<decltype(member)>(dlsym(library, #symbol));                                                          \
  if (!member)                                                                                                                   \
    return "the CUDA driver has no " #symbol "; a driver of CUDA 12.0 or later is needed";
  QUANT_CUDA_FUNCTIONS(X)
#undef X
  return {};
}

void CudaDriver::check(CUresult result, const char *call) const {
  if (result == 0)
    return;
  const char *name = nullptr;
  getErrorName(result, &name);
  throw std::runtime_error(std::string(call) + " failed: " + (name ? name : std::to_string(result)));
}

} // namespace quant::test
