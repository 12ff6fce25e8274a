//===- kernel_runner.h - one kernel on every unit that is here ----*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_TEST_LOWERING_KERNEL_RUNNER_H
#define QUANT_TEST_LOWERING_KERNEL_RUNNER_H

#include "runtime/support/result.h"

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

namespace quant::test {

/// An operand or a result in memory.
struct Memory {
  std::vector<std::byte> bytes;
  /// Of a table of addresses (a weight for each group) what those point to; the bytes are then the kernel runner's.
  std::vector<Memory> pointees;

  Memory() = default;
  /// `count` elements of T, all bits set: what a kernel leaves out shows.
  template <typename T>
  static Memory room(int64_t count) {
    Memory memory;
    memory.bytes.assign(static_cast<size_t>(count) * sizeof(T), std::byte{0xff});
    return memory;
  }
  template <typename T>
  static Memory of(const std::vector<T> &values) {
    Memory memory;
    memory.bytes.assign(std::as_bytes(std::span(values)).begin(), std::as_bytes(std::span(values)).end());
    return memory;
  }
  static Memory table(std::vector<Memory> pointees) {
    Memory memory;
    memory.bytes.resize(pointees.size() * sizeof(uint64_t));
    memory.pointees = std::move(pointees);
    return memory;
  }
  template <typename T>
  std::vector<T> as() const {
    const T *first = reinterpret_cast<const T *>(bytes.data());
    return {first, first + bytes.size() / sizeof(T)};
  }
};

struct Sizes {
  int64_t tokens = 0, sequences = 1, outputs = 0, cacheRows = 64;
};

/// x86 units that this CPU runs, and sm_90a in the simulator.
std::vector<std::string> units();

/// Runs a compiled kernel; `operands` are its arguments that are no sizes, then its results, and are changed in place. Errors:
/// the simulator's findings; a store beyond an operand.
using Kernel = std::function<Result<void>(const Sizes &sizes, std::vector<Memory> &operands)>;

/// Schedules, tiles and lowers the kernel in `text` (a func.func with program.grid) for a unit, on the host with x rounded to
/// bf16 where it can. Errors: the compiler's.
Result<Kernel> compileKernel(const std::string &text, const std::string &unit, bool roundsInputs = false);

/// Both at once.
Result<void> runKernel(const std::string &text, const std::string &unit, const Sizes &sizes, std::vector<Memory> &operands);

} // namespace quant::test

#endif // QUANT_TEST_LOWERING_KERNEL_RUNNER_H
