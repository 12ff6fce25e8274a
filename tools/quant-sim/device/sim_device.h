//===- sim_device.h - the simulator as a device -----------------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_TOOLS_QUANT_SIM_DEVICE_SIM_DEVICE_H
#define QUANT_TOOLS_QUANT_SIM_DEVICE_SIM_DEVICE_H

#include "runtime/device/common/memory.h"
#include "runtime/device/common/session.h"
#include "runtime/device/gpu/device.h"
#include "tools/quant-sim/api/simulator.h"

#include <deque>
#include <map>

namespace quant::runtime {

/// The PTX of a module's `sm_90a` target, run by quant_sim as an H200 would. A launch sees the memory of its
/// own operands alone, each just as long as its shape in this call, so that an access beyond is a finding; what a kernel is to
/// write holds all ones (NaN) before. A launch has run when enqueue() returns, and a finding is its error.
class SimDevice : public GpuDevice {
public:
  /// Errors: no PTX; a SessionOptions::isa other than "ptx"; PTX that the simulator does not know.
  static Result<std::unique_ptr<GpuDevice>> create(const Target &target, const SessionOptions &options);
  /// A GpuSession on such a device.
  static Result<std::unique_ptr<Session>> createSession(std::shared_ptr<const Module> module, const Target &target,
                                                        const SessionOptions &options);

  const std::string &isa() const override { return code->isa; }
  int64_t multiprocessors() const override;
  Result<void> reserve(const MemoryNeeds &) override { return {}; }
  Result<Region> allocate(uint64_t bytes, const std::string &name) override;
  /// One part is not copied.
  Result<Region> constant(std::span<const std::span<const std::byte>> parts) override;
  Result<std::byte *> hostMemory(uint64_t bytes, const std::string &name) override;
  Result<void> write(const Region &to, const std::byte *from) override;
  Result<void> read(std::byte *to, const Region &from) override;
  Result<void> synchronize() override { return {}; }
  Result<std::unique_ptr<PreparedLaunch>> prepare(const LaunchPlan &plan) override;

private:
  SimDevice() = default;
  Region mapped(std::byte *host, uint64_t bytes);
  std::span<std::byte> hostOf(const Region &region) const;

  const CodeObject *code = nullptr;
  sim::Options options;
  std::unique_ptr<sim::Module> ptx;
  std::deque<Memory> memory;                ///< what allocate() and hostMemory() gave, and joined weights
  std::map<uint64_t, std::byte *> places;   ///< of everything that has an address
  uint64_t nextAddress = uint64_t(1) << 40; ///< far from the windows of shared and local memory
};

/// Makes the device "sim" known to the runtime (runtime/api/devices.h). Once per process.
void registerSimDevice();

} // namespace quant::runtime

#endif // QUANT_TOOLS_QUANT_SIM_DEVICE_SIM_DEVICE_H
