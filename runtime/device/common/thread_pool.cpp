//===- thread_pool.cpp - workers for blocks of a grid ---------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/device/common/thread_pool.h"

#include <fmt/core.h>

#include <algorithm>
#include <chrono>
#include <immintrin.h>
#include <sched.h>
#include <system_error>

namespace quant::runtime {

/// A few more chunks than threads even out unequal speeds; small ones, blocks of unequal work: most experts have no rows, and the
/// tiles of one that has are neighbours. A kernel's step is no longer than a chunk: 4 blocks are 16 heads of attention and 512
/// weight rows.
static constexpr int64_t kChunksPerThread = 4, kMaxChunkBlocks = 4;
/// Longer than what one thread does alone between two grids, shorter than what anybody else would miss of a CPU.
static constexpr std::chrono::microseconds kSpinTime{100};

int availableCpus() {
  // A mask for 1024 CPUs is too short on larger machines; the call then fails.
  for (int cpus = CPU_SETSIZE; cpus <= 64 * CPU_SETSIZE; cpus *= 4) {
    cpu_set_t *set = CPU_ALLOC(static_cast<size_t>(cpus));
    size_t bytes = CPU_ALLOC_SIZE(static_cast<size_t>(cpus));
    int count = sched_getaffinity(0, bytes, set) == 0 ? CPU_COUNT_S(bytes, set) : 0;
    CPU_FREE(set);
    if (count > 0)
      return count;
  }
  return 1;
}

/// Polls `condition` for kSpinTime; whether it came true.
template <typename Condition>
static bool spinUntil(Condition condition) {
  constexpr int kPollsPerClockRead = 64;
  std::chrono::steady_clock::time_point deadline{};
  for (;;) {
    for (int i = 0; i < kPollsPerClockRead; ++i) {
      if (condition())
        return true;
      _mm_pause();
    }
    auto now = std::chrono::steady_clock::now();
    if (deadline == std::chrono::steady_clock::time_point{})
      deadline = now + kSpinTime;
    else if (now >= deadline)
      return false;
  }
}

static bool hasUnclaimed(uint64_t ticket) { return static_cast<uint32_t>(ticket) < ticket >> 32; }

Result<std::unique_ptr<ThreadPool>> ThreadPool::create(int threads) {
  if (threads < 1 || threads > kMaxThreads)
    return fail(fmt::format("{} threads asked for, not 1 to {}", threads, kMaxThreads));
  std::unique_ptr<ThreadPool> pool(new ThreadPool);
  pool->workers.reserve(static_cast<size_t>(threads) - 1);
  try {
    for (int worker = 1; worker < threads; ++worker)
      pool->workers.emplace_back([raw = pool.get(), worker] { raw->workerLoop(worker); });
  } catch (const std::system_error &error) {
    return fail(fmt::format("cannot start {} threads: {}", threads, error.what()), ErrorKind::OutOfMemory);
  }
  return pool;
}

ThreadPool::~ThreadPool() {
  stop = true;
  ++wakeups;
  wakeups.notify_all();
  for (std::thread &worker : workers)
    worker.join();
}

void ThreadPool::runRanges(int64_t blocks, Function function, void *context) {
  int64_t maxChunks = size() * kChunksPerThread;
  int64_t chunkBlocks = std::clamp<int64_t>((blocks + maxChunks - 1) / maxChunks, 1, kMaxChunkBlocks);
  int64_t chunks = (blocks + chunkBlocks - 1) / chunkBlocks;
  if (chunks <= 1 || workers.empty()) {
    if (blocks > 0)
      function(context, 0, 0, blocks);
    return;
  }
  job = {function, context, blocks, chunkBlocks};
  done.store(0, std::memory_order_relaxed);
  // Publishes the job. Sequentially consistent against waitForWork(): either it sees this, or wakeSleepers() sees it asleep.
  ticket.store(static_cast<uint64_t>(chunks) << 32);
  wakeSleepers();
  runChunks(0);
  auto total = static_cast<uint32_t>(chunks);
  if (spinUntil([&] { return done.load(std::memory_order_acquire) == total; }))
    return;
  for (uint32_t now; (now = done.load(std::memory_order_acquire)) != total;)
    done.wait(now, std::memory_order_acquire);
}

void ThreadPool::wakeSleepers() {
  if (sleepers.load() == 0)
    return;
  ++wakeups;
  wakeups.notify_all();
}

void ThreadPool::runChunks(int worker) {
  uint32_t finished = 0, total = 0;
  // The load first: the counter overshoots by one per late worker at most.
  while (hasUnclaimed(ticket.load(std::memory_order_relaxed))) {
    uint64_t claimed = ticket.fetch_add(1, std::memory_order_acquire);
    if (!hasUnclaimed(claimed))
      break;
    // The claim keeps the job as it is until `done` counts it.
    int64_t begin = static_cast<uint32_t>(claimed) * job.chunkBlocks;
    job.function(job.context, worker, begin, std::min(begin + job.chunkBlocks, job.blocks));
    total = static_cast<uint32_t>(claimed >> 32);
    ++finished;
  }
  if (finished > 0 && done.fetch_add(finished, std::memory_order_acq_rel) + finished == total)
    done.notify_one();
}

bool ThreadPool::waitForWork() {
  auto ready = [&] { return hasUnclaimed(ticket.load(std::memory_order_relaxed)) || stop.load(std::memory_order_relaxed); };
  while (!spinUntil(ready)) {
    ++sleepers;
    uint32_t seen = wakeups.load();
    if (!hasUnclaimed(ticket.load()) && !stop.load())
      wakeups.wait(seen);
    --sleepers;
  }
  return !stop.load(std::memory_order_relaxed);
}

void ThreadPool::workerLoop(int worker) {
  while (waitForWork())
    runChunks(worker);
}

} // namespace quant::runtime
