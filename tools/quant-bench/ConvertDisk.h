//===- ConvertDisk.h - programs and plain copies, timed -----------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_TOOLS_QUANT_BENCH_CONVERTDISK_H
#define QUANT_TOOLS_QUANT_BENCH_CONVERTDISK_H

#include "runtime/support/result.h"

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace quant::bench {

/// What a program printed and took.
struct Finished {
  std::string output;
  double seconds = 0;
  int64_t peakBytes = 0; ///< resident, mapped files included; on Linux at least what this process had when it started it
};

/// Runs a program to its end; its stderr is ours. Fails when it cannot be started or does not exit with 0.
Result<Finished> runProgram(const std::vector<std::string> &command);
/// A tool of ours, which lies beside this program.
std::filesystem::path toolPath(const char *tool);
Result<Finished> runTool(const char *tool, std::vector<std::string> arguments);

/// Of all .safetensors files of a folder.
Result<uint64_t> weightBytes(const std::filesystem::path &dir);

/// Reads every .safetensors file of `from` and writes as many bytes as those of `like` have to `to`, file by file with read() and
/// write() of 4 MiB, then fsync()s them and the folder. Returns seconds.
Result<double> plainCopy(const std::filesystem::path &from, const std::filesystem::path &like, const std::filesystem::path &to);

/// Brings the folder's files into the page cache, or has the kernel forget them, after what is dirty was written.
Result<void> setCached(const std::filesystem::path &dir, bool cached);

} // namespace quant::bench

#endif // QUANT_TOOLS_QUANT_BENCH_CONVERTDISK_H
