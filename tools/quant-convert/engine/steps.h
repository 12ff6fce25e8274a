//===- steps.h - runs the steps of a shard's jobs ----------------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_TOOLS_QUANT_CONVERT_ENGINE_STEPS_H
#define QUANT_TOOLS_QUANT_CONVERT_ENGINE_STEPS_H

#include "tools/quant-convert/engine/plan.h"

namespace quant::convert {

/// Runs every step of the shard's jobs, on `threads` threads. The error is that of the first step that failed.
Result<void> runSteps(const OutputShard &shard, unsigned threads, Sink &sink);

} // namespace quant::convert

#endif // QUANT_TOOLS_QUANT_CONVERT_ENGINE_STEPS_H
