//===- finding.h - what the simulator objects to ---------------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_TOOLS_QUANT_SIM_MACHINE_FINDING_H
#define QUANT_TOOLS_QUANT_SIM_MACHINE_FINDING_H

#include <array>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

namespace quant::sim {

/// What a finding is about; docs/simulator.md has a row for each.
enum class FindingKind : uint8_t {
  Deadlock,
  ArrivalCount,
  ByteCount,
  UninitializedShared,
  MissingProxyFence,
  Race,
  StageInUse,
  OutOfBounds,
  Misaligned,
  TmaOutOfBounds,
  AccumulatorInFlight,
  MissingWgmmaFence,
  BadDescriptor,
  MbarrierUse,
  BarrierCount,
  DivergentOp,
  RegisterBudget,
  StoreNotAwaited,
  ClusterUse,
  EarlyAccess,
  MissingGridWait,
  BadLaunch,
  StepLimit,
  Trap,
};

/// "deadlock", "missing-proxy-fence": what users see and tests name.
std::string_view nameOf(FindingKind kind);

struct Finding {
  FindingKind kind;
  /// Lowercase, no full stop.
  std::string message;
  /// Line of the PTX and the instruction there; 0 if it is about no line.
  int line = 0;
  std::string instruction;
  /// The source line behind it, from .loc: "kernel.mlir:12:3", or empty.
  std::string source;
  std::array<uint32_t, 3> block = {};
  /// Thread within the block, -1 if it is about no thread.
  int thread = -1;
  /// How often it was met.
  int64_t count = 1;

  std::string toString() const;
};

/// Findings of a launch, from any thread. One per kind and line is kept, the first; later ones are counted.
class FindingSink {
public:
  void add(Finding finding);
  /// Counts one more of a kind and line that there is already; else false.
  bool addAgain(FindingKind kind, int line);
  std::vector<Finding> take();
  /// Findings so far, counting one per kind and line.
  size_t size() const;

private:
  mutable std::mutex mutex;
  std::map<std::pair<FindingKind, int>, size_t> index;
  std::vector<Finding> findings;
};

} // namespace quant::sim

#endif // QUANT_TOOLS_QUANT_SIM_MACHINE_FINDING_H
