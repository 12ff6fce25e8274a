//===- session.h - a program, running on some device ------------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_RUNTIME_DEVICE_COMMON_SESSION_H
#define QUANT_RUNTIME_DEVICE_COMMON_SESSION_H

#include "runtime/checkpoint/checkpoint.h"
#include "runtime/module/module.h"

#include <functional>
#include <map>
#include <memory>

namespace quant::runtime {

/// Called on the host before each dispatch with its number in the program, its operands and the call's sizes; for tools that look
/// at activations. A dispatch's inputs are whole then. False: the call ends here, and what is left of it is not computed.
using DispatchTap = std::function<bool(size_t dispatch, std::span<void *const> operands, const Dims &dims)>;

struct SessionOptions {
  int threads = 0;      ///< CPU threads; 0: as many as CPUs the process may run on
  int64_t context = 0;  ///< tokens of a sequence; 0: the program's limit
  int64_t cache = 0;    ///< tokens of all sequences together, rounded up to whole pages; 0: one sequence's
  std::string isa;      ///< empty: the first of the module's that the device runs
  bool profile = false; ///< measure every dispatch
  bool eager = false;   ///< on a GPU: launch kernels one by one always, record no CUDA graphs
  bool overlap = false; ///< on a GPU: kernels whose recipes allow it start while the one in front still runs
  DispatchTap tap = {}; ///< of the host's sessions; empty: none
};

/// Time spent in the dispatches of one label.
struct ProfileEntry {
  double seconds = 0;
  int64_t calls = 0;
};
using Profile = std::map<std::string, ProfileEntry, std::less<>>;

/// A program with its weights and its memory on a device. It is made without the weights, so that a wrong machine is not reported
/// as a wrong checkpoint, and load() brings them. Calls on one session must not overlap.
class Session {
public:
  virtual ~Session() = default;

  /// Takes the weights and checks their block scales; to be called once, before run(). Errors: weights that are not the module's,
  /// or that the device has no room for.
  virtual Result<void> load(std::shared_ptr<const checkpoint::Checkpoint> weights) = 0;

  /// A session for the target's draft, which there must be, with the same options, on the same threads; its caches are its own.
  /// Errors: memory that cannot be had.
  virtual Result<std::unique_ptr<Session>> createDraft() const = 0;

  /// Runs all dispatches. Errors: a dim out of the program's limits, `context` not cacheRows() (the memory is as before then);
  /// what the device finds wrong. Inputs are taken as they are: whoever writes them answers for positions and pages.
  virtual Result<void> run(const Dims &dims) = 0;

  /// Whole rows, from `row` on, of the KV cache that is value number `value` of the program.
  virtual Result<void> readRows(size_t value, int64_t row, std::span<std::byte> bytes) = 0;
  virtual Result<void> writeRows(size_t value, int64_t row, std::span<const std::byte> bytes) = 0;

  /// Memory of an input or output that the caller may write and read between runs, as long as its shape at the program's limits;
  /// 64-byte aligned, owned by the session. Null where the program has no such value.
  virtual std::byte *buffer(std::string_view name) const = 0;

  virtual const Program &program() const = 0;
  virtual int threads() const = 0;
  virtual int64_t context() const = 0;   ///< tokens of a sequence
  virtual int64_t cacheRows() const = 0; ///< of each KV cache: whole pages
  /// Whose code runs: "avx512", "ptx".
  virtual const std::string &isa() const = 0;
  /// By label; empty unless SessionOptions::profile.
  virtual const Profile &profile() const = 0;
  /// What people should know of how the code was loaded, a line each.
  virtual std::vector<std::string> notes() const { return {}; }
};

/// What makes a session of a device; `target` is the module's. Errors: the machine does not run the target, the target has no
/// code for a kernel or for SessionOptions::isa, or memory is short.
using SessionFactory = Result<std::unique_ptr<Session>> (*)(std::shared_ptr<const Module> module, const Target &target,
                                                            const SessionOptions &options);

/// How many tokens a session holds.
struct CacheSize {
  int64_t context = 0; ///< of a sequence
  int64_t rows = 0;    ///< of each KV cache
};

/// What the options ask for. Errors: more than the program allows.
Result<CacheSize> cacheSize(const Program &program, const SessionOptions &options);

/// Errors: a dim out of the program's limits, more sequences or outputs than tokens, `context` not `rows`.
Result<void> checkDims(const Program &program, int64_t rows, const Dims &dims);

} // namespace quant::runtime

#endif // QUANT_RUNTIME_DEVICE_COMMON_SESSION_H
