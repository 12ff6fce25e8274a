//===- thread_pool_test.cpp - every block once ----------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/device/common/thread_pool.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <numeric>

namespace quant::runtime {
namespace {

TEST(ThreadPool, RefusesCounts) {
  Result<std::unique_ptr<ThreadPool>> pool = ThreadPool::create(0);
  ASSERT_FALSE(pool);
  EXPECT_EQ(pool.error().message, "0 threads asked for, not 1 to 1024");
  EXPECT_FALSE(ThreadPool::create(1025));
}

class ThreadPoolOf : public testing::TestWithParam<int> {};

/// The sum over all blocks is right and visible to the caller, whatever the grid's size.
TEST_P(ThreadPoolOf, RunsEveryBlockOnce) {
  auto pool = ThreadPool::create(GetParam()).value();
  std::vector<int> hits;
  for (int64_t blocks : {0, 1, 2, 3, 7, 64, 65, 1000}) {
    hits.assign(static_cast<size_t>(blocks), 0);
    pool->run(blocks, [&](int worker, int64_t begin, int64_t end) {
      EXPECT_TRUE(worker >= 0 && worker < GetParam());
      EXPECT_LT(begin, end);
      for (int64_t i = begin; i < end; ++i)
        ++hits[static_cast<size_t>(i)];
    });
    EXPECT_EQ(std::ranges::count(hits, 1), blocks);
  }
}

/// Jobs follow each other at once, after a pause in which workers fall asleep, and after one in which they are about to.
TEST_P(ThreadPoolOf, SurvivesManyJobs) {
  auto pool = ThreadPool::create(GetParam()).value();
  std::vector<int64_t> perWorker(static_cast<size_t>(GetParam()) * 16);
  int64_t expected = 0;
  for (int job = 0; job < 4000; ++job) {
    int64_t blocks = job % 67;
    expected += blocks * (blocks - 1) / 2 + blocks * job;
    pool->run(blocks, [&](int worker, int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i)
        perWorker[static_cast<size_t>(worker) * 16] += i + job;
    });
    if (job % 100 == 0)
      std::this_thread::sleep_for(std::chrono::microseconds(job % 300));
  }
  EXPECT_EQ(std::accumulate(perWorker.begin(), perWorker.end(), int64_t{0}), expected);
}

/// No two calls at the same time have the same worker: what scratch memory relies on.
TEST_P(ThreadPoolOf, GivesEachWorkerItsNumber) {
  auto pool = ThreadPool::create(GetParam()).value();
  std::vector<std::atomic<int>> inside(static_cast<size_t>(GetParam()));
  std::atomic<int> clashes = 0;
  for (int job = 0; job < 200; ++job)
    pool->run(64, [&](int worker, int64_t, int64_t) {
      clashes += inside[static_cast<size_t>(worker)]++ != 0;
      std::this_thread::yield();
      --inside[static_cast<size_t>(worker)];
    });
  EXPECT_EQ(clashes, 0);
}

INSTANTIATE_TEST_SUITE_P(Sizes, ThreadPoolOf, testing::Values(1, 2, 3, 8));

/// Prints; a shared machine gives no number to insist on.
TEST(ThreadPool, CostOfSmallGrids) {
  auto pool = ThreadPool::create(availableCpus()).value();
  constexpr int kJobs = 5000;
  for (int spins : {0, 1000}) {
    auto start = std::chrono::steady_clock::now();
    for (int job = 0; job < kJobs; ++job)
      pool->run(64, [&](int, int64_t begin, int64_t end) {
        for (volatile int64_t i = begin * spins; i < end * spins;)
          i = i + 1;
      });
    double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    std::printf("64 blocks of %d steps, %d threads: %.2f us\n", spins, pool->size(), seconds / kJobs * 1e6);
  }
}

} // namespace
} // namespace quant::runtime
