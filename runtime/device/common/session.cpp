//===- session.cpp - what the sessions of all devices check ---------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/device/common/session.h"

namespace quant::runtime {

Result<int64_t> contextRows(const Program &program, const SessionOptions &options) {
  int64_t limit = program.limits.context, rows = options.context == 0 ? limit : options.context;
  if (rows < 1 || rows > limit)
    return fail("context of " + std::to_string(options.context) + " rows asked for, the module allows 1 to " +
                std::to_string(limit));
  return rows;
}

Result<void> checkDims(const Program &program, int64_t rows, const Dims &dims) {
  abi::SizeIntervals allowed = program.limits.intervals();
  int64_t tokens = dims[static_cast<size_t>(abi::Dim::Tokens)];
  allowed[abi::Dim::Position]->high = rows - tokens;
  allowed[abi::Dim::Outputs]->high = tokens;
  allowed[abi::Dim::Context] = {rows, rows};
  for (size_t i = 0; i < dims.size(); ++i) {
    auto dim = static_cast<abi::Dim>(i);
    auto [low, high] = *allowed[dim];
    if (dims[i] < low || dims[i] > high)
      return fail(std::string(nameOf(dim)) + " is " + std::to_string(dims[i]) + ", not " + std::to_string(low) + " to " +
                  std::to_string(high));
  }
  return {};
}

} // namespace quant::runtime
