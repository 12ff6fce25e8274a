//===- steps.cpp - runs the steps of a shard's jobs ----------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/quant-convert/engine/steps.h"

#include "tools/common/parallel.h"

#include <atomic>
#include <mutex>

using namespace quant;
using namespace quant::convert;

Result<void> convert::runSteps(const OutputShard &shard, unsigned threads, Sink &sink) {
  struct Step {
    const Job *job;
    int64_t number;
  };
  std::vector<Step> steps;
  for (const Job &job : shard.jobs)
    for (int64_t i = 0; i < job.steps; ++i)
      steps.push_back({&job, i});

  std::mutex lock;
  size_t failed = steps.size();
  std::atomic<bool> stop = false;
  Result<void> result;
  tools::parallelFor(steps.size(), threads, [&](size_t i) {
    if (stop)
      return;
    Result<void> done = steps[i].job->run(steps[i].number, sink);
    if (done)
      return;
    stop = true;
    std::lock_guard guard(lock);
    if (i < failed) {
      failed = i;
      result = std::move(done);
    }
  });
  return result;
}
