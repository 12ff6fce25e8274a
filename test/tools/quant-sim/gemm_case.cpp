//===- gemm_case.cpp - an FP8 GEMM in the simulator ------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "test/tools/quant-sim/gemm_case.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <fstream>
#include <iterator>

namespace quant::test {

std::string readText(const std::filesystem::path &path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

GemmKernel::GemmKernel(const std::string &name) : name(name) {
  std::filesystem::path base = std::filesystem::path(QUANT_SIM_PTX) / name;
  ptx = readText(base.string() + ".ptx");
  recipe = readText(base.string() + ".json");
  auto config = nlohmann::json::parse(recipe).at("config");
  n = config.at("n");
  k = config.at("k");
}

std::string GemmKernel::mutated(const std::string &from, const std::string &to, int nth) {
  size_t at = ptx.find(from);
  for (int i = 0; i < nth && at != std::string::npos; ++i)
    at = ptx.find(from, at + 1);
  if (at == std::string::npos) {
    ADD_FAILURE() << "'" << from << "' is not in " << name << ".ptx";
    return ptx;
  }
  line = 1 + static_cast<int>(std::count(ptx.begin(), ptx.begin() + static_cast<std::ptrdiff_t>(at), '\n'));
  std::string text = ptx;
  return text.replace(at, from.size(), to);
}

std::string GemmResult::toString() const {
  std::string text = error.empty() ? "" : "error: " + error + "\n";
  for (const sim::Finding &finding : report.findings)
    text += finding.toString() + "\n";
  return text + wrong;
}

bool GemmResult::has(sim::FindingKind kind, int line) const {
  return std::any_of(report.findings.begin(), report.findings.end(),
                     [&](const sim::Finding &finding) { return finding.kind == kind && (line == 0 || finding.line == line); });
}

template <typename T>
static std::span<std::byte> bytesOf(std::vector<T> &data) {
  return std::as_writable_bytes(std::span<T>(data));
}

GemmResult runGemm(const GemmKernel &kernel, const std::string &ptx, int64_t m, const sim::Options &options, int64_t sms) {
  GemmResult result;
  auto module = sim::Module::load(ptx);
  auto recipe = sim::Recipe::parse(kernel.recipe, "");
  if (!module || !recipe) {
    result.error = module ? recipe.error().message : module.error().message;
    return result;
  }
  Fp8Problem problem(m, kernel.n, kernel.k, static_cast<uint64_t>(m) + 1);
  std::vector<uint16_t> d(m * kernel.n, 0xffff);
  auto launch = recipe->launch({{abi::Dim::M, m}, {abi::Dim::Sms, sms}}, {{"a", bytesOf(problem.a), false},
                                                                          {"scale_a", bytesOf(problem.scaleA), false},
                                                                          {"b", bytesOf(problem.b), false},
                                                                          {"scale_b", bytesOf(problem.scaleB), false},
                                                                          {"d", bytesOf(d), true}});
  if (!launch) {
    result.error = launch.error().message;
    return result;
  }
  // Our own kernels are held to the manual's letter.
  sim::Options strict = options;
  strict.strict = true;
  auto report = sim::run(**module, *launch, strict);
  if (!report) {
    result.error = report.error().message;
    return result;
  }
  result.report = std::move(*report);
  result.wrong = problem.check(d);
  return result;
}

} // namespace quant::test
