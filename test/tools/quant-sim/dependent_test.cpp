//===- dependent_test.cpp - programmatic launches ----------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "test/tools/quant-sim/cuda_case.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

namespace quant::test {
namespace {

using sim::FindingKind;

constexpr const char *kWait = "griddepcontrol.wait;";

struct Dependent : testing::Test {
  Dependent() { std::iota(in.begin(), in.end(), 1); }

  /// A launch of that kernel, from `in` to `out`.
  sim::Launch copy(const std::string &kernel) {
    sim::Launch launch = launchOf(kernel, 64, {bufferOf(in), bufferOf(out)});
    launch.programmatic = true;
    launch.buffers[0].name = "x";
    return launch;
  }

  /// out = in * weight; `early`: the recipe says so of the weight.
  sim::Launch scale(bool early) {
    sim::Launch launch = launchOf("scale", 64, {bufferOf(in), bufferOf(weight), bufferOf(out)});
    launch.programmatic = true;
    launch.buffers[1].name = "w";
    launch.buffers[1].early = early;
    return launch;
  }

  /// The kernel without the first piece of such text.
  static CudaFile without(const std::string &kernel, const std::string &text) {
    CudaFile file = CudaFile("dependent_kernels");
    file.edit(kernel, text, "");
    return file;
  }

  static bool has(const sim::Report &report, FindingKind kind) {
    return std::ranges::any_of(report.findings, [&](const sim::Finding &finding) { return finding.kind == kind; });
  }

  CudaFile file = CudaFile("dependent_kernels");
  std::vector<int> in = std::vector<int>(64), out = std::vector<int>(64, -1);
  std::vector<int> weight = std::vector<int>(64, 3);
};

TEST_F(Dependent, EarlyOperandsMayBeTouchedBeforeTheWait) {
  expectClean(runLaunch(file, scale(true)));
  EXPECT_EQ(out[10], 33);

  sim::Report report = runLaunch(file, scale(false));
  ASSERT_EQ(report.findings.size(), 1u);
  const sim::Finding &finding = report.findings[0];
  EXPECT_EQ(finding.kind, FindingKind::EarlyAccess);
  EXPECT_EQ(finding.line, file.lineOf("scale", "ld.global"));
  EXPECT_EQ(finding.count, 64);
  EXPECT_NE(finding.message.find("touches 'w'"), std::string::npos) << finding.message;
  EXPECT_NE(finding.message.find("griddepcontrol.wait must come first"), std::string::npos) << finding.message;
}

TEST_F(Dependent, NothingIsSaidOfOtherLaunches) {
  sim::Launch launch = scale(false);
  launch.programmatic = false;
  expectClean(runLaunch(without("scale", kWait), launch));
}

TEST_F(Dependent, MissingWait) {
  CudaFile broken = without("scale", kWait);
  sim::Report report = runLaunch(broken, scale(true));
  expectFinding(report, FindingKind::EarlyAccess, broken.lineOf("scale", "ld.global", 1));
  expectFinding(report, FindingKind::EarlyAccess, broken.lineOf("scale", "st.global"));
  expectFinding(report, FindingKind::MissingGridWait, 0);
  EXPECT_EQ(report.findings.size(), 3u);
}

/// Each kernel lets one thread wait, and passes that on by the text at hand.
struct PassedOn {
  const char *kernel, *by;
};
void PrintTo(const PassedOn &passed, std::ostream *os) { *os << passed.kernel; }

struct WaitPassedOn : Dependent, testing::WithParamInterface<PassedOn> {
  sim::Launch clusterOf(sim::Launch launch) {
    if (launch.kernel == "waitBehindClusterBarrier") {
      launch.grid[0] = launch.cluster[0] = 2;
      launch.block[0] = 32;
    }
    return launch;
  }
};

TEST_P(WaitPassedOn, ByABarrier) {
  expectClean(runLaunch(file, clusterOf(copy(GetParam().kernel))));
  EXPECT_EQ(out, in);
}

TEST_P(WaitPassedOn, WithoutItTheOthersAreTooEarly) {
  const PassedOn &passed = GetParam();
  CudaFile broken = without(passed.kernel, passed.by);
  sim::Report report = runLaunch(broken, clusterOf(copy(passed.kernel)));
  expectFinding(report, FindingKind::EarlyAccess, broken.lineOf(passed.kernel, "ld.global"));
  EXPECT_FALSE(has(report, FindingKind::MissingGridWait));
}

INSTANTIATE_TEST_SUITE_P(Dependent, WaitPassedOn,
                         testing::Values(PassedOn{"waitBehindBarrier", "bar.sync \t0;"},
                                         PassedOn{"waitBehindWarpBarrier", "bar.warp.sync \t-1;"},
                                         PassedOn{"waitBehindMbarrier", "@!p bra WAIT;"},
                                         PassedOn{"waitBehindClusterBarrier", "barrier.cluster.wait.acquire.aligned;"}),
                         [](const auto &info) { return info.param.kernel; });

TEST_F(Dependent, EveryAccess) {
  auto accesses = [&](const CudaFile &file) {
    in.assign(128, 1);
    sim::Launch launch = launchOf("everyAccess", 1, {bufferOf(in)});
    launch.arguments.insert(launch.arguments.begin(), sim::TensorMapArgument{0, mapOf(4, 32, 4, 32, 4)});
    launch.programmatic = true;
    return runLaunch(file, launch);
  };
  expectClean(accesses(file));

  CudaFile broken = without("everyAccess", kWait);
  sim::Report report = accesses(broken);
  const char *const kAccesses[] = {"cp.async.bulk.tensor.2d.shared",
                                   "cp.async.bulk.shared",
                                   "cp.async.bulk.tensor.2d.global",
                                   "cp.reduce.async.bulk.tensor",
                                   "cp.async.bulk.global",
                                   "cp.reduce.async.bulk.global",
                                   "cp.async.ca",
                                   "atom.global",
                                   "red.global",
                                   "ld.global",
                                   "st.global"};
  for (const char *access : kAccesses)
    expectFinding(report, FindingKind::EarlyAccess, broken.lineOf("everyAccess", access));
  EXPECT_EQ(report.findings.size(), std::size(kAccesses) + 1) << "prefetches touch nothing; the wait itself is missing";
}

TEST_F(Dependent, SomeBlockMustWait) {
  auto run = [&](uint64_t waiting, bool strict) {
    auto module = sim::Module::load(file.ptx);
    sim::Launch launch;
    launch.kernel = "waitInSomeBlocks";
    launch.grid[0] = 4;
    launch.block[0] = 32;
    launch.arguments = {sim::ScalarArgument{waiting}};
    launch.programmatic = true;
    sim::Options options;
    options.strict = strict;
    std::vector<sim::Finding> findings = sim::run(**module, launch, options)->findings;
    return findings.empty() ? "" : findings[0].message.substr(0, findings[0].message.find(':'));
  };
  EXPECT_EQ(run(0, false), "no thread of the launch executes griddepcontrol.wait");
  EXPECT_EQ(run(1, false), "");
  EXPECT_EQ(run(1, true), "3 of 4 blocks end without griddepcontrol.wait");
  EXPECT_EQ(run(4, true), "");
}

/// What the recipe says reaches the launch; the buffers behind the operands are the caller's to describe.
TEST_F(Dependent, Recipe) {
  auto recipe = sim::Recipe::parse(R"({"kernel": "scale", "block": [64, 1, 1], "cluster": [1, 1, 1], "grid": 1,
    "dynamic_shared_bytes": 0, "limits": {}, "programmatic": true,
    "operands": [{"name": "x", "dtype": "i32", "access": "read", "shape": [64]},
                 {"name": "w", "dtype": "i32", "access": "read", "shape": [64], "early": true},
                 {"name": "y", "dtype": "i32", "access": "write", "shape": [64]}],
    "parameters": [{"kind": "pointer", "operand": 0}, {"kind": "pointer", "operand": 1}, {"kind": "pointer", "operand": 2}]})",
                                   "");
  ASSERT_TRUE(recipe) << recipe.error().message;
  auto launch = recipe->launch({}, {bufferOf(in), bufferOf(weight), bufferOf(out)});
  ASSERT_TRUE(launch) << launch.error().message;
  EXPECT_TRUE(launch->programmatic);
  EXPECT_TRUE((*recipe->operands({}))[1].early);
  expectClean(runLaunch(file, *launch));
  expectFinding(runLaunch(without("scale", kWait), *launch), FindingKind::EarlyAccess, 0);
}

} // namespace
} // namespace quant::test
