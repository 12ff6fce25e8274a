//===- session.h - a program, running on the CPU ----------------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_RUNTIME_DEVICE_HOST_SESSION_H
#define QUANT_RUNTIME_DEVICE_HOST_SESSION_H

#include "runtime/device/common/memory.h"
#include "runtime/device/common/session.h"
#include "runtime/device/common/thread_pool.h"
#include "runtime/device/common/weights.h"
#include "runtime/device/host/code_image.h"

#include <deque>

namespace quant::runtime {

/// A module's `host` program with its weights, its memory and its threads.
class HostSession : public Session {
public:
  /// Errors: the CPU runs none of the target's code; memory or threads that cannot be had.
  static Result<std::unique_ptr<Session>> create(std::shared_ptr<const Module> module, const Target &target,
                                                 const SessionOptions &options);

  /// Resolves every operand. Nothing is read of the weights but their headers and the block scales.
  Result<void> load(std::shared_ptr<const checkpoint::Checkpoint> weights) override;
  Result<std::unique_ptr<Session>> createDraft() const override;
  Result<void> run(const Dims &dims) override;
  Result<void> readRows(size_t value, int64_t row, std::span<std::byte> bytes) override;
  Result<void> writeRows(size_t value, int64_t row, std::span<const std::byte> bytes) override;
  std::byte *buffer(std::string_view name) const override;
  const Program &program() const override { return *ran; }
  int threads() const override { return pool->size(); }
  int64_t context() const override { return size.context; }
  int64_t cacheRows() const override { return size.rows; }
  const std::string &isa() const override { return object->isa; }
  const Profile &profile() const override { return profileEntries; }

private:
  /// A dispatch with everything looked up that does not change from call to call.
  struct Step {
    abi::HostKernel kernel;
    const abi::SizeExpr *grid;
    std::vector<void *> operands;
    ProfileEntry *profile; ///< null unless asked for
  };

  HostSession(std::shared_ptr<const Module> module, const Target &target, const Program &program, SessionOptions options)
      : module(std::move(module)), options(std::move(options)), target(&target), ran(&program) {}
  static Result<std::unique_ptr<Session>> create(std::unique_ptr<HostSession> session, std::shared_ptr<ThreadPool> pool);
  Result<void> selectCode(const std::string &isa);
  Result<void> allocate();
  Result<void> resolveValues();
  Result<void *> resolveValue(const Value &value);
  Result<void *> resolveWeight(const Value &value);
  void resolveSteps();

  std::shared_ptr<const Module> module;
  std::shared_ptr<const checkpoint::Checkpoint> weights;
  SessionOptions options;
  const Target *target;
  const Program *ran; ///< one of the target's
  const CodeObject *object = nullptr;
  CacheSize size;
  CodeImage code;
  Memory workspace;
  Memory scratch; ///< one part per worker
  int64_t scratchStride = 0;
  RepackedTensors repacked;                                ///< weights that are not read where the file is mapped
  std::deque<Memory> buffers;                              ///< inputs, outputs and caches
  std::deque<std::vector<const std::byte *>> weightTables; ///< what weight_group operands point to
  std::vector<void *> addresses;                           ///< of the program's values
  /// Tensors that are checked: block scales, and vectors, which must be finite.
  std::vector<const checkpoint::Checkpoint::Tensor *> scales, vectors;
  std::vector<Step> steps;
  Profile profileEntries;
  std::shared_ptr<ThreadPool> pool; ///< also the draft's; last: its threads end before the memory they use
};

} // namespace quant::runtime

#endif // QUANT_RUNTIME_DEVICE_HOST_SESSION_H
