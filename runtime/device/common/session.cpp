//===- session.cpp - what the sessions of all devices check ---------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/device/common/session.h"

#include <fmt/core.h>

namespace quant::runtime {

Result<CacheSize> cacheSize(const Program &program, const SessionOptions &options) {
  int64_t limit = program.limits.context, context = options.context == 0 ? limit : options.context;
  if (context < 1 || context > limit)
    return fail(fmt::format("context of {} rows asked for, the module allows 1 to {}", options.context, limit));
  int64_t tokens = options.cache == 0 ? context : options.cache;
  if (tokens < context || tokens > Limits::kMaxCacheRows)
    return fail(
        fmt::format("a cache of {} tokens asked for, not {} (the context) to {}", tokens, context, Limits::kMaxCacheRows));
  return CacheSize{context, (tokens + abi::kPageRows - 1) / abi::kPageRows * abi::kPageRows};
}

Result<void> checkDims(const Program &program, int64_t rows, const Dims &dims) {
  abi::SizeIntervals allowed = program.limits.intervals();
  int64_t tokens = dims[static_cast<size_t>(abi::Dim::Tokens)];
  allowed[abi::Dim::Sequences]->high = tokens;
  allowed[abi::Dim::Outputs]->high = tokens;
  allowed[abi::Dim::Context] = {rows, rows};
  for (size_t i = 0; i < dims.size(); ++i) {
    auto dim = static_cast<abi::Dim>(i);
    auto [low, high] = *allowed[dim];
    if (dims[i] < low || dims[i] > high)
      return fail(fmt::format("{} is {}, not {} to {}", nameOf(dim), dims[i], low, high));
  }
  return {};
}

} // namespace quant::runtime
