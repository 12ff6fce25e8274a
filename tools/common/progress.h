//===- progress.h - a progress bar ------------------------------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_TOOLS_COMMON_PROGRESS_H
#define QUANT_TOOLS_COMMON_PROGRESS_H

#include "tools/common/units.h"

#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <mutex>
#include <string>

namespace quant::tools {

/// stderr when it is a terminal, else null.
std::FILE *stderrTerminal();

/// One line that is drawn over and over: "writing [####......]  42%  1.20 GB of 2.86 GB  310 MB/s  ETA 0:06".
class Progress {
public:
  /// Draws on `terminal`, nothing when it is null. `total` is in bytes, or in what `words` says a number of.
  Progress(std::string label, uint64_t total, std::FILE *terminal = stderrTerminal(),
           std::string (*words)(uint64_t) = humanBytes);
  Progress(const Progress &) = delete;
  Progress &operator=(const Progress &) = delete;
  /// Clears the line, so that what is printed next starts at its left.
  ~Progress();

  /// `bytes` more are done. From any thread; draws ten times a second at most.
  void add(uint64_t bytes);
  double seconds() const;

private:
  using Clock = std::chrono::steady_clock;

  const std::string label;
  const uint64_t total;
  std::FILE *const terminal;
  std::string (*const words)(uint64_t);
  const Clock::time_point begin = Clock::now();
  std::atomic<uint64_t> done = 0;
  std::mutex drawing;
  Clock::time_point lastDrawn = begin;
};

/// What Progress draws.
std::string progressLine(const std::string &label, uint64_t done, uint64_t total, double seconds,
                         std::string (*words)(uint64_t) = humanBytes);

} // namespace quant::tools

#endif // QUANT_TOOLS_COMMON_PROGRESS_H
