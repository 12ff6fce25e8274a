//===- written.h - reads back what a conversion wrote -----------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_TOOLS_QUANT_CONVERT_CHECK_WRITTEN_H
#define QUANT_TOOLS_QUANT_CONVERT_CHECK_WRITTEN_H

#include "runtime/support/result.h"

#include <filesystem>
#include <span>

namespace quant::convert {

/// Opens and inspects every one of `paths`, folders of checkpoints or single files, as `quant-convert inspect` does. Fails with
/// the first error that is not one of the checkpoints in `inputs` already: of a tensor that is broken there, or that is missing
/// there.
Result<void> checkWritten(std::span<const std::filesystem::path> paths, std::span<const std::filesystem::path> inputs,
                          unsigned threads);

} // namespace quant::convert

#endif // QUANT_TOOLS_QUANT_CONVERT_CHECK_WRITTEN_H
