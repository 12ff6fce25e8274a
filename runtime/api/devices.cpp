//===- devices.cpp - what sessions can run on -----------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/api/devices.h"

#include "runtime/device/cuda/device.h"
#include "runtime/device/host/session.h"

#include <algorithm>
#include <deque>

namespace quant::runtime {

/// A deque, so that pointers to devices stay good.
static std::deque<Device> &devices() {
  static std::deque<Device> all = {{"host", std::string(kHostTarget), HostSession::create},
                                   {"cuda", std::string(kSm90aTarget), CudaDevice::createSession}};
  return all;
}

void registerDevice(Device device) { devices().push_back(std::move(device)); }

const Device *findDevice(std::string_view name) {
  auto found = std::ranges::find(devices(), name, &Device::name);
  return found == devices().end() ? nullptr : &*found;
}

std::string deviceNames() {
  std::string names;
  for (const Device &device : devices())
    names += (names.empty() ? "" : ", ") + device.name;
  return names;
}

} // namespace quant::runtime
