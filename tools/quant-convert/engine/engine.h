//===- engine.h - runs a plan -----------------------------------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_TOOLS_QUANT_CONVERT_ENGINE_ENGINE_H
#define QUANT_TOOLS_QUANT_CONVERT_ENGINE_ENGINE_H

#include "tools/quant-convert/engine/plan.h"

namespace quant::convert {

/// How a plan is run; nothing here changes a byte of the output.
struct EngineOptions {
  std::filesystem::path output;
  std::string outputFlag; ///< the option that named it, for the errors
  unsigned threads = 0;   ///< 0: one per core
  bool force = false;     ///< replaces a checkpoint in the folder
  bool verify = false;    ///< reads every file back, from the disk, and compares it with what is made anew
  bool keepState =
      false; ///< the folder stays marked as this run's when all is written: the same run, called again, finds it done
  /// Called when all is written; with its error the run fails, and the folder stays marked as unfinished.
  std::function<Result<void>()> check = {};
};

/// What a run did.
struct RunReport {
  size_t written = 0; ///< files
  size_t kept = 0;    ///< files that a killed run had finished
  uint64_t bytesWritten = 0;
  double seconds = 0, verifySeconds = 0;
};

/// What can be told without writing: the output is no input, the names of the files are safe. For --dry-run, too.
Result<void> checkPlan(const Plan &plan, const EngineOptions &options);

/// Fails if an input was written to since it was opened.
Result<void> verifyInputs(const Plan &plan);

/// Writes the plan's shards one after the other, each on all threads, then the side files, the index last. Memory is a few
/// megabytes a thread. A shard appears when it is complete; a run that was killed goes on behind the last of them.
Result<RunReport> execute(const Plan &plan, const EngineOptions &options);

} // namespace quant::convert

#endif // QUANT_TOOLS_QUANT_CONVERT_ENGINE_ENGINE_H
