//===- process_usage.cpp - what this process takes of the system -------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/common/process_usage.h"

#include <sys/resource.h>

quant::tools::ProcessUsage quant::tools::processUsage() {
  rusage usage = {};
  if (getrusage(RUSAGE_SELF, &usage) != 0)
    return {};
  return {usage.ru_maxrss * 1024, usage.ru_minflt, usage.ru_majflt};
}
