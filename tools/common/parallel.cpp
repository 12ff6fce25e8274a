//===- parallel.cpp - one loop on all cores -------------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/common/parallel.h"

#include <algorithm>
#include <atomic>
#include <thread>
#include <vector>

using namespace quant;

void tools::parallelFor(size_t count, unsigned threads, const std::function<void(size_t)> &work) {
  if (threads == 0)
    threads = std::max(1u, std::thread::hardware_concurrency());
  std::atomic<size_t> next = 0;
  auto loop = [&] {
    for (size_t i = next++; i < count; i = next++)
      work(i);
  };
  // The calling thread is one of them.
  std::vector<std::thread> others(std::min<size_t>(threads, count) - (count > 0));
  for (std::thread &other : others)
    other = std::thread(loop);
  loop();
  for (std::thread &other : others)
    other.join();
}
