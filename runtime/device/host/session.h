//===- session.h - a program, running on the CPU ----------------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_RUNTIME_DEVICE_HOST_SESSION_H
#define QUANT_RUNTIME_DEVICE_HOST_SESSION_H

#include "runtime/checkpoint/checkpoint.h"
#include "runtime/device/host/code_image.h"
#include "runtime/device/host/memory.h"
#include "runtime/device/host/thread_pool.h"
#include "runtime/module/module.h"

#include <deque>
#include <map>

namespace quant::runtime {

struct HostOptions {
  int threads = 0;      ///< 0: as many as CPUs the process may run on
  int64_t context = 0;  ///< rows of the KV caches; 0: the program's limit
  std::string isa;      ///< empty: the first of the module's that the CPU runs
  bool profile = false; ///< measure every dispatch
};

/// Time spent in the dispatches of one label.
struct ProfileEntry {
  double seconds = 0;
  int64_t calls = 0;
};

/// A module's `host` program with its weights, its memory and its threads. Calls on one session must not overlap.
class HostSession {
public:
  /// Resolves every operand. Nothing is read of the weights but their headers and the block scales, which are checked.
  static Result<std::unique_ptr<HostSession>>
  create(std::shared_ptr<const Module> module, std::shared_ptr<const checkpoint::Checkpoint> weights, const HostOptions &options);

  /// Runs all dispatches. Errors: a dim out of the program's limits, `context` not this session's, or tokens beyond it. The
  /// memory is as before then.
  Result<void> run(const Dims &dims);

  /// Memory of an input or output, as long as its shape at the program's limits; 64-byte aligned, owned by the session. Null
  /// where the program has no such value.
  std::byte *buffer(std::string_view name) const;

  const Program &program() const { return target->program; }
  int threads() const { return pool->size(); }
  int64_t context() const { return contextRows; }
  const std::string &isa() const { return object->isa; }
  /// By label; empty unless HostOptions::profile.
  const std::map<std::string, ProfileEntry, std::less<>> &profile() const { return profileEntries; }

private:
  /// A dispatch with everything looked up that does not change from call to call.
  struct Step {
    abi::HostKernel kernel;
    const GridExpr *grid;
    std::vector<void *> operands;
    ProfileEntry *profile; ///< null unless asked for
  };

  HostSession() = default;
  Result<void> selectCode(const std::string &isa);
  Result<void> allocate();
  Result<void> resolveValues();
  Result<void *> resolveValue(const Value &value);
  Result<void *> resolveWeight(const Value &value);
  void resolveSteps(bool profile);
  Result<void> checkDims(const Dims &dims) const;

  std::shared_ptr<const Module> module;
  std::shared_ptr<const checkpoint::Checkpoint> weights;
  const Target *target = nullptr;
  const CodeObject *object = nullptr;
  int64_t contextRows = 0;
  CodeImage code;
  Memory workspace;
  Memory scratch; ///< one part per worker
  int64_t scratchStride = 0;
  std::deque<Memory> buffers;                                 ///< inputs, outputs and caches
  std::deque<std::vector<const std::byte *>> weightTables;    ///< what weight_group operands point to
  std::vector<void *> addresses;                              ///< of the program's values
  std::vector<const checkpoint::Checkpoint::Tensor *> scales; ///< the tensors of block scales, to be checked
  std::vector<Step> steps;
  std::map<std::string, ProfileEntry, std::less<>> profileEntries;
  std::unique_ptr<ThreadPool> pool; ///< last: its threads end before the memory they use
};

} // namespace quant::runtime

#endif // QUANT_RUNTIME_DEVICE_HOST_SESSION_H
