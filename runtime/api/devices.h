//===- devices.h - what sessions can run on ---------------------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// `host` and `cuda` are always there; that there is a GPU is looked for when a session is made. A program that links another
// device, such as the simulator, which libquant_runtime leaves out, registers it before it makes sessions.
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_RUNTIME_API_DEVICES_H
#define QUANT_RUNTIME_API_DEVICES_H

#include "runtime/device/common/session.h"

namespace quant::runtime {

struct Device {
  std::string name;   ///< what quant_session_options::device says: "sim"
  std::string target; ///< what a module calls the target that it runs: "sm_90a"
  SessionFactory create = nullptr;
};

/// Not to be called while sessions are being made.
void registerDevice(Device device);

/// The device of that name, or null.
const Device *findDevice(std::string_view name);

/// The target of a module that some device runs, that of the first registered one; null: there is none.
const Target *findTarget(const Module &module);

/// "host, cuda, sim"
std::string deviceNames();

} // namespace quant::runtime

#endif // QUANT_RUNTIME_API_DEVICES_H
