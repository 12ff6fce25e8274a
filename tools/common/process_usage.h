//===- process_usage.h - what this process takes of the system -*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_TOOLS_COMMON_PROCESS_USAGE_H
#define QUANT_TOOLS_COMMON_PROCESS_USAGE_H

#include <cstdint>

namespace quant::tools {

/// What this process has taken of the system so far. Pages of mapped files count as memory; a page that was in memory already is
/// a minor fault, one that came from a disk a major one.
struct ProcessUsage {
  int64_t peakBytes = 0, minorFaults = 0, majorFaults = 0;
};
ProcessUsage processUsage();

} // namespace quant::tools

#endif // QUANT_TOOLS_COMMON_PROCESS_USAGE_H
