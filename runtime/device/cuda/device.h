//===- device.h - an H100 or H200 as a device of the runtime ----*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_RUNTIME_DEVICE_CUDA_DEVICE_H
#define QUANT_RUNTIME_DEVICE_CUDA_DEVICE_H

#include "runtime/device/common/session.h"
#include "runtime/device/cuda/gpu.h"
#include "runtime/device/gpu/device.h"

#include <map>

namespace quant::runtime {

/// The first GPU of the process, with a module's code and one stream on which everything is done. Has run on the simulated driver
/// of test/gpu/SimCuda.cpp alone, on no GPU yet.
class CudaDevice : public GpuDevice {
public:
  /// Loads the first code that the driver takes: cubin as it is, PTX through its compiler. Errors: SessionOptions::isa is none
  /// that the target has; no driver, no GPU, or another than H100 or H200; what the driver says against the code.
  static Result<std::unique_ptr<GpuDevice>> create(const Target &target, const SessionOptions &options);
  /// A GpuSession on such a device.
  static Result<std::unique_ptr<Session>> createSession(std::shared_ptr<const Module> module, const Target &target,
                                                        const SessionOptions &options);
  ~CudaDevice() override;

  const std::string &isa() const override { return code->isa; }
  int64_t multiprocessors() const override { return gpu.multiprocessors; }
  bool isAsynchronous() const override { return true; }
  std::vector<std::string> notes() const override;
  /// Makes the primary context the thread's current one; leave() brings back the one before.
  Result<void> enter() override { return driver.contextPush(context); }
  void leave() override;
  Result<void> reserve(const MemoryNeeds &needs) override;
  Result<Region> allocate(uint64_t bytes, const std::string &name) override;
  Result<Region> constant(std::span<const std::span<const std::byte>> parts) override;
  /// Pinned.
  Result<std::byte *> hostMemory(uint64_t bytes, const std::string &name) override;
  Result<void> load(const abi::LaunchRecipe &recipe) override;
  Result<void> write(const Region &to, const std::byte *from) override;
  Result<void> read(std::byte *to, const Region &from) override;
  Result<void> synchronize() override;
  Result<std::unique_ptr<PreparedLaunch>> prepare(const LaunchPlan &plan) override;
  /// As CUDA graphs, captured from the stream.
  bool canRecord() const override { return true; }
  Result<void> beginRecording() override;
  Result<std::unique_ptr<PreparedLaunch>> endRecording() override;

private:
  struct LoadedFunction {
    cuda::Function function = nullptr;
    int64_t dynamicSharedBytes = 0; ///< that it may be launched with
    int localBytes = 0;             ///< of a thread: registers that were spilled, mostly
  };

  /// Leaves the context when all that is in it has ended.
  struct AtEnd {
    CudaDevice *device = nullptr;
    ~AtEnd() {
      if (device)
        device->leave();
    }
  };

  CudaDevice(const cuda::Gpu &gpu, bool overlap) : gpu(gpu), driver(*gpu.driver), overlap(overlap) {}
  Result<void> open(const Target &target, const std::string &isa);
  Result<void> loadCode(const Target &target, const std::string &isa);
  Result<void> loadObject(const CodeObject &object);
  Result<cuda::Address> allocateBytes(uint64_t bytes);
  Result<cuda::Function> functionOf(const abi::LaunchRecipe &recipe);
  Error tooSmall(uint64_t freeBytes) const;

  cuda::Gpu gpu;
  const cuda::Driver &driver;
  const bool overlap; ///< SessionOptions::overlap
  const CodeObject *code = nullptr;
  std::string untaken; ///< why the module's better code is not, if it is so
  MemoryNeeds needs;
  cuda::Owned<cuda::Device> contextUse; ///< first: the others end in the context
  cuda::Context context = nullptr;
  AtEnd atEnd;
  cuda::Owned<cuda::Stream> stream;
  cuda::Owned<cuda::ModuleHandle> module;
  std::map<std::string, LoadedFunction, std::less<>> functions; ///< by name
  std::vector<cuda::Owned<cuda::Address>> allocations;
  std::vector<cuda::Owned<void *>> hostAllocations;
  Region constants;           ///< what reserve() made
  uint64_t constantBytes = 0; ///< of it in use
  bool constantsUnderWay = false;
};

} // namespace quant::runtime

#endif // QUANT_RUNTIME_DEVICE_CUDA_DEVICE_H
