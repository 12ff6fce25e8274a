//===- session.h - a program, running on a GPU ------------------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_RUNTIME_DEVICE_GPU_SESSION_H
#define QUANT_RUNTIME_DEVICE_GPU_SESSION_H

#include "runtime/device/common/memory.h"
#include "runtime/device/common/session.h"
#include "runtime/device/gpu/kernels.h"
#include "runtime/device/gpu/memory.h"

#include <functional>
#include <list>

namespace quant::runtime {

/// A program whose kernels have launch recipes, with its weights, on any GpuDevice. A device launches kernels and holds memory;
/// which variant of a kernel runs, what its operands are and in which order is the same for all, and here.
class GpuSession : public Session {
public:
  using MakeDevice = std::function<Result<std::unique_ptr<GpuDevice>>(const Target &target, const SessionOptions &options)>;

  /// Errors: kernels that the target has no code for, or whose recipes do not say what their operands are; those of `makeDevice`.
  static Result<std::unique_ptr<Session>> create(std::shared_ptr<const Module> module, const Target &target,
                                                 const SessionOptions &options, const MakeDevice &makeDevice);

  ~GpuSession() override;

  /// Brings the weights to the device.
  Result<void> load(std::shared_ptr<const checkpoint::Checkpoint> weights) override;
  Result<std::unique_ptr<Session>> createDraft() const override;

  /// Errors in a dispatch name kernel and label. A device may tell of a kernel's failure only when all have run; with
  /// SessionOptions::profile each is waited for, and named.
  Result<void> run(const Dims &dims) override;
  Result<void> readRows(size_t value, int64_t row, std::span<std::byte> bytes) override;
  Result<void> writeRows(size_t value, int64_t row, std::span<const std::byte> bytes) override;
  std::byte *buffer(std::string_view name) const override;
  const Program &program() const override { return *ran; }
  int threads() const override { return threadCount; }
  int64_t context() const override { return size.context; }
  int64_t cacheRows() const override { return size.rows; }
  const std::string &isa() const override { return device->isa(); }
  const Profile &profile() const override { return profileEntries; }
  std::vector<std::string> notes() const override { return device->notes(); }

private:
  /// An input or output, which is the caller's on the host and the kernels' on the device.
  struct Exchange {
    int value;
    std::byte *host; ///< the device's
  };
  /// A dispatch, and its launch of last time with the dims of then.
  struct Step {
    Dims dims = {};
    std::unique_ptr<PreparedLaunch> launch;
  };
  /// Calls of one size: the first is launched kernel by kernel, the second recorded, and the recording is what runs from then on.
  struct Recording {
    Dims dims;
    std::unique_ptr<PreparedLaunch> call; ///< null after the first
  };

  GpuSession(std::shared_ptr<const Module> module, const Target &target, const Program &program, SessionOptions options,
             MakeDevice makeDevice)
      : module(std::move(module)), options(std::move(options)), makeDevice(std::move(makeDevice)), target(&target),
        ran(&program) {}
  static Result<std::unique_ptr<Session>> create(std::unique_ptr<GpuSession> session);
  const Kernel &kernelOf(const Dispatch &dispatch) const { return target->kernels[static_cast<size_t>(dispatch.kernel)]; }
  Result<void> useOperands();
  Result<void> checkWeightScales() const;
  Result<void> allocateExchanges();
  Region rowsOf(size_t value, int64_t row, size_t bytes) const;
  Result<void> exchange(ValueKind kind, const Dims &dims);
  Result<LaunchOperand> operandOf(const Dispatch &dispatch, const abi::Operand &operand, const abi::Sizes &sizes,
                                  const Dims &dims);
  Result<void> prepare(const Dispatch &dispatch, const Dims &dims, Step &step);
  Result<void> runDispatch(size_t index, const Dims &dims);
  Result<void> runDispatches(const Dims &dims);
  Result<void> runAll(const Dims &dims);
  Result<void> loadKernels();
  bool knows(const Dims &dims);
  Result<void> runRecorded(const Dims &dims);
  Result<void> afterLaunches(Result<void> done) const;

  std::shared_ptr<const Module> module;
  std::shared_ptr<const checkpoint::Checkpoint> weights;
  SessionOptions options;
  MakeDevice makeDevice;
  const Target *target;
  const Program *ran; ///< one of the target's
  CacheSize size;
  int threadCount = 1;
  std::unique_ptr<GpuMemory> memory;
  std::vector<Exchange> exchanges;
  std::unique_ptr<GpuDevice> device;
  std::vector<Step> steps;         ///< of the program's dispatches; they end before the device, as recordings do
  std::list<Recording> recordings; ///< the last used one first
  Profile profileEntries;
};

} // namespace quant::runtime

#endif // QUANT_RUNTIME_DEVICE_GPU_SESSION_H
