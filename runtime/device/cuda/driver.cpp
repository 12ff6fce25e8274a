//===- driver.cpp - the calls of the CUDA driver that a session takes ----===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/device/cuda/driver.h"

#include <fmt/core.h>

#include <dlfcn.h>

namespace quant::runtime::cuda {

static Driver &instance() {
  static Driver driver;
  return driver;
}

Result<void> checked(const char *call, Status status) {
  if (status == 0)
    return {};
  const char *name = nullptr;
  instance().getErrorName.status(status, &name);
  return fail(fmt::format("{} failed: {}", call, name ? name : fmt::format("CUresult {}", status)),
              status == kOutOfMemory ? ErrorKind::OutOfMemory : ErrorKind::Device);
}

static constexpr char kNeeds[] = "the device 'cuda' needs an H100 or H200 and NVIDIA's driver for it, of CUDA 12.0 or later";

template <typename... Arguments>
static Result<void> lookUp(void *library, Call<Arguments...> &call) {
  call.function = reinterpret_cast<Status (*)(Arguments...)>(::dlsym(library, call.name));
  if (!call.function)
    return fail(fmt::format("the CUDA driver is too old: libcuda.so.1 has no {}; {}", call.name, kNeeds), ErrorKind::NoDevice);
  return {};
}

template <typename... Calls>
static Result<void> lookUpAll(void *library, Calls &...calls) {
  Result<void> found;
  ((found = lookUp(library, calls)) && ...);
  return found;
}

/// The library stays loaded: it has threads and state of the whole process.
Result<void> Driver::load() {
  void *library = ::dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
  if (!library)
    return fail(fmt::format("no CUDA driver ({}); {}", ::dlerror(), kNeeds), ErrorKind::NoDevice);
  QUANT_TRY(lookUpAll(library, init, getErrorName, deviceGetCount, deviceGet, deviceGetName, deviceGetAttribute,
                      primaryContextRetain, primaryContextRelease, contextPush, contextPop, streamCreate, streamSynchronize,
                      streamDestroy, contextSynchronize, memoryGetInfo, memoryAllocate, memoryFree, hostAllocate, hostFree,
                      copyToDevice, copyToDeviceAsync, copyToHostAsync, setBytesAsync, moduleLoad, moduleUnload,
                      moduleGetFunction, functionSetAttribute, functionGetAttribute, captureBegin, captureEnd, graphInstantiate,
                      graphLaunch, graphDestroy, executableGraphDestroy, tensorMapEncodeTiled, launchKernel));
  (void)lookUp(library, functionLoad);
  int gpus = 0;
  if (Result<void> started = init(0).and_then([&] { return deviceGetCount(&gpus); }); !started)
    return fail("the CUDA driver does not start: " + started.error().message, ErrorKind::NoDevice);
  if (gpus == 0)
    return fail(fmt::format("the CUDA driver sees no GPU (CUDA_VISIBLE_DEVICES can hide them); {}", kNeeds), ErrorKind::NoDevice);
  return {};
}

Result<const Driver *> Driver::get() {
  static const Result<void> loaded = instance().load();
  return loaded.map([] { return static_cast<const Driver *>(&instance()); });
}

} // namespace quant::runtime::cuda
