//===- thread_pool.h - workers for blocks of a grid -------------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_RUNTIME_DEVICE_COMMON_THREAD_POOL_H
#define QUANT_RUNTIME_DEVICE_COMMON_THREAD_POOL_H

#include "runtime/support/result.h"

#include <atomic>
#include <cstdint>
#include <memory>
#include <thread>
#include <type_traits>
#include <vector>

namespace quant::runtime {

/// CPUs in this process's affinity mask, at least 1.
int availableCpus();

/// Threads that run ranges of a 1-D grid together with the thread that asks. Workers look for work in a spin loop for a short
/// time after the last, then sleep, so that a stream of small grids costs microseconds each and an idle pool costs nothing.
///
/// One thread at a time may call run().
class ThreadPool {
public:
  static constexpr int kMaxThreads = 1024;

  /// `threads` counts the caller's. Errors: out of [1, kMaxThreads], or the system gives no thread.
  static Result<std::unique_ptr<ThreadPool>> create(int threads);
  ThreadPool(const ThreadPool &) = delete;
  ThreadPool &operator=(const ThreadPool &) = delete;
  ~ThreadPool();

  int size() const { return static_cast<int>(workers.size()) + 1; }

  /// Calls `body(worker, begin, end)` for ranges that cover [0, blocks) once, in parallel, and returns when all are done.
  /// `worker` is in [0, size()) and no two calls at the same time have the same one. What `body` writes is visible after run().
  template <typename Body>
  void run(int64_t blocks, Body &&body) {
    using Plain = std::remove_reference_t<Body>;
    runRanges(
        blocks,
        [](void *context, int worker, int64_t begin, int64_t end) { (*static_cast<Plain *>(context))(worker, begin, end); },
        const_cast<std::remove_const_t<Plain> *>(&body));
  }

private:
  using Function = void (*)(void *context, int worker, int64_t begin, int64_t end);

  /// What run() was asked for. Written only while no chunk is claimed, read only by who claimed one.
  struct Job {
    Function function = nullptr;
    void *context = nullptr;
    int64_t blocks = 0;
    int64_t chunkBlocks = 0;
  };

  ThreadPool() = default;
  void runRanges(int64_t blocks, Function function, void *context);
  void workerLoop(int worker);
  bool waitForWork();
  void wakeSleepers();
  void runChunks(int worker);

  Job job;
  std::vector<std::thread> workers;
  /// Chunks of the job (high half) and the next to claim (low half). One number, so that a claim and its limit belong together: a
  /// worker that comes late finds nothing to claim, whatever job it thought it was serving.
  alignas(64) std::atomic<uint64_t> ticket = 0;
  alignas(64) std::atomic<uint32_t> done = 0; ///< finished chunks of the job
  alignas(64) std::atomic<uint32_t> sleepers = 0;
  std::atomic<uint32_t> wakeups = 0; ///< what sleepers wait on
  std::atomic<bool> stop = false;
};

} // namespace quant::runtime

#endif // QUANT_RUNTIME_DEVICE_COMMON_THREAD_POOL_H
