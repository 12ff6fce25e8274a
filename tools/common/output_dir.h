//===- output_dir.h - the folder a checkpoint is written to -----*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_TOOLS_COMMON_OUTPUT_DIR_H
#define QUANT_TOOLS_COMMON_OUTPUT_DIR_H

#include "runtime/support/result.h"

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

namespace quant::tools {

/// What a run that can be resumed keeps of itself in its output folder until it is done.
inline constexpr std::string_view kRunStateFileName = ".quant-convert.json";

/// Bytes that may be written below `path`, which need not be there yet.
Result<uint64_t> freeBytes(const std::filesystem::path &path);

/// Makes `dir` ready for a checkpoint of about `bytes`: creates it, refuses it when it is not a folder or lacks the room. A
/// folder that is not empty is refused, too, unless `force`: then the checkpoint in it (model*.safetensors and the index) is
/// removed, for a mixture of two would look whole. Other files stay. What killed runs left half-written (`.NAME.PID-N.tmp`) does
/// not count and is removed; a folder that another process is writing to is refused.
/// `flag` is the option that named the folder, for the errors.
Result<void> prepareOutputDir(const std::filesystem::path &dir, uint64_t bytes, bool force, const std::string &flag = "--output");

/// Refuses what prepareOutputDir() refuses of a folder, but for its room; changes nothing.
Result<void> checkOutputDir(const std::filesystem::path &dir, bool force, const std::string &flag = "--output");

/// Fails if less than `bytes` are free in `dir`.
Result<void> checkRoom(const std::filesystem::path &dir, uint64_t bytes, const std::string &flag = "--output");

/// Removes what killed runs left half-written in `dir`; refuses it when another process is writing to it.
Result<void> removeLeftovers(const std::filesystem::path &dir, const std::string &flag = "--output");

} // namespace quant::tools

#endif // QUANT_TOOLS_COMMON_OUTPUT_DIR_H
