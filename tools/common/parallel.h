//===- parallel.h - one loop on all cores -----------------------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_TOOLS_COMMON_PARALLEL_H
#define QUANT_TOOLS_COMMON_PARALLEL_H

#include <cstddef>
#include <functional>

namespace quant::tools {

/// Calls work(0) .. work(count - 1), each once, from at most `threads` threads; 0 is one per core. A thread takes the next index
/// when it is done with one, so that items may differ in size. Returns when all are done. `work` must not throw.
/// Starts its threads at each call: for work of milliseconds. A session's kernels run on runtime/device/common/thread_pool.h,
/// whose threads wait for the next grid.
void parallelFor(size_t count, unsigned threads, const std::function<void(size_t)> &work);

} // namespace quant::tools

#endif // QUANT_TOOLS_COMMON_PARALLEL_H
