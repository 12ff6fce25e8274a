//===- Machine.h - what the machine could do at best --------------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_TOOLS_QUANT_BENCH_MACHINE_H
#define QUANT_TOOLS_QUANT_BENCH_MACHINE_H

#include "runtime/device/common/thread_pool.h"
#include "runtime/support/result.h"
#include "tools/quant-bench/CompiledMatmul.h"

#include <cstddef>
#include <functional>
#include <string>
#include <vector>

namespace quant::bench {

/// A way to read memory: so many streams at a time in a block of a thread, with software prefetch or without, from such pages.
struct ReadWay {
  int streams = 4;
  bool prefetch = true;
  bool hugePages = false; ///< what was measured; who reads brings the memory

  /// "4 streams with prefetch, pages of 4 KB"
  std::string text() const;
};

/// Reads every byte once with the widest loads of `isa`, by all threads of the pool: the bound of a matrix-vector product.
void readAll(runtime::ThreadPool &pool, const std::string &isa, const ReadWay &way, const std::byte *data, int64_t bytes);

/// The fastest way to read memory here, and what it does.
struct BestRead {
  ReadWay way;                   ///< in pages of 4 KB
  double bytesPerSecond = 0;     ///< of that way
  double hugeBytesPerSecond = 0; ///< of the fastest way in huge pages; 0: the kernel gives none
};

/// Tries 1, 2, 4 and 8 streams, with prefetch and without, in pages of 4 KB and in huge ones, all in turn; the medians of a few
/// rounds decide. Errors: no memory.
Result<BestRead> findBestRead(runtime::ThreadPool &pool, const std::string &isa);

/// Multiplies and adds in registers on all threads, by what `isa` has for such inputs: AMX, dot products, or f32 FMAs. Returns
/// how many operations of a product (2 a multiply-add) that would have been: of f32 that is split in parts, a part of them.
double multiplyAddAll(runtime::ThreadPool &pool, const std::string &isa, Inputs inputs);

/// Seconds of each contender's calls, [contender][round]. All take turns in every round, so that a neighbour's noise meets all of
/// them; the first round is not counted.
std::vector<std::vector<double>> interleave(const std::vector<std::function<void()>> &contenders, double seconds);

double median(std::vector<double> values);

/// The median of the rounds' own ratios a / b.
double medianRatio(const std::vector<double> &a, const std::vector<double> &b);

} // namespace quant::bench

#endif // QUANT_TOOLS_QUANT_BENCH_MACHINE_H
