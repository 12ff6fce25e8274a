//===- cuda_case.cpp - test kernels in the simulator ------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "test/tools/quant-sim/cuda_case.h"

#include "test/tools/quant-sim/gemm_case.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace quant::test {

CudaFile::CudaFile(const std::string &name) : ptx(readText(std::filesystem::path(QUANT_SIM_PTX) / (name + ".ptx"))) {
  EXPECT_NE(ptx, "") << name;
}

size_t CudaFile::find(const std::string &kernel, const std::string &text, int nth) const {
  size_t at = ptx.find(text, ptx.find(".entry " + kernel + "("));
  for (int i = 0; i < nth && at != std::string::npos; ++i)
    at = ptx.find(text, at + 1);
  if (at == std::string::npos)
    ADD_FAILURE() << "'" << text << "' is not in " << kernel;
  return std::min(at, ptx.size());
}

int CudaFile::lineOf(const std::string &kernel, const std::string &text, int nth) const {
  return 1 + static_cast<int>(std::count(ptx.begin(), ptx.begin() + static_cast<std::ptrdiff_t>(find(kernel, text, nth)), '\n'));
}

void CudaFile::edit(const std::string &kernel, const std::string &from, const std::string &to, int nth) {
  line = lineOf(kernel, from, nth);
  size_t at = find(kernel, from, nth);
  if (at < ptx.size())
    ptx.replace(at, from.size(), to);
}

sim::Launch launchOf(const std::string &kernel, uint32_t threads, std::vector<sim::Buffer> buffers) {
  sim::Launch launch;
  launch.kernel = kernel;
  launch.block[0] = threads;
  launch.buffers = std::move(buffers);
  for (size_t i = 0; i < launch.buffers.size(); ++i)
    launch.arguments.push_back(sim::PointerArgument{i, 0});
  return launch;
}

sim::Report runLaunch(const CudaFile &file, const sim::Launch &launch, const sim::Options &options) {
  auto module = sim::Module::load(file.ptx);
  if (!module) {
    ADD_FAILURE() << module.error().message;
    return {};
  }
  auto report = sim::run(**module, launch, options);
  EXPECT_TRUE(report) << report.error().message;
  return report ? *report : sim::Report();
}

void expectClean(const sim::Report &report) {
  EXPECT_GT(report.instructions, 0u);
  for (const sim::Finding &finding : report.findings)
    ADD_FAILURE() << finding.toString();
}

void expectFinding(const sim::Report &report, sim::FindingKind kind, int line) {
  std::string all;
  for (const sim::Finding &finding : report.findings) {
    if (finding.kind == kind && (line == 0 || finding.line == line))
      return;
    all += finding.toString() + "\n";
  }
  ADD_FAILURE() << "wanted " << sim::nameOf(kind) << " at line " << line << ", got\n" << all;
}

sim::TensorMap mapOf(uint32_t elementBytes, uint64_t columns, uint64_t rows, uint32_t boxColumns, uint32_t boxRows,
                     uint32_t swizzleBytes) {
  sim::TensorMap map;
  map.rank = 2;
  map.elementBytes = elementBytes;
  map.swizzleBytes = swizzleBytes;
  map.dim = {columns, rows};
  map.stride = {elementBytes, columns * elementBytes};
  map.box = {boxColumns, boxRows};
  return map;
}

} // namespace quant::test
