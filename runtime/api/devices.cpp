//===- devices.cpp - what sessions can run on -----------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/api/devices.h"

#include "runtime/device/cuda/device.h"
#include "runtime/device/cuda/gpu.h"
#include "runtime/device/host/session.h"

#include <algorithm>
#include <deque>

namespace quant::runtime {

/// A deque, so that pointers to devices stay good.
static std::deque<Device> &devices() {
  static std::deque<Device> all = {{"host", "host", HostSession::create},
                                   {"cuda", std::string(cuda::kTarget), CudaDevice::createSession}};
  return all;
}

void registerDevice(Device device) { devices().push_back(std::move(device)); }

const Device *findDevice(std::string_view name) {
  auto found = std::ranges::find(devices(), name, &Device::name);
  return found == devices().end() ? nullptr : &*found;
}

const Target *findTarget(const Module &module) {
  for (const Device &device : devices())
    if (const Target *target = module.find(device.target); target && !target->isForeign)
      return target;
  return nullptr;
}

std::string deviceNames() {
  std::string names;
  for (const Device &device : devices())
    names += (names.empty() ? "" : ", ") + device.name;
  return names;
}

} // namespace quant::runtime
