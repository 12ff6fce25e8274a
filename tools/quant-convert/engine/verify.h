//===- verify.h - reads back what was written -------------------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_TOOLS_QUANT_CONVERT_ENGINE_VERIFY_H
#define QUANT_TOOLS_QUANT_CONVERT_ENGINE_VERIFY_H

#include "tools/common/progress.h"
#include "tools/quant-convert/engine/plan.h"

namespace quant::convert {

/// Compares the file at `path` with what the shard's jobs make: first the tensors' names, dtypes and shapes, then every byte. The
/// system is asked to forget the file first, so that the disk is read.
Result<void> verifyShard(const OutputShard &shard, const std::filesystem::path &path, unsigned threads,
                         tools::Progress &progress);

} // namespace quant::convert

#endif // QUANT_TOOLS_QUANT_CONVERT_ENGINE_VERIFY_H
