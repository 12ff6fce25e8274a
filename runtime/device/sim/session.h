//===- session.h - an sm_90a program, running in the simulator --*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_RUNTIME_DEVICE_SIM_SESSION_H
#define QUANT_RUNTIME_DEVICE_SIM_SESSION_H

#include "runtime/device/host/memory.h"
#include "runtime/device/session.h"
#include "runtime/device/sim/simulator.h"

#include <deque>
#include <vector>

namespace quant::runtime {

/// A module's `sm_90a` program, its PTX run by quant_sim as a GPU of 132 multiprocessors would: the same arena, tables of
/// pointers and launch recipes. A launch sees the memory of its own operands alone, each just as long as its shape in this call,
/// so that an access beyond is a finding; what a kernel is to write holds all ones (NaN) before.
class SimSession : public Session {
public:
  /// Errors: kernels that the target has no code for, all of them by name; no PTX; an `isa` other than "ptx".
  static Result<void> check(const Target &target, const std::string &isa);

  /// Resolves every operand. The weights' block scales are read and checked. Errors: as check(); PTX that the simulator does not
  /// know; weights that are not the module's.
  static Result<std::unique_ptr<Session>> create(std::shared_ptr<const Module> module,
                                                 std::shared_ptr<const checkpoint::Checkpoint> weights,
                                                 const SessionOptions &options);

  /// Ends at the first dispatch with a finding; the error names kernel and label, and holds the finding's text.
  Result<void> run(const Dims &dims) override;
  std::byte *buffer(std::string_view name) const override;
  const Program &program() const override { return target->program; }
  int threads() const override { return threadCount; }
  int64_t context() const override { return cacheRows; }
  const std::string &isa() const override { return code->isa; }
  const Profile &profile() const override { return profileEntries; }

private:
  /// Memory at an address that kernels see.
  struct Region {
    std::byte *host = nullptr;
    uint64_t address = 0;
    uint64_t bytes = 0;
  };
  /// Where a program's value lies. A weight group's own region is its table of pointers.
  struct Place {
    Region region;
    std::vector<Region> members;
  };
  struct Variant {
    sim::Recipe recipe;
    int64_t lowRows, highRows;
  };

  SimSession() = default;
  Result<void> loadCode();
  Result<void> resolveValues();
  Result<Place> resolveValue(const Value &value);
  Result<Place> resolveWeight(const Value &value);
  Result<Region> allocate(int64_t bytes, const std::string &name);
  Region regionOf(std::byte *host, uint64_t bytes);
  Result<Region> join(const std::vector<int> &values);
  Result<void> runDispatch(const Dispatch &dispatch, const Dims &dims);
  Result<void> addOperand(const Dispatch &dispatch, const sim::RecipeOperand &operand, const Dims &dims,
                          std::vector<sim::Buffer> &operands, std::vector<sim::Buffer> &members);

  std::shared_ptr<const Module> module;
  std::shared_ptr<const checkpoint::Checkpoint> weights;
  const Target *target = nullptr;
  const CodeObject *code = nullptr;
  int64_t cacheRows = 0;
  int threadCount = 1;
  bool profiles = false;
  std::unique_ptr<sim::Module> ptx;
  std::vector<std::vector<Variant>> variants;                 ///< of each kernel
  std::deque<Memory> memory;                                  ///< the arena, caches, inputs, outputs, joined weights
  std::deque<std::vector<uint64_t>> tables;                   ///< what weight groups point to
  std::vector<Place> places;                                  ///< of the program's values
  std::map<std::vector<int>, Region> joins;                   ///< of weights whose rows stand in one buffer
  std::vector<const checkpoint::Checkpoint::Tensor *> scales; ///< to be checked
  Region arena;
  uint64_t nextAddress = uint64_t(1) << 40; ///< far from the windows of shared and local memory
  Profile profileEntries;
};

} // namespace quant::runtime

#endif // QUANT_RUNTIME_DEVICE_SIM_SESSION_H
