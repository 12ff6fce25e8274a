//===- run_state.h - what a killed run left, and whether it fits -*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// While a run is under way its folder holds `.quant-convert.json`: the command, the fingerprint of the plan, and the size and
// time of each file that is complete. The same run, started again, goes on behind them; any other is refused. Files appear by
// rename, so that one that is there is whole; one that was touched since is made anew.
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_TOOLS_QUANT_CONVERT_ENGINE_RUN_STATE_H
#define QUANT_TOOLS_QUANT_CONVERT_ENGINE_RUN_STATE_H

#include "tools/quant-convert/engine/plan.h"

#include <map>

namespace quant::convert {

/// The output folder, held by this process.
class RunState {
public:
  /// Makes the folder ready for the plan: fresh, with what a killed run of the same plan finished, or with `force` emptied of
  /// another checkpoint. Refuses what tools::prepareOutputDir refuses, another run's state, and a folder another process holds.
  /// `flag` is the option that names the folder.
  static Result<RunState> begin(const Plan &plan, const std::filesystem::path &dir, const std::string &flag, bool force);

  /// The file is complete and untouched since.
  bool isDone(const std::string &file) const;
  Result<void> markDone(const std::string &file);
  /// It will be made anew by the next run.
  Result<void> markBroken(const std::string &file);
  /// All is written: removes the state.
  Result<void> end();
  /// The run failed. Where no file is complete there is nothing to go on from: removes the state, so that the next run may be
  /// another.
  void abandon();

private:
  /// Of a complete file.
  struct Stamp {
    uint64_t bytes;
    int64_t seconds, nanoseconds; ///< of its last change
    bool operator==(const Stamp &) const = default;
  };

  RunState(std::filesystem::path dir, std::string command, std::string fingerprint)
      : dir(std::move(dir)), command(std::move(command)), fingerprint(std::move(fingerprint)) {}
  Result<void> lock(const std::string &flag);
  Result<void> resume(const Plan &plan, const std::string &flag);
  Result<void> read(const std::string &flag);
  Result<void> write() const;
  std::filesystem::path path() const;
  static Result<Stamp> stamp(const std::filesystem::path &file);

  std::filesystem::path dir;
  std::string command, fingerprint;
  std::map<std::string, Stamp> done;
  checkpoint::FileDescriptor folder; ///< locked
};

} // namespace quant::convert

#endif // QUANT_TOOLS_QUANT_CONVERT_ENGINE_RUN_STATE_H
