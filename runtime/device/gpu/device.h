//===- device.h - what runs GPU kernels -------------------------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_RUNTIME_DEVICE_GPU_DEVICE_H
#define QUANT_RUNTIME_DEVICE_GPU_DEVICE_H

#include "runtime/abi/launch_recipe.h"

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace quant::runtime {

/// Memory as kernels see it.
struct Region {
  uint64_t address = 0;
  uint64_t bytes = 0;
};

/// What every buffer of a GPU is aligned to, as cudaMalloc does it.
inline constexpr uint64_t kGpuAlignment = 256;
inline uint64_t gpuAligned(uint64_t bytes) { return (bytes + kGpuAlignment - 1) / kGpuAlignment * kGpuAlignment; }

/// Bytes that a program takes on a device, every buffer rounded up to kGpuAlignment.
struct MemoryNeeds {
  uint64_t constants = 0; ///< weights and the tables that point to them
  uint64_t workspace = 0;
  uint64_t caches = 0;
  uint64_t inputsAndOutputs = 0;

  uint64_t total() const { return constants + workspace + caches + inputsAndOutputs; }
};

/// What one operand of a recipe is in a launch.
struct LaunchOperand {
  std::string name;                 ///< the program's value
  Region region;                    ///< as long as its shape in this call
  bool written = false;             ///< by the kernel
  bool overwritten = false;         ///< all of it, without a look at what is there
  bool early = false;               ///< abi::Operand::early
  std::span<const Region> pointees; ///< what a table of pointers points to
};

/// A launch with everything known but the argument values, which the recipe says for `sizes`.
struct LaunchPlan {
  const abi::LaunchRecipe &recipe;
  abi::Sizes sizes;
  std::vector<LaunchOperand> operands; ///< the recipe's
};

/// A launch with its arguments, to be repeated while the sizes stay. Must not outlive its device.
class PreparedLaunch {
public:
  virtual ~PreparedLaunch() = default;
  /// Launches behind everything before it; may return before the kernel has run. Errors: what the device finds wrong.
  virtual Result<void> enqueue() = 0;
};

/// A GPU, or what stands for one, with the code of one module. Everything is done in the order of the calls.
class GpuDevice {
public:
  virtual ~GpuDevice() = default;

  /// Whose code runs: "ptx".
  virtual const std::string &isa() const = 0;
  /// What recipes call "sms".
  virtual int64_t multiprocessors() const = 0;
  /// Whether the failure of a launch may be told by later calls.
  virtual bool isAsynchronous() const { return false; }

  /// What people should know of how the code was loaded, a line each: "code.sm_90a.cubin is not taken ...".
  virtual std::vector<std::string> notes() const { return {}; }

  /// To be called by each thread before the functions below, and leave() behind them (DeviceUse). They are called in this order:
  /// reserve() once, then allocate() and constant(), then the others.
  virtual Result<void> enter() { return {}; }
  virtual void leave() {}
  /// Room for all that constant() will be given. Errors: the device has less memory than `needs`.
  virtual Result<void> reserve(const MemoryNeeds &needs) = 0;
  /// Zeroed memory.
  virtual Result<Region> allocate(uint64_t bytes, const std::string &name) = 0;
  /// Memory that kernels only read: the parts one after another. They stay where they are as long as the device lives.
  virtual Result<Region> constant(std::span<const std::span<const std::byte>> parts) = 0;

  /// Zeroed memory of the host that copies take and fill without a detour; it lives as long as the device.
  virtual Result<std::byte *> hostMemory(uint64_t bytes, const std::string &name) = 0;
  /// Makes what launches of this recipe need, so that the first of them takes no longer than others.
  virtual Result<void> load(const abi::LaunchRecipe &) { return {}; }

  virtual Result<void> write(const Region &to, const std::byte *from) = 0;
  /// `to` holds the bytes after synchronize().
  virtual Result<void> read(std::byte *to, const Region &from) = 0;
  /// Errors: those of all launches since the last call.
  virtual Result<void> synchronize() = 0;
  virtual Result<std::unique_ptr<PreparedLaunch>> prepare(const LaunchPlan &plan) = 0;

  /// Whether calls can be recorded. What is written, read and enqueued between the two functions is kept, not done. A recording
  /// needs the memory that it copies, not the prepared launches. Of a beginning that succeeded the end must be called.
  virtual bool canRecord() const { return false; }
  virtual Result<void> beginRecording() { return fail("this device records nothing", ErrorKind::Unsupported); }
  virtual Result<std::unique_ptr<PreparedLaunch>> endRecording() {
    return fail("this device records nothing", ErrorKind::Unsupported);
  }
};

/// A thread's use of a device, from enter() to leave().
class DeviceUse {
public:
  explicit DeviceUse(GpuDevice &device) : device(device), entered(device.enter()) {}
  DeviceUse(const DeviceUse &) = delete;
  DeviceUse &operator=(const DeviceUse &) = delete;
  ~DeviceUse() {
    if (entered)
      device.leave();
  }

  /// Errors: those of enter().
  const Result<void> &result() const { return entered; }

private:
  GpuDevice &device;
  Result<void> entered;
};

} // namespace quant::runtime

#endif // QUANT_RUNTIME_DEVICE_GPU_DEVICE_H
