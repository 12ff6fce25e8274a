//===- Machine.h - what the machine could do at best --------------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_TOOLS_QUANT_BENCH_MACHINE_H
#define QUANT_TOOLS_QUANT_BENCH_MACHINE_H

#include "runtime/device/common/thread_pool.h"

#include "tools/quant-bench/CompiledMatmul.h"
#include <cstddef>
#include <functional>

#include <string>
#include <vector>

namespace quant::bench {

/// Reads every byte once with the widest loads of `isa`, by all threads of the pool: the bound of a matrix-vector product.
void readAll(runtime::ThreadPool &pool, const std::string &isa, const std::byte *data, int64_t bytes);

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
