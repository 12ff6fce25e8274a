//===- cuda_case.h - test kernels in the simulator --------------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_TEST_TOOLS_QUANT_SIM_CUDA_CASE_H
#define QUANT_TEST_TOOLS_QUANT_SIM_CUDA_CASE_H

#include "tools/quant-sim/api/simulator.h"

#include <string>
#include <vector>

namespace quant::test {

/// A PTX file of test/tools/quant-sim/ptx, and what a fault's edit makes of it.
struct CudaFile {
  explicit CudaFile(const std::string &name);
  /// Replaces the `nth` place of `from` after the start of `kernel`; fails the test if there is none. `line` becomes that
  /// place's.
  void edit(const std::string &kernel, const std::string &from, const std::string &to, int nth = 0);
  /// Line of the `nth` place of `text` after the start of `kernel`.
  int lineOf(const std::string &kernel, const std::string &text, int nth = 0) const;

  std::string ptx;
  int line = 0;

private:
  size_t find(const std::string &kernel, const std::string &text, int nth) const;
};

template <typename T>
sim::Buffer bufferOf(std::vector<T> &data) {
  return {"data", std::as_writable_bytes(std::span<T>(data)), true};
}

/// A launch of one block of `threads`, whose arguments are pointers to the buffers.
sim::Launch launchOf(const std::string &kernel, uint32_t threads, std::vector<sim::Buffer> buffers);

/// Runs it; an error fails the test.
sim::Report runLaunch(const CudaFile &file, const sim::Launch &launch, const sim::Options &options = {});

void expectClean(const sim::Report &report);
/// Fails, with all findings, unless there is one of that kind at that line (0: at any).
void expectFinding(const sim::Report &report, sim::FindingKind kind, int line);

/// A tensor map of a matrix of `rows` x `columns` elements, rows one after the other, loaded in boxes.
sim::TensorMap mapOf(uint32_t elementBytes, uint64_t columns, uint64_t rows, uint32_t boxColumns, uint32_t boxRows,
                     uint32_t swizzleBytes = 0);

} // namespace quant::test

#endif // QUANT_TEST_TOOLS_QUANT_SIM_CUDA_CASE_H
